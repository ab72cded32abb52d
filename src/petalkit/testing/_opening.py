"""`open_harness`: a broker, a runtime and a harness, for the length of a block.

The rule: nothing here looks at a real clock or a random number, so a test with a mock clock gives
the same history each time. Wall-clock time stamps are Trio's clock counted from a fixed day.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncGenerator, Callable

import attrs
import trio

from .._authoring.petal import Petal
from .._serving.opening import open_runtime
from .._values.settings.settings import HTTP_OFF, Settings
from ..transports.memory import MemoryBroker, MemoryTransport
from ._harness import CONNECT_TIMEOUT, EPOCH, Harness, OrganizationSource, new_id
from ._threads import guard_threads

ORGANIZATION_ID = "acme"
DEVICE_ID = "Instance-1"


@contextlib.asynccontextmanager
async def open_harness(
    *petals: Petal,
    settings: Settings | None = None,
    broker: MemoryBroker | None = None,
    organization_id: str | None = ORGANIZATION_ID,
    connected: bool = True,
    now: Callable[[], float] | None = None,
    suspended: Callable[[], float] | None = None,
    restarts: bool = False,
) -> AsyncGenerator[Harness]:
    """Serve petals on an in-process broker for the length of an `async with` block.

    Args:
        petals: instances.
        settings: None for the defaults. Without a device ID it gets `"Instance-1"`; its
            organization ID, if it has one, is fixed, so that `set_organization` has no effect.
        broker: None for a new one.
        organization_id: what is known at the start; None for one that comes late.
        connected: whether to wait until the first link is up; not done without an ID.
        now: the device's own wall clock, in seconds since 1970, to see what it does when it is
            wrong. None for one that agrees with `Harness.now`.
        suspended: seconds for which the device has been suspended so far, to see what becomes of
            leases. None for a device that never is.
        restarts: whether a petal that fails is started again, as the settings say. Not so by
            default: a test is to see the failure, and `AllPetalsFailed` where no petal starts.
            A petal with a `restart_policy` of its own keeps to that.

    Raises:
        RegistrationError, ConfigError, AllPetalsFailed: as `petalkit.open_runtime`.
        trio.TooSlowError: the link was not up within 60 s on Trio's clock.
    """
    settings = settings or Settings()
    source = OrganizationSource(organization_id)
    if settings.organization_id is None:
        settings = attrs.evolve(settings, organization_source=source)
    if settings.device_id is None:
        settings = attrs.evolve(settings, device_id=DEVICE_ID)
    # These look at the real clock, or wait for a thread that does.
    settings = attrs.evolve(settings, watchdog=0.0, journal_thread=False, journal_commit_delay=0.0)
    if settings.compat_http is None:
        settings = attrs.evolve(settings, compat_http=HTTP_OFF)  # no port, unless a test says so
    if not restarts:
        settings = attrs.evolve(settings, petal_restart="never")
    broker = broker or MemoryBroker()
    base, numbers = EPOCH.timestamp(), itertools.count(1)
    with guard_threads() as watch:
        async with open_runtime(
            petals,
            settings,
            transport=MemoryTransport(broker, settings.protocol),
            now=now or (lambda: base + trio.current_time()),
            jitter=lambda: 1.0,
            make_id=lambda earlier: new_id("made", earlier, next(numbers)),
            suspended=suspended,
        ) as runtime:
            watch(runtime.thread_limiter)
            harness = Harness(broker, runtime, settings, source)
            if connected and (settings.organization_id is not None or organization_id is not None):
                with trio.fail_after(CONNECT_TIMEOUT):
                    await runtime.wait_connected()
            yield harness
