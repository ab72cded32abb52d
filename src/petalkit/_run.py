"""Serving as a whole process: signals, logging, exit codes.

Signals are taken by plain handlers, not by a Trio task: the second one has to work while a petal
blocks the event loop, which is when it is needed most.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from types import FrameType

import trio

from ._errors import ConfigError, PetalkitError, RegistrationError
from ._petal import Petal
from ._runtime import AllPetalsFailed, Runtime, open_runtime
from ._settings import Settings
from ._waiting import wait_any
from .transports._tls import check_files

logger = logging.getLogger("petalkit.runtime")

EXIT_OK = 0  # stopped by a signal, or by `runtime.stop()`
EXIT_ERROR = 1  # the runtime failed, or no petal is left, or the stop took too long
EXIT_USAGE = 2  # a setting, a petal or an argument is wrong
EXIT_FORCED = 3  # a second signal
STOP_MARGIN = 5.0  # seconds beyond the sum of the stop's own limits, and for the process to end


def stop_limit(settings: Settings) -> float:
    """Seconds that a stop can take at most: the sum of the limits of its parts."""
    return (
        settings.grace
        + 3 * settings.cleanup_timeout
        + settings.flush_timeout
        + 2 * settings.disconnect_timeout
        + (0 if settings.journal is None else 3 * settings.journal_timeout)
    )


async def run_until_signalled(petals: Sequence[Petal], settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT, then stop gracefully; a second signal exits at once.

    Call it in the main thread, where Python handles signals.

    Raises:
        RegistrationError, ConfigError, AllPetalsFailed: as `open_runtime`; the last also when
            every petal has failed while it was served.
    """
    if sys.stderr is not None and sys.stderr.isatty():
        # A person looks on, and is told at once of a file that is wrong. A service starts: the
        # file may come or be renewed, and is read again for each connect.
        check_files(settings)
    stop = _Stop()
    failed = False
    # Around the start, which has no runtime yet to stop; a started one stops by itself.
    with trio.CancelScope() as stop.start, _signals_stop(stop, settings):
        async with open_runtime(petals, settings) as stop.runtime:
            await wait_any(stop.runtime.wait_stopped, stop.runtime.wait_all_failed)
            failed = stop.runtime.all_failed
    if failed:
        # Whoever supervises the process can start it again; nobody in it can.
        raise AllPetalsFailed("every petal is out of service")
    return EXIT_OK


class _Stop:
    """What the first signal ends."""

    def __init__(self) -> None:
        self.start = trio.CancelScope()
        self.runtime: Runtime | None = None

    def begin(self, name: str) -> None:
        logger.info("%s: stopping; once more to exit at once", name)
        if self.runtime is None:
            self.start.cancel()
        else:
            self.runtime.stop()


@contextmanager
def _signals_stop(stop: _Stop, settings: Settings) -> Generator[None]:
    token = trio.lowlevel.current_trio_token()
    limit = stop_limit(settings) + STOP_MARGIN
    # A handler that blocks or swallows its cancellation can hold up the event loop for ever; a
    # thread that nobody needs to schedule keeps the promise that a stop ends.
    deadman = threading.Timer(limit, _give_up, args=(limit,))
    deadman.daemon = True
    signalled = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal signalled
        name = signal.Signals(number).name
        if signalled:
            _exit_now(EXIT_FORCED, f"{name} again: exit at once")
        signalled = True
        deadman.start()
        token.run_sync_soon(stop.begin, name)

    previous = {
        number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            # None: it was not set from Python, and cannot be set back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        deadman.cancel()


def _give_up(limit: float) -> None:
    _exit_now(EXIT_ERROR, f"not stopped within {limit:g} s: something blocks or cannot be stopped")


def _exit_now(code: int, why: str) -> None:
    # No logging here: its locks may be held by what we interrupt.
    os.write(2, f"petalkit: {why}\n".encode())
    os._exit(code)


def run_as_process(petals: Sequence[Petal], settings: Settings) -> int:
    """`run_until_signalled` as the last that this process does; returns its exit code.

    Threads that petals leave running, and Python waits for, hold up the end of the process for
    `STOP_MARGIN` seconds at most. So it is for a process that is ours, as that of the command line:
    in another they may be whoever's.
    """
    code = EXIT_ERROR
    try:
        code = trio.run(run_until_signalled, petals, settings)
    except (ConfigError, RegistrationError):
        code = EXIT_USAGE
        raise
    finally:
        _limit_exit(code)
    return code


_exit_code: int | None = None  # of the last run
_leaving = threading.Event()  # the main thread is done, and Python waits for the others


def _limit_exit(code: int) -> None:
    global _exit_code
    first, _exit_code = _exit_code is None, code
    if not first:
        return
    # Not from now on: whoever called may have more to do. The public `atexit` comes too late, after
    # the threads; of these hooks the last is called first, before the one that joins the threads
    # of executors.
    threading._register_atexit(_leaving.set)  # type: ignore[attr-defined]
    threading.Thread(target=_end_process, name="petalkit exit", daemon=True).start()


def _end_process() -> None:
    _leaving.wait()  # no limit: nobody waits for a daemon thread
    time.sleep(STOP_MARGIN)
    left = [
        thread.name
        for thread in threading.enumerate()
        if not thread.daemon and thread is not threading.main_thread()
    ]
    if left and _exit_code is not None:
        _exit_now(_exit_code, f"exit: threads that do not end are left behind: {', '.join(left)}")


def run(*petals: Petal, settings: Settings | None = None) -> None:
    """Serve petals until SIGTERM or SIGINT: the whole of a device's main program.

    Sets up logging on stderr unless the program has done so already. Returns after a clean stop;
    ends the process with an exit code otherwise: 1 when the runtime failed or no petal could be
    started, 2 when a setting or a petal is wrong, 3 at a second signal. What the program does
    after that is its own; Python waits for all threads that are no daemons, also those of petals.

    Args:
        petals: instances, with names of their own.
        settings: None for the defaults.
    """
    from ._logs import configure_logging

    if not logging.getLogger().handlers:
        configure_logging()
    try:
        code = trio.run(run_until_signalled, petals, settings or Settings())
    except (ConfigError, RegistrationError) as error:
        logger.critical("%s", error)
        code = EXIT_USAGE
    except PetalkitError as error:
        logger.critical("%s", error)
        code = EXIT_ERROR
    if code != EXIT_OK:
        sys.exit(code)
