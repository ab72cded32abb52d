"""Serving as a whole process: signals, logging, exit codes.

Signals are taken by a thread of their own (`signals`), not by a Trio task: the second one has to
work while a petal blocks the event loop, which is when it is needed most.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Sequence

import trio

from ..._authoring.petal import Petal
from ..._values.errors import ConfigError, PetalkitError, RegistrationError
from ..._values.settings.settings import Settings
from ..._values.statistics import Statistics
from ...transports._connecting.tls import check_files
from ..links.attempts import ADVICE
from ..opening import open_runtime
from ..runtime import AllPetalsFailed, Runtime
from ..waiting import beside, wait_any
from . import collector
from .leaving import EXIT_LIMIT, end_process, limit_exit
from .passes import gathered_by_pass
from .signals import EXIT_ERROR, signals_stop
from .standard_streams import last_words
from .systemd import Systemd

logger = logging.getLogger("petalkit.runtime")

EXIT_OK = 0  # stopped by a signal, or by `runtime.stop()`
# 1 is EXIT_ERROR: the runtime failed, no petal is left, or the stop took too long
EXIT_USAGE = 2  # a setting, a petal or an argument is wrong
# 3 is EXIT_FORCED: a second signal
# Seconds after which a thread that computes is asked to let another run. With Python's 5 ms the
# event loop and the journal wait that long at each of their steps beside a thread=True handler.
SWITCH_INTERVAL = 0.0005
LEFT_AFTER = 1.0  # seconds after a stop for all tasks to end, before they are left behind
STOP_MARGIN = EXIT_LIMIT  # seconds beyond the sum of the stop's own limits


def stop_limit(settings: Settings) -> float:
    """Seconds that a stop can take at most: the sum of the limits of its parts."""
    return (
        settings.grace
        + 3 * settings.cleanup_timeout
        + settings.flush_timeout
        + 2 * settings.disconnect_timeout
        + (0 if settings.journal is None else 3 * settings.journal_timeout)
    )


async def run_until_signalled(
    petals: Sequence[Petal], settings: Settings, advice: str = ADVICE, *, ours: bool = False
) -> int:
    """Serve until SIGTERM, SIGINT or SIGHUP, then stop gracefully; a second one exits at once.

    What starts it as a service of systemd is told when it is ready, stops, and lives.

    Call it in the main thread, where Python handles signals.

    Args:
        petals: as for `open_runtime`.
        settings: the same.
        advice: the same.
        ours: the process ends after this, and has the signals until then.

    Raises:
        RegistrationError, ConfigError, AllPetalsFailed: as `open_runtime`; the last also when
            every petal has failed while it was served.
    """
    if sys.stderr is not None and sys.stderr.isatty():
        # A person looks on, and is told at once of a file that is wrong. A service starts: the
        # file may come or be renewed, and is read again for each connect.
        check_files(settings)
    systemd = Systemd.from_environment()
    limit = stop_limit(settings) + STOP_MARGIN
    stop = _Stop(systemd, limit)
    tell = functools.partial(systemd.keep_telling, stop.status)
    # Around the start, which has no runtime yet to stop; a started one stops by itself.
    with trio.CancelScope() as stop.start, signals_stop(stop.begin, limit, to_the_end=ours):
        # Also while it starts and stops: systemd would take a long stop for a hang.
        async with beside(tell, "systemd"):
            with gathered_by_pass():
                await _serve(petals, settings, stop, advice, ours=ours)
    return EXIT_OK


async def _serve(
    petals: Sequence[Petal], settings: Settings, stop: _Stop, advice: str, *, ours: bool
) -> None:
    async with open_runtime(petals, settings, advice=advice) as runtime:
        if ours:
            collector.spare()
        stop.has_started(runtime)
        await wait_any(runtime.wait_stopped, runtime.wait_all_failed, runtime.stop_done.wait)
        failed = runtime.all_failed
        stop.tell()
        runtime.stop()
        await wait_any(runtime.wait_stopped, functools.partial(_leave_behind, runtime, failed))
    if failed:
        # Whoever supervises the process can start it again; nobody in it can.
        raise AllPetalsFailed("every petal is out of service")


async def _leave_behind(runtime: Runtime, failed: bool) -> None:
    """End the process where a task of a petal swallows its cancellation: no task can be left."""
    await runtime.stop_done.wait()
    await trio.sleep(LEFT_AFTER)
    left = runtime.parts.left_running()
    if not left:
        await trio.sleep_forever()  # something of ours takes long, and the stop's own limit counts
    with trio.move_on_after(runtime.settings.journal_timeout):
        await runtime.parts.ledger.wait_written()
    last_words(f"exit: what does not end is left behind: {', '.join(left)}")
    code = EXIT_ERROR if failed or runtime.crash is not None else EXIT_OK
    limit_exit(code)
    end_process(code)


class _Stop:
    """What the first signal ends, and what is told of it.

    Args:
        systemd: is told.
        limit: seconds that a stop takes at most.
    """

    def __init__(self, systemd: Systemd, limit: float) -> None:
        self.start = trio.CancelScope()
        self._systemd = systemd
        self._limit = limit
        self._runtime: Runtime | None = None
        self._told = False

    def has_started(self, runtime: Runtime) -> None:
        """There is a runtime now."""
        self._runtime = runtime
        self._systemd.ready(self.status() or "")

    def begin(self, name: str) -> None:
        """The first signal."""
        logger.info("%s: stopping; once more to exit at once", name)
        self.tell()
        if self._runtime is None:
            self.start.cancel()
        else:
            self._runtime.stop()

    def tell(self) -> None:
        """The stop has begun."""
        if not self._told:
            self._told = True
            self._systemd.stopping(self._limit)

    def status(self) -> str | None:
        """A line for people; None while there is none."""
        if self._runtime is None or self._told:
            return None
        return _in_words(self._runtime.statistics())


def _in_words(statistics: Statistics) -> str:
    if not statistics.identity_known:
        link = "waiting for the organization ID"
    else:
        link = "connected" if statistics.connected else "not connected to the broker"
    text = f"{link}; commands: {statistics.running} running, {statistics.waiting} waiting"
    if statistics.unavailable_petals:
        text += f"; out of service: {', '.join(statistics.unavailable_petals)}"
    return text


def run_as_process(petals: Sequence[Petal], settings: Settings, advice: str = ADVICE) -> int:
    """`run_until_signalled` as the last that this process does; returns its exit code.

    What petals leave running, and Python waits for, holds up the end of the process for
    `EXIT_LIMIT` seconds at most. So it is for a process that is ours, as that of the command line:
    in another they may be whoever's.
    """
    code = EXIT_ERROR
    try:
        sys.setswitchinterval(min(SWITCH_INTERVAL, sys.getswitchinterval()))
        serve = functools.partial(run_until_signalled, petals, settings, advice, ours=True)
        code = trio.run(serve)
    except (ConfigError, RegistrationError):
        code = EXIT_USAGE
        raise
    finally:
        limit_exit(code)
    return code


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
    from .logs import configure_logging

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
