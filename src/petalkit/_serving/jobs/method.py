"""The run of a job's method: its scope, its nursery, its thread, and what comes of it.

The rule: it returns when nothing of the method goes on any more. A thread is waited for, though its
job is cancelled, because it keeps what it works with; only the end of the runtime leaves it behind.

`call_handler` is the boundary where failures become answers, for jobs as for commands. A job's
answer is not sent: it is kept as fields, and asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import msgspec
import trio

from ..._authoring.context import log_scope
from ..._values.codec import encode_json, printable
from ..._values.errors import ErrorCode, PayloadError
from ..._values.statistics import Counters
from ..dispatch.calling import call_handler
from ..dispatch.left_open import close_nurseries, tell_left_open
from ..failures import showable
from ..long_steps import LongSteps
from ..sending.responses import Responses
from ..waiting import wait_any
from .messages import room_for
from .record import JobRecord

_NOTHING: Mapping[str, Any] = {}


class Outcome:
    """Stands where `Responses` stands for a command, for one job.

    Args:
        responses: words what is said elsewhere, and has the bound.

    Attributes:
        fields: of the result, or of the failure; JSON can say them.
        code: None for a success.
        error: for people.
    """

    def __init__(self, responses: Responses, payload_max: int) -> None:
        self.dialect = responses.dialect
        self._most = room_for(payload_max)
        self.fields: Mapping[str, Any] = _NOTHING
        self.code: str | None = None
        self.error: str | None = None

    def success(self, _: str | None, fields: Mapping[str, Any]) -> bytes:
        """Keep a result.

        Raises:
            PayloadError: JSON cannot say it, or it is over `payload_max`.
        """
        encoded = encode_json(fields)
        if len(encoded) > self._most:
            text = f"the result has {len(encoded)} bytes; {self._most} are allowed"
            raise PayloadError(ErrorCode.TOO_LARGE, text)
        self.fields = msgspec.json.decode(encoded)  # the petal may go on with its own
        return b""

    def own_words(
        self, message_id: str | None, fields: Mapping[str, Any], code: str | None
    ) -> bytes:
        """Keep the result of a petal that words its own."""
        self.success(message_id, fields)
        self.code = code
        return b""

    def failure(
        self,
        _: str | None,
        code: str,
        message: str,
        *,
        retryable: bool | None = None,
        remembered: bool = False,
        details: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Keep a failure; details that cannot be sent are left out."""
        del retryable, remembered
        self.code, self.error = printable(code), printable(message)
        self.fields = _NOTHING
        if details:
            with contextlib.suppress(Exception):  # of a petal's own making
                encoded = encode_json(details)
                if len(encoded) <= self._most:
                    self.fields = msgspec.json.decode(encoded)
        return b""


@attrs.frozen
class Calling:
    """What a call needs of its runtime.

    Attributes:
        counters: for what is called.
        limiter: for threads.
        closing: set when threads are not waited for any more.
        long_steps: told of what keeps the event loop to itself.
    """

    counters: Counters
    limiter: trio.CapacityLimiter
    closing: trio.Event
    long_steps: LongSteps


class Host:
    """What one job has of its runtime.

    Args:
        record: it.
        reported: told when it has said something, from any thread.
        keep: keeps what it is to go on from.
    """

    def __init__(
        self,
        record: JobRecord,
        reported: Callable[[JobRecord], object],
        keep: Callable[[JobRecord, Mapping[str, Any]], Awaitable[object]],
    ) -> None:
        self._record = record
        self._reported = reported
        self._keep = keep

    @property
    def resumable(self) -> bool:
        """See `JobHost`."""
        return self._record.spec.options.resume

    def changed(self) -> None:
        """See `JobHost`."""
        self._reported(self._record)

    async def checkpoint(self, state: Mapping[str, Any]) -> None:
        """See `JobHost`."""
        await self._keep(self._record, state)


async def run_method(record: JobRecord, outcome: Outcome, calling: Calling) -> bool:
    """Call it; whether it has ended by itself, and was not cancelled.

    Args:
        record: its job, which is running.
        outcome: told what it returned or raised.
        calling: see there.

    Cancellation: travels, once the method has ended.
    """
    execution, spec, job = record.execution, record.spec, record.job
    assert job is not None
    arguments = dict(record.arguments)
    if spec.method.job is not None:
        arguments[spec.method.job] = job
    execution.spec = attrs.evolve(
        spec.method, handler=_with_nursery(record), bind=lambda *_: arguments
    )
    scope = trio.CancelScope(deadline=record.ends_at)
    left = trio.Event()
    try:
        with scope:
            record.scope = execution.scope = scope
            execution.deadline = scope.deadline
            log_scope.set(execution)
            if record.cancelled_as is not None:  # before its first step
                scope.cancel()
            await call_handler(
                execution,
                outcome,
                calling.counters,
                calling.limiter,
                lambda _: left.set(),
                calling.long_steps,
            )
    except Exception as error:
        tell_left_open(execution, showable(error))
        outcome.failure(None, ErrorCode.HANDLER_ERROR, f"{spec.name} left a cancel scope open")
    finally:
        task = trio.lowlevel.current_task()
        if task.child_nurseries:
            await close_nurseries(task)
        if execution.in_thread and not left.is_set():
            # No limit of its own: two runs at once could move what the thread still holds.
            with trio.CancelScope(shield=True):
                await wait_any(left.wait, calling.closing.wait)
    return not scope.cancelled_caught


def _with_nursery(record: JobRecord) -> Callable[..., Any]:
    """The method, with a nursery of the job's own around it."""
    method, job = record.spec.method.handler, record.job
    if record.spec.options.thread:
        return method
    assert job is not None

    async def run(**arguments: Any) -> Any:
        async with trio.open_nursery() as nursery:
            job.open_nursery(nursery)
            result = await method(**arguments)
            nursery.cancel_scope.cancel()
        return result

    return run
