"""Opening a runtime: for the length of a block, or as a task of a nursery of the user's."""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence

import trio

from .._authoring.petal import Petal
from .._values.basics.clocks import seconds_suspended
from .._values.settings.reach import without_effect
from .._values.settings.settings import Settings
from ..transports import Transport, create_transport
from .failures import single
from .links.attempts import ADVICE
from .loggers import keep_on
from .runtime import Runtime
from .wiring import Outside, new_ids

logger = logging.getLogger("petalkit.runtime")


@contextlib.asynccontextmanager
async def open_runtime(
    petals: Sequence[Petal],
    settings: Settings | None = None,
    *,
    transport: Transport | None = None,
    now: Callable[[], float] = time.time,
    jitter: Callable[[], float] = random.random,
    advice: str = ADVICE,
    make_id: Callable[[int], str] | None = None,
    suspended: Callable[[], float] | None = seconds_suspended,
) -> AsyncGenerator[Runtime]:
    """Serve petals for the length of an `async with` block.

    Entry returns when the petals' lifespans are entered; the connection is made beside the block,
    as soon as the organization ID is known (`await runtime.wait_connected()`). Leaving the block
    stops gracefully and takes the time that takes: at most `grace`, thrice `cleanup_timeout`,
    `flush_timeout`, twice `disconnect_timeout`, and with a journal thrice
    `journal_timeout`. `runtime.stop()` begins the same while the block goes on; `await
    runtime.wait_stopped()` waits for its end.

    Cancellation: the block stops without `grace`; what has to be awaited is shielded and bounded.

    Args:
        petals: instances, with names of their own.
        settings: None for the defaults.
        transport: None for the one that the settings name.
        now: wall-clock seconds since the epoch, for time stamps, `expiresAt` and ages.
        jitter: a random number in [0, 1), for the waits between attempts to connect.
        advice: what the log says once after the second attempt in a row that has failed: how to
            find out why.
        make_id: a new ID of a job, unlike any before, given the number of the last command of
            earlier runs; None for random ones. For tests.
        suspended: seconds for which the device has been suspended so far, so that leases count
            them; None for not to count them. For tests.

    Raises:
        RegistrationError: a petal or a command cannot be served.
        ConfigError: a setting cannot work.
        AllPetalsFailed: no petal could be started.
        JournalError: the journal cannot be used.
    """
    settings = settings or Settings()
    if transport is None:
        transport = create_transport(settings)
        for text in without_effect(settings):
            logger.warning("%s", text)
    keep_on()  # with all that is imported by now
    outside = Outside(
        now=now,
        jitter=jitter,
        advice=advice,
        make_id=make_id or new_ids(),
        suspended=suspended,
    )
    runtime = Runtime(petals, settings, transport, outside)
    from_block: Exception | None = None
    from_runtime: BaseException | None = None
    try:
        async with trio.open_nursery() as outer:
            outer.start_soon(_hurry_when_cancelled, runtime)
            await outer.start(runtime.run)
            try:
                yield runtime
            except Exception as error:
                from_block = error  # kept out of the nursery, which would cancel the grace
            finally:
                runtime.stop()
    except BaseExceptionGroup as group:
        from_runtime = single(group)
    # Raised out here, where no exception is being handled that would become their context.
    if from_block is not None and from_runtime is not None and not _is_cancelled(from_runtime):
        raise BaseExceptionGroup("block and runtime both failed", [from_block, from_runtime])
    if from_block is not None:
        raise from_block
    if from_runtime is not None:
        raise from_runtime


def _is_cancelled(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)


async def _hurry_when_cancelled(runtime: Runtime) -> None:
    try:
        await runtime.wait_stopped()
    except trio.Cancelled:
        runtime.hurry()
        raise


async def serve(
    petals: Sequence[Petal],
    settings: Settings | None = None,
    *,
    transport: Transport | None = None,
    now: Callable[[], float] = time.time,
    task_status: trio.TaskStatus[Runtime] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve petals until cancelled, or until `runtime.stop()`.

    `runtime = await nursery.start(serve, petals, settings)` returns once commands are subscribed
    to, and so it waits for the organization ID and the broker, without a limit of its own.

    Raises:
        RegistrationError, ConfigError, AllPetalsFailed: as `open_runtime`.
    """
    async with open_runtime(petals, settings, transport=transport, now=now) as runtime:
        await runtime.wait_connected()
        task_status.started(runtime)
        await runtime.wait_stopped()
