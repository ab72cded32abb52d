"""The lives of one petal inside a runtime: its lifespan, its background tasks, its end, and again.

The rule: whatever one petal does, ends that petal at most. Its background tasks have a nursery of
their own, so that an error there is caught there; they are cancelled and awaited before the
lifespan is left, because they use what the lifespan opened. A petal that has failed is out of
service until it is entered again: the same instance, once all of its last life has ended.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from typing import TYPE_CHECKING

import trio

from ..._authoring.petal import Petal, set_host
from ..._values.errors import ErrorCode, RegistrationError
from ..._values.settings.settings import Settings
from ..failures import hint_for, showable, single, split_foreign, text_of
from ..loggers import enable_again
from ..waiting import wait_any
from .background import Background, living, wait_bounded
from .host import ServedPetal
from .restarts import Restarts

if TYPE_CHECKING:
    from ..dispatch.catalog import Catalog
    from ..dispatch.dispatcher import Dispatcher
    from ..links.supervisor import Supervisor
    from ..sending.responses import Responses

logger = logging.getLogger("petalkit.petals")


class PetalLife:
    """One petal in one runtime.

    Args:
        petal: lives.
        settings: limits and topics.
        catalog: changed by commands added at run time.
        dispatcher: told of added commands, and of the petal's failure.
        supervisor: knows whether there is a link, and who the device is.
        responses: for what the petal sends; has the counters.

    Attributes:
        out_of_service: it has failed, and is not started again.
        ended: its last life is over.
    """

    def __init__(
        self,
        petal: Petal,
        settings: Settings,
        catalog: Catalog,
        dispatcher: Dispatcher,
        supervisor: Supervisor,
        responses: Responses,
    ) -> None:
        self.petal = petal
        self._restarts = Restarts(petal.restart_policy, settings)
        self._counters = responses.counters
        self._host = ServedPetal(petal, settings, catalog, dispatcher, supervisor, responses)
        self._added = self._host.added
        self._settings = settings
        self._dispatcher = dispatcher
        self._handlers_ended = functools.partial(dispatcher.slots.wait_quiet, petal=petal.name)
        self.ended = trio.Event()
        self.out_of_service = trio.Event()
        self._stopping = trio.Event()
        self._told = False
        self._begin()

    def _begin(self) -> None:
        """What belongs to one life."""
        fail = functools.partial(self._fail_with, "a background task raised")
        limit = self._settings.cleanup_timeout
        self._background = self._host.background = Background(self.petal.name, limit, fail)
        self._over = trio.Event()  # the lifespan is to be left
        self._entered = False
        self._broken = False
        self._abandoned = False  # the runtime stops before it is entered
        self._restart_in: float | None = None
        self._scope = trio.CancelScope()  # around the lifespan

    @property
    def failed(self) -> bool:
        """Whether it is out of service now."""
        return self._host.failed

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Live until `stop()`, or until the petal has failed for good.

        Calls `started` when it is entered, or has failed once.
        """
        set_host(self.petal, self._host)
        living.set(self.petal.name)
        try:
            await self._live(task_status)
            while await self._wait_restart():
                self._begin()
                try:
                    self._added.begin_again()
                except RegistrationError as error:  # another petal has taken a name meanwhile
                    self._fail("it cannot be started again", error)
                    continue
                self._counters.petals_restarted += 1
                await self._live(task_status)
        finally:
            if self._host.failed and not self._stopping.is_set():  # a stop is no failure for good
                self.out_of_service.set()
            self._tell(task_status)  # whatever happened, nobody is to wait for this petal
            self._added.forget()
            set_host(self.petal, None)
            self._host.background = None
            self.ended.set()

    async def _live(self, task_status: trio.TaskStatus[None]) -> None:
        """One life."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._background.hold)
                await self._run_lifespan(task_status)
        except Exception as error:
            # Trio says so when a lifespan has left a cancel scope or a nursery of its own open.
            # This task is in the same disorder, so there is no other life in it.
            self._fail("its lifespan left its task in disorder", error, for_good=True)

    async def _wait_restart(self) -> bool:
        """Whether it is to be started again, once that is due and its handlers have ended."""
        if self._restart_in is None or self._stopping.is_set():
            return False
        with trio.move_on_after(self._restart_in):
            await self._stopping.wait()
        slots = self._dispatcher.slots
        if not self._stopping.is_set() and not slots.is_quiet(petal=self.petal.name):
            logger.error(
                "petal %r is not started again yet: handlers of its last life do not end although "
                "they are cancelled",
                self.petal.name,
                extra={"petal": self.petal.name},
            )
            # No limit: one that never ends holds up its own petal, and two lives at once could
            # move what it holds.
            await wait_any(self._handlers_ended, self._stopping.wait)
        return not self._stopping.is_set()

    def stop(self) -> None:
        """Leave the lifespan; `run` returns when that is done."""
        self._stopping.set()
        self._over.set()
        self._stop_start()

    def _tell(self, task_status: trio.TaskStatus[None]) -> None:
        """The start is over, well or not."""
        if not self._told:
            self._told = True
            task_status.started()

    def abandon_start(self) -> None:
        """Do not wait for the lifespan to be entered, if it is not yet."""
        if not self._entered:
            self._abandoned = True
            self._stop_start()
            if self._broken:  # it waits to be started again, or is about to
                self.out_of_service.set()

    def _stop_start(self) -> None:
        self._stopping.set()
        if not self._entered:
            self._scope.cancel()

    def _fail(
        self,
        why: str,
        error: BaseException | None = None,
        *,
        level: int = logging.CRITICAL,
        for_good: bool = False,
    ) -> None:
        """Commands that come are answered `UNAVAILABLE` from now on; the others go on."""
        self._over.set()
        if self._broken:
            self._fail_again(why, error, for_good=for_good)
            return
        self._broken = self._host.failed = True
        if not for_good and not self._stopping.is_set():
            self._restart_in = self._restarts.wait_after(error, trio.current_time())
        if error is not None:
            error = single(error)
            why = f"{why}: {text_of(error)}{hint_for(error)}"
        if self._restart_in is None:
            if self._entered or self._abandoned or not self._stopping.is_set():
                self.out_of_service.set()  # that a stop came before the next start is no failure
            if self._restarts.in_a_row:
                why = f"{why}. It was started again {self._restarts.in_a_row} times in a row"
        else:
            level = logging.ERROR
            why = (
                f"{why}. It is started again in {self._restart_in:g} s "
                f"(attempt {self._restarts.in_a_row} of {self._restarts.limit})"
            )
        self._log(level, f"is out of service: {why}", error)
        self._cancel_commands()

    def _cancel_commands(self) -> None:
        self._added.expect(comes=self._restart_in is not None)
        self._dispatcher.cancel_petal(
            self.petal.name,
            ErrorCode.UNAVAILABLE,
            f"petal {self.petal.name!r} failed",
            restarts=self._restart_in is not None,
        )

    def _fail_again(self, why: str, error: BaseException | None, *, for_good: bool) -> None:
        """It is out of service already, and its end goes wrong too."""
        level, effect = logging.ERROR, "has failed again as it ended"
        if for_good and self._restart_in is not None:
            self._restart_in = None
            self.out_of_service.set()
            self._cancel_commands()
            level, effect = logging.CRITICAL, "is not started again after all"
        if error is not None:
            error = single(error)
            self._log(level, f"{effect}: {why}: {text_of(error)}{hint_for(error)}", error)

    def _log(self, level: int, what: str, error: BaseException | None) -> None:
        with contextlib.suppress(Exception):  # a log's handler of the program's own
            logger.log(
                level,
                "petal %r %s",
                self.petal.name,
                what,
                exc_info=None if error is None else showable(error),
                extra={"petal": self.petal.name},
            )

    def _enter_service(self) -> None:
        """The lifespan is entered."""
        self._entered = True
        if self._broken:  # a background task has failed meanwhile
            return
        self._restarts.entered(trio.current_time())
        self._added.begun()
        if self._host.failed:
            self._host.failed = False
            logger.info(
                "petal %r is in service again", self.petal.name, extra={"petal": self.petal.name}
            )
            self._dispatcher.restore_petal(self.petal.name)

    async def _run_lifespan(self, task_status: trio.TaskStatus[None]) -> None:
        startup, cleanup = self._settings.startup_timeout, self._settings.cleanup_timeout
        # One scope around the whole: a lifespan may open nurseries, and a scope that was left
        # before them would break the order of their nesting.
        with self._scope as scope:
            scope.deadline = trio.current_time() + startup
            try:
                async with self.petal.lifespan():
                    scope.deadline = math.inf
                    enable_again(f"petal {self.petal.name!r}")
                    self._enter_service()
                    self._tell(task_status)
                    try:
                        await self._over.wait()
                        if self._broken:
                            await wait_bounded(self._handlers_ended, cleanup)
                    finally:
                        await self._background.end()
                        scope.shield = True
                        scope.deadline = trio.current_time() + cleanup
            except BaseException as error:
                scope.shield = False  # or no cancellation from outside would be seen here
                why = "its lifespan raised" if self._entered else "it did not start"
                enable_again(f"petal {self.petal.name!r}")
                self._fail_with(why, error)
        if self._entered and not self._over.is_set() and not scope.cancelled_caught:
            # It took the cancellation of a scope or nursery of its own for an end.
            self._fail("its lifespan ended by itself")
        if scope.cancelled_caught:
            if self._stopping.is_set() and not self._entered:
                self._fail("the runtime stops before it has started", level=logging.INFO)
            elif not self._entered:
                self._fail(f"its lifespan was not entered within {startup:g} s")
            elif trio.current_time() >= scope.deadline:  # else it was abandoned as it was entered
                logger.error("petal %r: leaving the lifespan took too long", self.petal.name)
        await self._background.end()
        if not self._entered:
            self._tell(task_status)

    def _fail_with(self, why: str, error: BaseException) -> None:
        """What was raised ends this petal; what is not the petal's travels on."""
        travels, errors = split_foreign(error)
        if errors is not None:
            self._fail(why, errors)
        if travels is not None:
            raise travels from None
