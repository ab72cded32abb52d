"""`@command`: what marks a method as a handler, and says how it may run.

It checks nothing but its own use: a class may be made before what its options name, so the table of
commands judges them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .declared import DEFAULT_TIMEOUT, CommandOptions, WhenBusy
from .inspection.foreign import repr_of
from .inspection.marks import mark
from .unknown_keys import UnknownKeysRule

F = TypeVar("F", bound=Callable[..., Any])


def command(
    name: str,
    *,
    timeout: float = DEFAULT_TIMEOUT,
    concurrency: int | None = None,
    exclusive: str | None = None,
    when_busy: WhenBusy = "refuse",
    urgent: bool = False,
    idempotent: bool = False,
    thread: bool = False,
    journal: bool = True,
    unknown_keys: UnknownKeysRule | None = None,
    check_result: bool = True,
) -> Callable[[F], F]:
    """Make a method of a `Petal` the handler of a command. Returns the function unchanged.

    Args:
        name: without a slash it gets the petal's prefix in front; with one it is taken as it is.
        timeout: seconds until the handler is cancelled and the caller answered `TIMEOUT`;
            `math.inf` for a handler that bounds itself.
        concurrency: how many of this command run at once; more wait, without holding up the
            petal's other commands. None: only the petal's own limit.
        exclusive: name of a group, shared by all petals, of which one command runs at a time.
            The next is answered `BUSY` with what is running, unless `when_busy` says otherwise.
        when_busy: `"wait"`: it waits for its turn in the group, in the order of arrival, and holds
            up no other command. Waiting counts as that of any accepted command, against the
            channel's capacity and its `expiresAt`, and not against `timeout`.
        urgent: passes every limit and every order, as an emergency stop must.
        idempotent: running it twice does no harm. With a journal, one that was running when the
            process died is run again (three times at most) and not answered `INTERRUPTED`; and its
            start is not waited for, so it is answered sooner.
        thread: the handler is a plain `def` that blocks; it runs in a worker thread. Timed out or
            cancelled, it is answered for at once, but nobody can stop a thread: it keeps its slot
            and group until it returns. `trio.from_thread.check_cancelled()` lets it end early.
        journal: with a journal, whether it is recorded there. Not worth it for what comes many
            times a second and is worthless a moment later, such as a dead-man's renewal: that is
            held in memory, as all is without a journal.
        unknown_keys: what to do with keys of `data` that the handler does not know: `"ignore"`
            them, and name each in the log once, or `"refuse"` the command with `INVALID_DATA`.
            None: as the petal says, or else the settings.
        check_result: whether a result has to be what its annotation says, or is answered
            `HANDLER_ERROR`. False: the annotation is for Python alone.

    Raises:
        TypeError: it was used without parentheses.
        RegistrationError: when the table is built, not here.
    """
    if not isinstance(name, str):
        raise TypeError(
            f'@command needs the name of the command: write @command("name") over {repr_of(name)}'
        )
    options = CommandOptions(
        name=name,
        timeout=timeout,
        concurrency=concurrency,
        exclusive=exclusive,
        when_busy=when_busy,
        urgent=urgent,
        idempotent=idempotent,
        thread=thread,
        journal=journal,
        unknown_keys=unknown_keys,
        check_result=check_result,
    )

    def decorate(function: F) -> F:
        if not mark(function, options):
            raise TypeError(
                f"@command({name!r}) has to stand over a function, not over "
                f"{type(function).__name__} {repr_of(function)}"
            )
        return function

    return decorate
