"""SIGTERM, SIGINT and SIGHUP of a serving process: the first stops it, a second one ends it.

The rule: both always end the process, and so does the limit of the stop, whatever the event loop
or the log does. So nothing here needs the main thread: Python writes the number of each signal into
a pipe as it comes (`signal.set_wakeup_fd`), and a thread of its own reads that. The traps: Trio has
put its own socket there, which has to be told too; a Python handler runs only when the main thread
comes back from whatever it is in; a word on a standard error that nobody reads blocks; and a
forked child inherits all of it, and would swallow the signals that are meant to end it; what its
parent's handlers write in it goes to the parent, which would stop. So they wait over a fork until
the child is free.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import math
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

import trio

from ...transports._forks import in_child
from .standard_streams import last_words

logger = logging.getLogger("petalkit.runtime")

EXIT_ERROR = 1  # the stop took too long
EXIT_FORCED = 3  # a second signal
# A terminal that goes away says so twice, by the kernel and by the shell: never a second signal.
_NEVER_SECOND = frozenset({signal.SIGHUP})
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PATIENCE = 2.0  # seconds beyond the limit, after which even Python's own lock is passed over
_END = 0  # no signal has this number


@contextmanager
def signals_stop(
    begin: Callable[[str], object], limit: float, *, to_the_end: bool = False
) -> Generator[None]:
    """Let the first signal call `begin`, in a Trio task's context, with its name.

    Call it in the main thread, inside `trio.run`.

    Args:
        begin: starts the stop.
        limit: seconds after the first signal at which the process is ended, with `EXIT_ERROR`.
        to_the_end: whether signals stay ours after the block, because the process ends then. One
            that comes first there changes nothing; a second one ends it, with `EXIT_FORCED`.
    """
    watch = _Watch(begin, limit)
    forget = in_child(watch.leave_child)
    try:
        watch.take()
        yield
    finally:
        watch.give_back(to_the_end)
        if not to_the_end:
            forget()


class _Watch:
    """One process's signals, while it serves."""

    def __init__(self, begin: Callable[[str], object], limit: float) -> None:
        self._begin = begin
        self._limit = limit
        self._token = trio.lowlevel.current_trio_token()
        self._previous: dict[signal.Signals, signal._HANDLER] = {}
        self._deadline: float | None = None  # of the stop, on the monotonic clock
        self._given_back = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)  # as `set_wakeup_fd` demands
        # Opened now: a process that has run out of descriptors has to be ended, too.
        self._nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        # Not the event loop's, and it waits without a limit: nobody waits for a daemon thread.
        self._thread = threading.Thread(target=self._watch, name="petalkit signals", daemon=True)

    def take(self) -> None:
        """From here on they are ours."""
        for number in _SIGNALS:
            if number in _NEVER_SECOND and signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup(1): whoever started us wants it to go on
            self._previous[number] = signal.signal(number, _nothing) or signal.SIG_DFL
        self._others = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._thread.start()

    def give_back(self, to_the_end: bool) -> None:
        """They are whose they were before, or handled in the main thread from here on."""
        if to_the_end:
            signal.set_wakeup_fd(self._others)  # first, or one signal would be counted as two
        for number, handler in self._previous.items():
            signal.signal(number, self._while_ending if to_the_end else handler)
        if not to_the_end:
            signal.set_wakeup_fd(self._others)
        os.write(self._writer, bytes([_END]))
        self._thread.join(1.0)  # it ends at once; if it cannot, it must not hold us up
        # Only now: until its end the thread may still take a signal, and set this.
        if self._deadline is not None:
            faulthandler.cancel_dump_traceback_later()
        self._given_back = True
        os.close(self._writer)
        os.close(self._nowhere)

    def _while_ending(self, number: int, frame: FrameType | None) -> None:
        """As a handler of Python's: nothing of ours runs any more in the main thread."""
        if self._deadline is None:
            self._deadline = math.inf  # it ends by itself, within the limit of `leaving`
        elif number not in _NEVER_SECOND:
            _exit(EXIT_FORCED, f"{signal.Signals(number).name} again: exit at once")

    def leave_child(self) -> None:
        """In a forked child: a signal ends it, as it ends any process."""
        signal.set_wakeup_fd(-1)
        for number in self._previous:
            ends = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, ends)
        if self._given_back:
            return  # they are closed
        for descriptor in (self._reader, self._writer, self._nowhere):
            os.close(descriptor)

    # -- in the thread

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        while True:
            if not poll.poll(self._patience()):
                _exit(EXIT_ERROR, f"not stopped within {self._limit:g} s: something blocks")
            numbers = os.read(self._reader, 64)
            if _END in numbers:
                os.close(self._reader)
                return
            if self._others != -1:  # Trio's, which wakes the event loop
                with contextlib.suppress(OSError):
                    os.write(self._others, numbers)
            for number in numbers:
                if number in self._previous:
                    self._on_signal(signal.Signals(number))

    def _patience(self) -> float | None:
        """Milliseconds."""
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - time.monotonic()) * 1000

    def _on_signal(self, number: signal.Signals) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + self._limit
            # A thread of C: for a handler that keeps Python's own lock for ever.
            faulthandler.dump_traceback_later(
                self._limit + _PATIENCE, exit=True, file=self._nowhere
            )
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._begin, number.name)
        elif number not in _NEVER_SECOND:
            _exit(EXIT_FORCED, f"{number.name} again: exit at once")


# -- over a fork

_masks = threading.local()  # each thread that forks has its own


def _hold() -> None:
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _let() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


# In the child after the hook of `_forks`, which was registered before and frees it of its parent.
os.register_at_fork(before=_hold, after_in_parent=_let, after_in_child=_let)


def _nothing(number: int, frame: FrameType | None) -> None:
    """What is to be done, the thread does."""


def _exit(code: int, why: str) -> None:
    last_words(why)
    os._exit(code)
