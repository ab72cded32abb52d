"""The run of a job's method: its scope, its nursery, its thread.

The rule: it returns when nothing of the method goes on any more. A thread is waited for, though its
job is cancelled, because it keeps what it works with; only the end of the runtime leaves it behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import trio

from ..._authoring.context import log_scope
from ..._values.errors import ErrorCode
from ..._values.statistics import Counters
from ..dispatch.calling import call_handler
from ..dispatch.left_open import close_nurseries, tell_left_open
from ..failures import showable
from ..waiting import wait_any
from .outcomes import Outcome
from .record import JobRecord


@attrs.frozen
class Calling:
    """What a call needs of its runtime.

    Attributes:
        counters: for what is called.
        limiter: for threads.
        closing: set when threads are not waited for any more.
    """

    counters: Counters
    limiter: trio.CapacityLimiter
    closing: trio.Event


class Host:
    """What one job has of its runtime.

    Args:
        record: it.
        reported: told when it has said something, from any thread.
    """

    def __init__(self, record: JobRecord, reported: Callable[[JobRecord], object]) -> None:
        self._record = record
        self._reported = reported

    @property
    def resumable(self) -> bool:
        """See `JobHost`."""
        return self._record.spec.options.resume

    def changed(self) -> None:
        """See `JobHost`."""
        self._reported(self._record)

    def checkpoint(self, state: Mapping[str, Any]) -> None:
        """See `JobHost`."""
        raise NotImplementedError

    async def wait_safe(self) -> None:
        """See `JobHost`."""
        await trio.lowlevel.checkpoint()


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
                execution, outcome, calling.counters, calling.limiter, lambda _: left.set()
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
