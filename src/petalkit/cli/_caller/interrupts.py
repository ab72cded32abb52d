"""Ctrl-C: the first asks, and the second leaves.

The rule: a second one ends the process there and then, with the terminal as it was, whatever waits:
a farewell to a broker that is gone, or a write to a pipe that nobody reads. So it is the signal
handler itself that leaves, and not the event loop, which may be the one that waits. The trap:
Python starts a system call again that a signal has interrupted, after the handler has run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import trio

from .._output.printing import is_terminal

_SHOW_CURSOR = b"\x1b[?25h\n"


def leave_now(code: int) -> None:
    """End this process at once; a progress bar may have hidden the cursor."""
    with contextlib.suppress(OSError):
        if is_terminal(sys.stderr):
            os.write(2, _SHOW_CURSOR)
    os._exit(code)


class Interrupts:
    """What a first Ctrl-C does, at each moment; see the module.

    Args:
        leave: ends the process, with an exit code.

    Attributes:
        asked: whether somebody has pressed it.
    """

    def __init__(self, leave: Callable[[int], object] = leave_now) -> None:
        self.asked = False
        self._leave = leave
        self._handlers: list[Callable[[], object]] = []

    @contextlib.contextmanager
    def handled_by(self, handler: Callable[[], object]) -> Iterator[None]:
        """Within the block this is what a first Ctrl-C does."""
        self._handlers.append(handler)
        try:
            yield
        finally:
            self._handlers.remove(handler)

    def interrupt(self) -> None:
        """The first one, in the event loop."""
        self.asked = True
        if self._handlers:
            self._handlers[-1]()

    @contextlib.contextmanager
    def listen(self) -> Iterator[None]:
        """Take the signals that would end the process. In the main thread, inside of Trio.

        SIGTERM and SIGHUP leave at once: they are no wish of a person to cancel something. What the
        process ignores, as under nohup(1), it ignores.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        token = trio.lowlevel.current_trio_token()
        count = 0

        def take(number: int, frame: FrameType | None) -> None:
            nonlocal count
            count += 1
            if number != signal.SIGINT or count > 1:
                self._leave(128 + number)
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(self.interrupt)

        names = ("SIGINT", "SIGTERM", "SIGHUP")
        taken = [number for name in names if (number := getattr(signal, name, None)) is not None]
        before = {
            number: signal.signal(number, take)
            for number in taken
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
