"""The call of a command's handler, and what becomes of what it returns or raises.

This is the boundary where failures become answers: `CommandError` is the petal's "no", any other
exception is logged with its traceback and answered with a neutral text and an error ID, and
`Cancelled` travels.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import trio

from ..._authoring.context import NotServed, OwnWords
from ..._authoring.unknown_keys import ignored_fields
from ..._values.codec import printable
from ..._values.dialects import Dialect
from ..._values.errors import CommandError, ErrorCode, PayloadError, code_text
from ..._values.statistics import Counters
from ..failures import hint_for, is_interrupt, refusal_in, showable, split_foreign, text_of
from ..long_steps import MEASURED, LongSteps
from .execution import Execution

logger = logging.getLogger("petalkit.commands")

Answer = tuple[bytes, str | None]


class Words(Protocol):
    """Words an outcome: `Responses` for a command, which is answered with it."""

    @property
    def dialect(self) -> Dialect:
        """Whose words those are."""
        ...

    def success(self, message_id: str | None, fields: Mapping[str, Any], /) -> bytes:
        """See `Responses.success`."""
        ...

    def own_words(
        self, message_id: str | None, fields: Mapping[str, Any], error_code: str | None, /
    ) -> bytes:
        """See `Responses.own_words`."""
        ...

    def failure(
        self,
        message_id: str | None,
        code: str,
        message: str,
        /,
        *,
        retryable: bool | None = None,
        remembered: bool = False,
        details: Mapping[str, Any] | None = None,
    ) -> bytes:
        """See `Responses.failure`."""
        ...


async def call_handler(
    execution: Execution,
    answers: Words,
    counters: Counters,
    limiter: trio.CapacityLimiter,
    leave: Callable[[Execution], None],
    long_steps: LongSteps,
) -> Answer:
    """Call the handler; the response and its error code, None for a success.

    The handler runs up to its first checkpoint in the step in which this is called. Everything of
    a petal's own that stands between a command and its answer runs inside the one `try`: models,
    handler, results, and what they raise.

    Args:
        execution: counted as running already.
        answers: encodes the response.
        counters: for `started` and `unencodable`.
        limiter: for handlers in threads; large enough never to wait.
        leave: called in the Trio thread when a handler's thread has ended, soon or late.
        long_steps: told when arguments or result took long.

    Cancellation: travels, when the handler lets it.
    """
    spec = execution.spec
    message_id = execution.command.message_id
    measured = len(execution.payload) >= MEASURED
    try:
        began = long_steps.clock() if measured else 0.0
        try:
            if execution.put_away:
                execution.take_out()
            arguments = spec.bind(execution.command, execution.context, execution)
        except PayloadError as error:
            if measured:
                long_steps.tell(began, "judging its data", execution.log_fields())
            details = {**_ignored(execution), "errors": list(error.errors)}
            execution.reason = error.log
            response = answers.failure(message_id, error.code, error.message, details=details)
            return response, error.code
        if measured:
            long_steps.tell(began, "reading its data", execution.log_fields())
        counters.started += 1
        if spec.thread:
            result = await _call_in_thread(execution, arguments, limiter, leave)
        else:
            result = await spec.handler(**arguments)
        began = long_steps.clock()
        code = None
        try:
            if type(result) is OwnWords:
                code = result.error_code
                response = answers.own_words(message_id, result.fields, code)
            elif execution.ignored:
                response = _success_with_ignored(execution, spec.result_fields(result), answers)
            else:
                response = answers.success(message_id, spec.result_fields(result))
            if len(response) >= MEASURED:
                long_steps.tell(began, "writing its result", execution.log_fields())
            return response, code
        except PayloadError as error:
            long_steps.tell(began, "judging its result", execution.log_fields())
            counters.unencodable += 1
            if error.code is not ErrorCode.TOO_LARGE:
                raise
            logger.error("%s", error.message, extra=execution.log_fields())
            return answers.failure(message_id, error.code, error.message), error.code
        except BaseException:  # a converter's hook, or a mapping of the petal's own making
            counters.unencodable += 1
            raise
    except BaseException as error:  # SystemExit and asyncio's CancelledError too: P9
        if type(error) is GeneratorExit and not trio.lowlevel.in_trio_task():
            raise  # not the handler's: this coroutine is being closed
        # A handler's own nursery can raise an error and a cancellation together.
        travels, errors = split_foreign(error)
        answer = None if errors is None else _answer_error(execution, errors, answers)
        if travels is error:
            raise
        if travels is not None:
            raise travels from None  # without the errors, which are dealt with
        assert answer is not None
        return answer


def _ignored(execution: Execution) -> Mapping[str, Any]:
    return ignored_fields(execution.ignored) if execution.ignored else {}


def _success_with_ignored(execution: Execution, fields: Mapping[str, Any], answers: Words) -> bytes:
    """The result, and what was ignored unless that makes it too large. A petal's own word wins."""
    message_id = execution.command.message_id
    with contextlib.suppress(PayloadError):  # else it is about the result, which raises again
        return answers.success(message_id, {**_ignored(execution), **fields})
    return answers.success(message_id, fields)


def _answer_error(execution: Execution, error: BaseException, answers: Words) -> Answer:
    """What an error is answered. Never raises: nobody else would answer."""
    try:
        refusal = refusal_in(error)
        if refusal is not None:
            return _answer_refusal(execution, refusal, answers)
        if execution.scope is not None and execution.scope.cancel_called:
            # It turned its cancellation into an error: say what really happened.
            code, execution.reason = execution.cancelled_as or timed_out(execution)
            response = answers.failure(
                execution.command.message_id, code, execution.reason, remembered=True
            )
            logger.warning(
                "cancelled, and raised instead",
                exc_info=showable(error),
                extra=execution.log_fields(),
            )
            return response, code
    except BaseException as unreadable:
        if is_interrupt(unreadable):
            raise
        error = unreadable  # its context is the one that was raised
    error_id = secrets.token_hex(4)
    execution.reason = f"error ID {error_id}"
    with contextlib.suppress(Exception):  # a log's handler of the program's own
        logger.error(
            "handler failed, error ID %s%s",
            error_id,
            hint_for(error),
            exc_info=showable(error),
            extra={**execution.log_fields(), "error_id": error_id},
        )
    response = answers.failure(
        execution.command.message_id,
        ErrorCode.HANDLER_ERROR,
        f"{execution.spec.name} failed; the device's log has the reason under error ID {error_id}",
        details={**_ignored(execution), "error_id": error_id},
    )
    return response, ErrorCode.HANDLER_ERROR


def _answer_refusal(execution: Execution, refusal: CommandError, answers: Words) -> Answer:
    """The petal's "no". It is an object of the petal's own making: reading it may raise."""
    if isinstance(refusal, NotServed):
        execution.not_served = refusal
    try:
        if refusal.code is None or refusal.message is None:  # pyright: ignore[reportUnnecessaryComparison]
            raise ValueError("its code or its message is None")
        code, message = code_text(refusal.code), str(refusal.message)
        if not code:
            raise ValueError("its code is empty")
        retryable = bool(refusal.retryable)
        details: Mapping[str, Any] = dict(refusal.details or {})
    except Exception as error:
        cls = type(refusal).__name__
        raise TypeError(
            f"{cls} has no code or message that can be read: write super().__init__(code, "
            "message) in its __init__, or make them attributes of the class"
        ) from error
    overruled = answers.dialect.overruled(details)
    if overruled:
        logger.warning(
            "details of %s that petalkit writes itself are not sent: %s; rename them",
            printable(code),
            ", ".join(overruled),
            extra=execution.log_fields(),
        )
    try:
        details = execution.spec.plain_details(details)
    except Exception as error:
        logger.error(
            "details of a %s error left out: %s",
            printable(code),
            text_of(error),
            extra=execution.log_fields(),
        )
        details = {}
    details = {**_ignored(execution), **details}
    response = answers.failure(
        execution.command.message_id,
        code,
        message,
        retryable=retryable,
        remembered=True,
        details=details,
    )
    return response, code


def timed_out(execution: Execution) -> tuple[ErrorCode, str]:
    """How a command is answered whose time ran out."""
    return (
        ErrorCode.TIMEOUT,
        f"{execution.spec.name} did not finish within {execution.spec.timeout:g} s",
    )


async def _call_in_thread(
    execution: Execution,
    arguments: dict[str, Any],
    limiter: trio.CapacityLimiter,
    leave: Callable[[Execution], None],
) -> Any:
    # After this check the way to the thread's start has no cancellation point, since the limiter
    # never waits: a cancelled call without a thread would keep its slot for ever.
    await trio.lowlevel.checkpoint_if_cancelled()
    token = trio.lowlevel.current_trio_token()
    handler = functools.partial(execution.spec.handler, **arguments)
    started = False

    def call() -> Any:
        nonlocal started
        started = True
        try:
            return handler()
        except StopIteration as error:  # cannot travel through a coroutine
            raise RuntimeError("the handler raised StopIteration") from error
        finally:
            # Queued before Trio's own report of the result, so that the slot is free before the
            # answer is out. The loop may be gone when an abandoned thread gets here.
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(leave, execution)

    execution.in_thread = True
    try:
        return await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=limiter)
    except Exception:
        execution.in_thread = started  # no thread, nobody who will free the slot
        raise
