"""Where a pass of the event loop ends, for the log: what it has gathered is one write.

The rule: before Trio waits for anything, the lines of the pass are written. The trap: a handler
that blocks is a pass that does not end; so what is a warning, or comes from another thread as the
watchdog's word does, is written at once, after all that was gathered.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator

import trio


class _Current:
    """Of the event loop whose lines are gathered."""

    thread: int | None = None  # its; None while nobody says where a pass ends


current = _Current()
_at_end: list[Callable[[], object]] = []  # one of each writer that has gathered something


def at_end(call: Callable[[], object]) -> None:
    """Have something called at the end of this pass."""
    _at_end.append(call)


def _end_pass() -> None:
    while _at_end:
        _at_end.pop()()


class _EndsOfPasses(trio.abc.Instrument):
    def before_io_wait(self, timeout: float) -> None:
        """Trio is about to wait for input and output, or looks whether there is any."""
        _end_pass()


@contextlib.contextmanager
def gathered_by_pass() -> Generator[None]:
    """Within a run of Trio: what its thread logs of commands is written once in each pass."""
    instrument = _EndsOfPasses()
    trio.lowlevel.add_instrument(instrument)
    current.thread = threading.get_ident()
    try:
        yield
    finally:
        current.thread = None
        with contextlib.suppress(KeyError):  # Trio takes away one that has failed
            trio.lowlevel.remove_instrument(instrument)
        _end_pass()
