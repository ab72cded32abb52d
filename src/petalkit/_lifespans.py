"""The life of one petal inside a runtime: its lifespan, its background tasks, and its end.

The rule: whatever one petal does, ends that petal at most. Its background tasks have a nursery of
their own, so that an error there is caught there; they are cancelled and awaited before the
lifespan is left, because they use what the lifespan opened.
"""

from __future__ import annotations

import contextvars
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import trio

from ._codec import encode_json
from ._context import NotServed
from ._errors import ErrorCode, PayloadError
from ._identity import IdentityWaiter
from ._messages import Identity
from ._outbox import Outbox
from ._petal import DEBUG, Petal
from ._registry import CommandOptions, CommandTable, full_name, make_spec, results_for
from ._settings import Settings

if TYPE_CHECKING:
    from ._answers import Answers
    from ._dispatcher import Dispatcher
    from ._supervisor import Supervisor
    from ._unknown import UnknownCommands

logger = logging.getLogger("petalkit.petals")

# The petal whose task it is, outside of commands too; its tasks inherit it.
living: contextvars.ContextVar[str | None] = contextvars.ContextVar("petalkit_living", default=None)


def _single(error: BaseException) -> BaseException:
    """The one error in a group; the group when there are more."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


class PetalLife:
    """One petal in one runtime; what the petal sees as its host.

    Args:
        petal: gets this as its host.
        settings: limits and topics.
        identity: who the device is.
        outbox: where its events go.
        table: changed by commands added at run time.
        dispatcher: told of added commands, and of the petal's failure.
        supervisor: knows whether there is a link.
        answers: sends acknowledgements.
        unknown: what to say of commands that nobody serves.
    """

    def __init__(
        self,
        petal: Petal,
        settings: Settings,
        identity: IdentityWaiter,
        outbox: Outbox,
        table: CommandTable,
        dispatcher: Dispatcher,
        supervisor: Supervisor,
        answers: Answers,
        unknown: UnknownCommands,
    ) -> None:
        self.petal = petal
        self._results = results_for(petal)
        self.failed = False
        self._supervisor = supervisor
        self._answers = answers
        self._unknown = unknown
        self._settings = settings
        self._waiter = identity
        self._outbox = outbox
        self._table = table
        self._dispatcher = dispatcher
        self._nursery: trio.Nursery | None = None
        self._stop = trio.Event()
        self._background_ended = trio.Event()
        self._background_ended.set()
        self.ended = trio.Event()
        self.out_of_service = trio.Event()
        self._entered = False
        self._abandoned = False  # the runtime stops before it is entered
        self._told = False
        self._scope = trio.CancelScope()  # around the lifespan

    # -- the petal's host

    @property
    def settings(self) -> Settings:
        """How the runtime behaves."""
        return self._settings

    @property
    def connected(self) -> bool:
        """Whether a link is up and subscribed."""
        return self._supervisor.serving is not None

    @property
    def identity(self) -> Identity | None:
        """The identity now."""
        return self._waiter.current

    @property
    def nursery(self) -> trio.Nursery:
        """Owns the petal's background tasks."""
        if self._nursery is None:
            raise RuntimeError(f"petal {self.petal.name!r} is not running")
        return self._nursery

    async def wait_identity(self) -> Identity:
        """Wait until the identity is known."""
        return await self._waiter.wait()

    async def wait_other_identity(self, known: Identity | None) -> Identity:
        """Wait until the identity is known, and another than `known`."""
        return await (self._waiter.wait() if known is None else self._waiter.wait_other(known))

    async def wait_connected(self) -> None:
        """Wait until commands have been subscribed to once. No limit."""
        await self._supervisor.up.wait()

    async def publish_event(
        self, payload: Mapping[str, Any], *, topic: str, qos: int, expiry: float | None
    ) -> None:
        """Put an event into the outbox."""
        if expiry is not None and not expiry > 0:
            raise ValueError(f"expiry must be above 0, not {expiry!r}")
        await self._outbox.put_event(
            self._encode_event(payload, qos),
            qos=qos,
            identity=self._waiter.current,
            name=self._topic_name(topic),
            expiry=math.inf if expiry is None else expiry,
        )

    def publish_event_nowait(self, payload: Mapping[str, Any], *, topic: str, qos: int) -> None:
        """Put an event into the outbox, or raise trio.WouldBlock."""
        if not self._outbox.put_event_nowait(
            self._encode_event(payload, qos),
            qos=qos,
            identity=self._waiter.current,
            name=self._topic_name(topic),
        ):
            raise trio.WouldBlock

    def _encode_event(self, payload: Mapping[str, Any], qos: int) -> bytes:
        if qos not in (0, 1):
            raise ValueError(f"qos must be 0 or 1, not {qos!r}")
        # As results are made, so that one value is the same JSON in both.
        plain = self._results(payload)
        encoded = encode_json(self._answers.dialect.event(plain))
        if len(encoded) > self._settings.payload_max:
            raise PayloadError(
                ErrorCode.TOO_LARGE,
                f"the event has {len(encoded)} bytes; {self._settings.payload_max} are allowed",
            )
        return encoded

    def _topic_name(self, topic: str) -> str:
        return self._settings.debug_topic if topic == DEBUG else self._settings.web_topic

    def acknowledge(self, identity: Identity, message_id: str, service: str, kind: str) -> bool:
        """Tell on `ack` that a command has arrived; False when there is no room for it."""
        return self._answers.acknowledge(identity, message_id, service, kind)

    def not_served(self, name: str) -> NotServed:
        """What to raise for a command that nobody serves after all."""
        return self._unknown.not_served(name)

    def open_line(self, name: str) -> None:
        """Let the commands of a petal or a resolver start that have waited until it is ready."""
        self._dispatcher.open_petal(name)

    def add_command(self, name: str, handler: Any, options: CommandOptions) -> None:
        """Serve one more command from now on."""
        rule = self._settings.unknown_keys
        spec = make_spec(self.petal, options, handler, unknown_keys=rule)
        self._table.add(spec)
        self._dispatcher.backlog.serve(spec)

    def remove_command(self, name: str) -> None:
        """Serve a command no longer."""
        full = full_name(self.petal, name)
        spec = self._table.lookup(full)
        if spec is None or spec.petal != self.petal.name:
            raise KeyError(name)
        self._dispatcher.backlog.unserve(self._table.remove(full))

    # -- its life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Live until `stop()`, or until the petal fails. Calls `started` at either."""
        if self.petal._host is not None:
            raise RuntimeError(f"petal {self.petal.name!r} is served by a runtime already")
        self.petal._host = self
        living.set(self.petal.name)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._hold_background)
                await self._run_lifespan(task_status)
        except Exception as error:
            # Trio says so when a lifespan has left a cancel scope or a nursery of its own open.
            self._fail("its lifespan left its task in disorder", error)
        finally:
            self._tell(task_status)  # whatever happened, nobody is to wait for this petal
            self.petal._host = None
            self._nursery = None
            self.ended.set()

    def stop(self) -> None:
        """Leave the lifespan; `run` returns when that is done."""
        self._stop.set()

    def _tell(self, task_status: trio.TaskStatus[None]) -> None:
        """The start is over, well or not."""
        if not self._told:
            self._told = True
            task_status.started()

    def abandon_start(self) -> None:
        """Do not wait for the lifespan to be entered, if it is not yet."""
        if not self._entered:
            self._abandoned = True
            self._scope.cancel()

    def _fail(
        self, why: str, error: BaseException | None = None, *, level: int = logging.CRITICAL
    ) -> None:
        """Commands are answered `UNAVAILABLE` from now on; the others go on."""
        if not self.failed:
            self.failed = True
            self.out_of_service.set()
            if error is not None:
                error = _single(error)
                why = f"{why}: {type(error).__name__}: {error}"
            logger.log(
                level,
                "petal %r is out of service: %s",
                self.petal.name,
                why,
                exc_info=error,
                extra={"petal": self.petal.name},
            )
            self._dispatcher.cancel_petal(
                self.petal.name, ErrorCode.UNAVAILABLE, f"petal {self.petal.name!r} failed"
            )
        self._stop.set()

    async def _run_lifespan(self, task_status: trio.TaskStatus[None]) -> None:
        # One scope around the whole: a lifespan may open nurseries, and a scope that was left
        # before them would break the order of their nesting.
        with self._scope as scope:
            scope.deadline = trio.current_time() + self._settings.startup_timeout
            try:
                async with self.petal.lifespan():
                    self._entered = True
                    scope.deadline = math.inf
                    self._tell(task_status)
                    try:
                        await self._stop.wait()
                        if self.failed:
                            await self._bounded(self._wait_handlers)
                    finally:
                        await self._end_background()
                        scope.shield = True
                        scope.deadline = trio.current_time() + self._settings.cleanup_timeout
            except (Exception, SystemExit) as error:
                self._fail("its lifespan raised" if self._entered else "it did not start", error)
            except BaseExceptionGroup as group:
                errors, rest = group.split((Exception, SystemExit))
                if errors is not None:
                    self._fail(
                        "its lifespan raised" if self._entered else "it did not start", errors
                    )
                if rest is not None:
                    raise rest from None
        if self._entered and not self._stop.is_set() and not scope.cancelled_caught:
            # It took the cancellation of a scope or nursery of its own for an end.
            self._fail("its lifespan ended by itself")
        if scope.cancelled_caught:
            if self._abandoned and not self._entered:
                self._fail("the runtime stops before it has started", level=logging.INFO)
            elif not self._entered:
                limit = self._settings.startup_timeout
                self._fail(f"its lifespan was not entered within {limit:g} s")
            elif trio.current_time() >= scope.deadline:  # else it was abandoned as it was entered
                logger.error("petal %r: leaving the lifespan took too long", self.petal.name)
        await self._end_background()
        if not self._entered:
            self._tell(task_status)

    async def _hold_background(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        self._background_ended = trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await trio.sleep_forever()  # until _end_background cancels
        except (Exception, SystemExit) as error:
            self._fail("a background task raised", error)
        except BaseExceptionGroup as group:
            errors, rest = group.split((Exception, SystemExit))
            if errors is not None:
                self._fail("a background task raised", errors)
            if rest is not None:
                raise rest from None
        finally:
            self._background_ended.set()

    async def _end_background(self) -> None:
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
            if not await self._bounded(self._background_ended.wait):
                logger.error("petal %r: background tasks do not end", self.petal.name)

    async def _wait_handlers(self) -> None:
        await self._dispatcher.wait_quiet(petal=self.petal.name)

    async def _bounded(self, wait: Callable[[], Awaitable[object]]) -> bool:
        with trio.CancelScope(shield=True) as scope:
            scope.deadline = trio.current_time() + self._settings.cleanup_timeout
            await wait()
        return not scope.cancelled_caught
