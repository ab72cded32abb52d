"""What several petals share, and the runtime runs beside their commands, such as an HTTP server.

The rule: a service ends nobody but itself. One that fails is started again after a while, as often
as it takes; commands go on. It ends before the petals do, because it calls into them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import trio

from ..._authoring.context import Service
from ..._authoring.petal import Petal
from ..._values.settings.settings import Settings
from ..failures import showable, single, split_foreign, text_of

logger = logging.getLogger("petalkit.petals")

AGAIN_MIN = 1.0  # seconds before one that has failed is first started again; then it doubles
AGAIN_MAX = 60.0  # seconds


class Services:
    """See the module.

    Args:
        petals: whose services they are.
    """

    def __init__(self, petals: Sequence[Petal]) -> None:
        found = [petal.__petalkit_service__ for petal in petals]
        self._services = tuple({id(one): one for one in found if one is not None}.values())
        self._closing = trio.Event()
        self._ended = trio.Event()

    async def run(self, settings: Settings) -> None:
        """Run all until `close`."""
        try:
            async with trio.open_nursery() as nursery:
                for service in self._services:
                    nursery.start_soon(self._keep_running, service, settings, name=service.name)
        finally:
            self._ended.set()

    async def _keep_running(self, service: Service, settings: Settings) -> None:
        wait = AGAIN_MIN
        while not self._closing.is_set():
            began = trio.current_time()
            try:
                await service.run(settings)
            except BaseException as error:
                travels, failure = split_foreign(error)
                if failure is not None:
                    _report(service, single(failure), wait)
                if travels is not None:
                    raise travels from None
            else:
                return
            with trio.move_on_after(wait):
                await self._closing.wait()
            lasted = trio.current_time() - began - wait
            wait = AGAIN_MIN if lasted > AGAIN_MAX else min(2 * wait, AGAIN_MAX)

    def close(self) -> None:
        """The runtime stops: they take nothing new."""
        self._closing.set()
        for service in self._services:
            service.close()

    async def wait_quiet(self) -> None:
        """Wait until nothing is under way in any. The caller bounds it."""
        for service in self._services:
            await service.wait_quiet()

    def cancel(self) -> None:
        """They end what is under way."""
        for service in self._services:
            service.cancel()

    async def wait_ended(self) -> None:
        """Wait until all have ended. The caller bounds it."""
        await self._ended.wait()


def _report(service: Service, error: BaseException, wait: float) -> None:
    logger.error(
        "%s has failed, and is started again in %g s; commands go on: %s",
        service.name,
        wait,
        text_of(error),
        exc_info=None if isinstance(error, OSError) else showable(error),
    )
