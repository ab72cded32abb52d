"""The supervisor: holds one link at a time, for months, and nothing but links dies with a link.

Losing a link cancels its intake and its watchers, and nothing else: commands go on, responses
wait in the outbox. A change of identity retires the session of the old one (unsubscribe, read what
was still on its way, publish `offline`, end the session) before the new one begins, because will,
client ID and authorization belong to CONNECT. The trap: the old identity can come back meanwhile.
Then nothing is drained or ended.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

import attrs
import trio

from ..._values.errors import ConfigError, ConnectFailed, ErrorCode, TransportError
from ..._values.messages import Identity
from ..._values.settings.settings import Settings
from ...transports import ConnectOptions, Transport
from ..identity.waiter import IdentityWaiter
from .attempts import ADVICE, Attempts
from .former_session import FormerSession
from .service import LinkService, Served

logger = logging.getLogger("petalkit.link")

RETIRE_ATTEMPTS = 3  # connections tried to end the session of an identity that was left


class Supervisor:
    """See the module. `run` is its one task.

    Args:
        settings: how links are made, and limits.
        transport: makes them.
        identity: under whose name.
        served: what for.
        jitter: a random number in [0, 1), for the waits between attempts.
        advice: how to find out why there is no link; said once while there is none.

    Attributes:
        waiter: who the device is.
        service: of the present link; says whether there is one.
        attempts: what became of links.
    """

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        identity: IdentityWaiter,
        served: Served,
        *,
        jitter: Callable[[], float] = random.random,
        advice: str = ADVICE,
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._intake = served.intake
        self._dispatcher = served.dispatcher
        self._counters = served.responses.counters
        self._attempt = trio.CancelScope()
        self._session_of: Identity | None = None  # whose session the broker may keep
        self._retirements = 0
        self.waiter = identity
        self.attempts = Attempts(settings, self._counters, jitter=jitter, advice=advice)
        self.service = LinkService(settings, served, identity, self.attempts, jitter)
        self._former = FormerSession(settings, transport, served, self.service)

    @property
    def is_leaving_session(self) -> bool:
        """Whether the session at the broker is of an identity that the device has no more."""
        return self._session_of not in (None, self.waiter.current)

    def leave(self) -> None:
        """Leave the broker politely; `run` returns when that is done."""
        self.service.leaving.set()
        if self.service.link_of is None:
            self._attempt.cancel()

    async def run(self) -> None:
        """Hold a link until `leave()`.

        Raises:
            ConfigError: the transport's settings cannot work whatever the network does, and never
                did.
        """
        async with self._transport.open(), trio.open_nursery() as nursery:
            while not self.service.leaving.is_set():
                with trio.CancelScope() as self._attempt:
                    current = await self.waiter.wait()
                    await self._one_link(self._session_of or current, nursery)
            nursery.cancel_scope.cancel()  # waits for the grace of identities that were left

    async def _one_link(self, identity: Identity, nursery: trio.Nursery) -> None:
        """Connect once, serve until the link is lost or has to be left, and wait if need be."""
        service = self.service
        self.attempts.begin()
        left = service.came_back = False
        try:
            async with self._transport.connect(self._options(identity)) as link:
                self._session_of = identity
                former = self._former.is_due(link, identity)
                if former:
                    await link.subscribe(service.topics.filters(identity))
                else:
                    await service.serve(link, identity)
                    left = True
            if former:
                await self._former.take(identity, self._options(identity))
                return
        except ConfigError as error:
            if not self._counters.links:
                raise  # it never worked: ours to fix before anything starts
            # It worked before: a certificate is being renewed, perhaps.
            self._report(ConnectFailed(str(error)))
        except TransportError as error:
            self._report(error)
        if service.leaving.is_set():
            return
        if left and (service.came_back or identity == self.waiter.current):
            self._retirements = 0
            return  # nothing has failed; and if it is gone again, its session is not drained
        if identity == self.waiter.current:
            self._retirements = 0
            # Sleep, but not through a change of identity.
            with trio.move_on_after(self.attempts.delay()):
                await self.waiter.wait_other(identity)
            return
        if not self._retirements:
            self.attempts.forget()  # a change of identity may be what ends them
        self._retirements += 1
        if left or self._retirements >= RETIRE_ATTEMPTS:
            await self._move_on(identity, nursery, left=left)
        else:
            await trio.sleep(self.attempts.delay())

    def _report(self, error: TransportError) -> None:
        session_of = self._session_of
        self.attempts.report(
            error, None if session_of is None else self.service.client_id(session_of)
        )

    # -- another identity

    async def _move_on(self, old: Identity, nursery: trio.Nursery, *, left: bool) -> None:
        """From here on the device is another."""
        self._session_of = None
        self.service.terms.left()
        self._retirements = 0
        self.attempts.forget()
        nursery.start_soon(self._end_after_grace, old, name="grace of an old identity")
        client_id = self.service.client_id
        current = self.waiter.current
        assert current is not None
        if not left and client_id(old) != client_id(current):
            logger.error("could not end the session of client %r", client_id(old))
        elif self.service.session_kept:
            # By a connection of its own: with MQTT 3.1.1 a link that starts clean keeps none.
            options = attrs.evolve(
                self._options(old), clean_start=True, session_expiry=0, will=None, will_delay=0
            )
            try:
                async with self._transport.connect(options):
                    pass
            except (TransportError, ConfigError) as error:
                logger.warning(
                    "could not end the session of client %r: %s", options.client_id, error
                )

    async def _end_after_grace(self, old: Identity) -> None:
        await trio.sleep(self._settings.grace)
        if self.waiter.current != old:
            text = f"the device left organization {old.organization_id!r}"
            self._intake.end_identity(old, ErrorCode.CANCELLED, text)
            self._dispatcher.end_identity(old, ErrorCode.CANCELLED, text)

    def _options(self, identity: Identity) -> ConnectOptions:
        settings = self._settings
        return ConnectOptions(
            client_id=self.service.client_id(identity),
            clean_start=settings.clean_start,
            session_expiry=settings.session_expiry,
            will_delay=settings.will_delay,
            keep_alive=settings.keep_alive,
            receive_maximum=settings.receive_maximum,
            publish_maximum=settings.publish_maximum,
            payload_max=settings.payload_max,
            packet_maximum=settings.packet_maximum,
            will=self.service.status.will(identity, self.attempts.will_qos),
            connect_timeout=settings.connect_timeout,
            subscribe_timeout=settings.subscribe_timeout,
            disconnect_timeout=settings.disconnect_timeout,
        )
