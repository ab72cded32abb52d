"""One accepted command on its way to one final state, and the call of its handler.

This is the boundary where failures become answers: `CommandError` is the petal's "no", any other
exception is logged with its traceback and answered with a neutral text and an error ID, and
`Cancelled` travels.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import secrets
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import trio

from ..._authoring.context import CommandContext, NotServed, OwnWords
from ..._authoring.registry import CommandSpec
from ..._authoring.unknown_keys import ignored_fields
from ..._values.codec import printable
from ..._values.errors import CommandError, ErrorCode, PayloadError, code_text
from ..._values.messages import Command, Identity
from ..._values.request import Reply, Wishes, wants_usual
from ..._values.statistics import Counters
from ..._values.types.invalid import Problem
from ...transports import Delivery
from ..failures import ENDS_PROCESS, hint_for, shortened, showable, single, split_foreign, text_of
from ..sending.responses import Responses

logger = logging.getLogger("petalkit.commands")
_numbers = itertools.count()


class PetalState:
    """What the dispatcher knows of a petal: its slots, whether it is ready, whether it failed."""

    __slots__ = ("awaited", "failed", "limit", "line", "name", "ready", "running", "starting")

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.limit = limit
        self.running = 0
        # Of those, they that wait until a start is on disk or an acknowledgement has left: in
        # order, and whether it is.
        self.starting: dict[Execution, bool] = {}
        self.ready = True  # else its commands wait in its lines, and take no slots
        self.failed = False
        self.awaited = False  # it failed and is started again: what is in the journal waits
        self.line = Line(self, None)


class Line:
    """Commands that start in their order of arrival: a petal's, or those of one command."""

    __slots__ = ("group", "limit", "petal", "running", "waiting")

    def __init__(self, petal: PetalState, limit: int | None, group: str | None = None) -> None:
        self.petal = petal
        self.limit = limit
        self.group = group  # they wait until it is free, rather than be answered `BUSY`
        self.running = 0
        self.waiting: deque[Execution] = deque()


NO_LINE = Line.__new__(Line)  # of a command that is in none


class Execution(msgspec.Struct, eq=False):
    """An accepted command, until it is finished. See the attributes' comments for who sets what.

    A struct of msgspec, because one is made for every command.
    """

    command: Command
    payload: bytes
    spec: CommandSpec
    identity: Identity
    response_topic: str
    arrived: float  # Trio's clock
    clock: trio.abc.Clock  # Trio's; asked from threads too, where trio.current_time() cannot be
    # A duplicate may want the answer that the first copy did not ask for.
    wait_response: bool
    logged: bool  # whether it has its lines at INFO
    wishes: Wishes | None = None
    replies: tuple[Reply, ...] = ()  # where else; each has its place in the outbox
    number: int = msgspec.field(default_factory=_numbers.__next__)  # the order of arrival
    arrival: int = 0  # of what brought it: see `RecentRefusals.arrival`
    deliveries: Sequence[Delivery] = ()  # acknowledged when it is finished
    recorded: bool = False  # the ledger keeps it beyond the process, or is about to
    on_disk: bool = False  # that is done
    restarted: bool = False  # it was running when an earlier run died, or may have been
    again: Delivery | None = None  # what brought it, if that may have been delivered before
    starting: bool = False  # it has its slots, and is called when that is safe
    owed: Mapping[Reply | None, int] | None = None  # numbers there of its responses, once finished
    line: Line = NO_LINE  # by the dispatcher, when accepted
    entered: bool = False  # the handler was called, or is about to be
    finished: bool = False  # it has its one final state
    not_served: NotServed | None = None  # nobody serves it after all
    silent: bool = False  # another program may answer it, so we do not
    in_thread: bool = False  # the slot is freed by the thread
    scope: trio.CancelScope | None = None  # of the handler, while it runs
    deadline: float = math.inf
    cancelled_as: tuple[ErrorCode, str] | None = None
    reason: str | None = None  # why it was not done, for the log: never values of its sender's
    ignored: tuple[Problem, ...] = ()  # keys of its data that nobody declared, by its binder

    def set_wishes(self, wishes: Wishes) -> None:
        """Its sender has some; before it is accepted."""
        self.wishes = wishes
        if wishes.reply is not None:
            self.replies = (wishes.reply,)
            self.wait_response = wants_usual(self.command, wishes)

    def cancel(self, code: ErrorCode, text: str) -> None:
        """Cancel the handler, or never call it; the command is answered so once it has ended."""
        if self.cancelled_as is None and not self.finished:
            self.cancelled_as = (code, text)
            if self.scope is not None:
                self.scope.cancel()

    def context(self) -> CommandContext:
        """What a handler gets that asks for its context."""
        return CommandContext(self.command, self.identity, self.spec.petal, self.deadline)

    def log_fields(self) -> dict[str, Any]:
        """What log records say of this command; `elapsed` is seconds since it was accepted."""
        return {
            "petal": self.spec.petal,
            "command": self.spec.name,
            "message_id": self.command.message_id,
            "elapsed": round(self.clock.current_time() - self.arrived, 6),
        }

    def log_received(self) -> None:
        """One line at INFO."""
        logger.info("received", extra=self.log_fields())

    def log_answer(self, code: str | None) -> None:
        """One line at INFO."""
        wanted = self.wait_response or self.replies
        text = "answered" if wanted else "done, no answer wanted"
        fields = self.log_fields()
        if code is not None:
            fields["error_code"] = str(code)
            if self.reason is not None:
                text = f"{text}: {shortened(self.reason)}"
        logger.info("%s", text, extra=fields)


Answer = tuple[bytes, str | None]


async def call_handler(
    execution: Execution,
    answers: Responses,
    counters: Counters,
    limiter: trio.CapacityLimiter,
    leave: Callable[[Execution], None],
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

    Cancellation: travels, when the handler lets it.
    """
    spec = execution.spec
    message_id = execution.command.message_id
    try:
        try:
            arguments = spec.bind(execution.command, execution.context, execution)
        except PayloadError as error:
            details = {**_ignored(execution), "errors": list(error.errors)}
            execution.reason = error.log
            response = answers.failure(message_id, error.code, error.message, details=details)
            return response, error.code
        counters.started += 1
        if spec.thread:
            result = await _call_in_thread(execution, arguments, limiter, leave)
        else:
            result = await spec.handler(**arguments)
        try:
            if type(result) is OwnWords:
                words = answers.own_words(message_id, result.fields, result.error_code)
                return words, result.error_code
            fields = spec.result_fields(result)
            if execution.ignored:
                return _success_with_ignored(execution, fields, answers), None
            return answers.success(message_id, fields), None
        except PayloadError as error:
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


def _success_with_ignored(
    execution: Execution, fields: Mapping[str, Any], answers: Responses
) -> bytes:
    """The result, and what was ignored unless that makes it too large. A petal's own word wins."""
    message_id = execution.command.message_id
    with contextlib.suppress(PayloadError):  # else it is about the result, which raises again
        return answers.success(message_id, {**_ignored(execution), **fields})
    return answers.success(message_id, fields)


def _answer_error(execution: Execution, error: BaseException, answers: Responses) -> Answer:
    """What an error is answered. Never raises: nobody else would answer."""
    try:
        refusal = single(error)
        if isinstance(refusal, CommandError):
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
    except ENDS_PROCESS:
        raise
    except BaseException as unreadable:
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


def _answer_refusal(execution: Execution, refusal: CommandError, answers: Responses) -> Answer:
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
