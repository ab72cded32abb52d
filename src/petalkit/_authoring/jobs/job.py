"""`@job`: what marks a method as long work, which goes on after its first answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from ..inspection.foreign import repr_of
from ..inspection.marks import mark
from ..unknown_keys import UnknownKeysRule
from .options import JobOptions

F = TypeVar("F", bound=Callable[..., Any])


def job(
    name: str,
    *,
    timeout: float = math.inf,
    concurrency: int = 1,
    queue: int = 0,
    exclusive: str | None = None,
    lease: float | None = None,
    end_on_link_loss: bool = False,
    resume: bool = False,
    thread: bool = False,
    unknown_keys: UnknownKeysRule | None = None,
    check_result: bool = True,
) -> Callable[[F], F]:
    """Make a method of a `Petal` a job: work that goes on after the answer to its start.

    The command of that name starts it, and is answered at once with `job_id` and its state. Five
    more commands belong to it: `subscribe_name`, `unsubscribe_name`, `cancel_name`, `status_name`
    and `result_name`. What the method returns is the job's result, what it raises its failure, as
    for a command; every job ends in exactly one final state. Returns the function unchanged.

    The method's parameters are bound as those of a command are; one may be annotated `Job`.

    Args:
        name: as for `@command`.
        timeout: seconds that it may run, then it is cancelled and ends as `timed_out`.
        concurrency: how many of this job run at once.
        queue: how many more wait for their turn; a start beyond that is answered `BUSY`, with what
            is running.
        exclusive: name of a group, shared with commands and jobs of all petals, of which one runs
            at a time. A start while another runs is answered `BUSY`, or waits in the queue.
        lease: seconds after which it is cancelled unless the command that starts it comes again,
            which renews the lease and is answered with the same `job_id`: an operation that must
            end when its operator is gone. Time in which the device is suspended counts, where the
            operating system tells it. None: it has none.
        end_on_link_loss: cancel it when the link to the broker is lost.
        resume: with a journal, run it again after a restart, with what it kept last by
            `Job.checkpoint`; else it ends as `interrupted` then.
        thread: the method is a plain `def` that blocks, and runs in a worker thread, which nobody
            can stop: `Job.check_cancelled()` lets it end early.
        unknown_keys: as for `@command`.
        check_result: the same.

    Raises:
        TypeError: it was used without parentheses, or not over a function.
        RegistrationError: when the table of commands is built, not here.
    """
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            f'@job needs the name of the command: write @job("name") over {repr_of(name)}'
        )
    options = JobOptions(
        name=name,
        timeout=timeout,
        concurrency=concurrency,
        queue=queue,
        exclusive=exclusive,
        lease=lease,
        end_on_link_loss=end_on_link_loss,
        resume=resume,
        thread=thread,
        unknown_keys=unknown_keys,
        check_result=check_result,
    )

    def decorate(function: F) -> F:
        if not mark(function, options):
            raise TypeError(
                f"@job({name!r}) has to stand over a function, not over "
                f"{type(function).__name__} {repr_of(function)}"
            )
        return function

    return decorate
