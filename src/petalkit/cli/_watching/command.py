"""`petalkit watch`: show what a device says until Ctrl-C, or for a while.

The rule: nothing that a device says is waited for by anybody else: who reads slowly misses the
oldest, and is told how many.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, TypeAlias

import attrs
import trio
from cyclopts import Parameter

from .._caller.options import CallerOptions, check_seconds, make_ask
from .._caller.session import Session, run_session
from .._errors import EXIT_INTERRUPTED, EXIT_OK, UsageError, report
from .._options import GENERAL, CallSettings, GeneralOptions
from .._output.printing import make_console, print_json
from .lines import Kind, Line
from .sources import Sources, Wish

Only: TypeAlias = Literal["events", "jobs", "streams", "status", "live"]

_KINDS: dict[Only, Kind] = {
    "events": "event", "jobs": "job", "streams": "stream", "status": "status", "live": "live",
}  # fmt: skip
RATE_MAX = 100.0  # Hz, which is the most of a device
EVERY_MIN = 0.1  # seconds


def watch(  # noqa: D417 - what is left out has its words in its class
    *names: Annotated[str, Parameter(name="NAME", negative=())],
    only: Annotated[tuple[Only, ...], Parameter(negative_iterable=(), group=GENERAL)] = (),
    rate: Annotated[float, Parameter(group=GENERAL)] = 10.0,
    every: Annotated[float, Parameter(group=GENERAL)] = 5.0,
    count: Annotated[int | None, Parameter(group=GENERAL)] = None,
    duration: Annotated[float, Parameter(name="--for", group=GENERAL)] = math.inf,
    caller: CallerOptions | None = None,
    general: GeneralOptions | None = None,
    settings: Annotated[CallSettings | None, Parameter(name="*")] = None,
) -> int:
    """Show what a device says, as it says it: events, jobs, streams, births and farewells.

    NAME is that of an event, a job or a stream, and may have * in it. With names all three are
    watched; without, events, all jobs and the status. --only says which kinds instead.

    With --json a line is one object: `kind` (event, job, stream, status or live), `time`,
    `device_id`, `name` and `data`.

    Exit codes: 0 after --count or --for, or when nobody reads any more, 1 the device answered with
    an error, 2 no connection, no answer, or a usage error, 130 Ctrl-C.

    Args:
        only: These kinds alone; may be repeated. live is how the device stands, every --every.
        rate: Messages of each job and stream, at most. [Hz]
        every: How often the device is asked how it stands. [s]
        count: End after so many lines.
        duration: End after so long. [s]
    """
    if not 0 < rate <= RATE_MAX:
        raise UsageError(f"--rate must be above 0 and at most {RATE_MAX:g} Hz, not {rate:g}")
    if not EVERY_MIN <= every < math.inf:
        raise UsageError(f"--every must be {EVERY_MIN:g} s or more, not {every:g}")
    if count is not None and count < 1:
        raise UsageError(f"--count must be 1 or more, not {count}")
    if duration != math.inf:
        check_seconds("--for", duration)
    usual: tuple[Only, ...] = (
        ("events", "jobs", "streams") if names else ("events", "jobs", "status")
    )
    kinds: frozenset[Kind] = frozenset(_KINDS[one] for one in only or usual)
    patterns = tuple(one.strip("/") for one in names)
    watched = Watched(Wish(kinds=kinds, names=patterns, rate=rate, every=every), count, duration)
    return run_session(make_ask(general, caller, settings), functools.partial(show, watched))


@attrs.frozen
class Watched:
    """What is watched, and until when.

    Attributes:
        wish: what.
        count: lines; None for as many as come.
        duration: seconds.
    """

    wish: Wish
    count: int | None = None
    duration: float = math.inf


async def show(watched: Watched, session: Session) -> int:
    """Print lines until it is enough, and return the exit code."""
    printer = _printer(session)
    left = watched.count
    with trio.CancelScope(deadline=trio.current_time() + watched.duration) as scope:

        async def take(line: Line) -> None:
            nonlocal left
            await trio.lowlevel.checkpoint()
            printer(line)
            if left is not None:
                left -= 1
                if not left:
                    scope.cancel()

        with session.interrupts.handled_by(scope.cancel):
            await Sources(session, watched.wish, _in_turn(take)).run()
    missed = session.client.statistics().dropped
    if missed:
        report(f"{missed} came faster than they could be shown, and are missing", kind="warning")
    return EXIT_INTERRUPTED if session.interrupts.asked else EXIT_OK


def _in_turn(take: Callable[[Line], Awaitable[object]]) -> Callable[[Line], Awaitable[object]]:
    """One line after the other, whatever source it comes from."""
    lock = trio.Lock()

    async def taken(line: Line) -> None:
        async with lock:
            await take(line)

    return taken


def _printer(session: Session) -> Callable[[Line], Any]:
    if session.ask.as_json:
        return lambda line: print_json(line.as_json(session.device_id))
    console = make_console()

    def show_line(line: Line) -> None:
        console.print(line.as_text())
        console.file.flush()

    return show_line
