"""What waits at the broker under the client ID that earlier versions made of the same identity.

The rule: nothing of it is lost, and nothing of another organization's either, which may have had
the same client ID. So the new session is subscribed first; then the earlier one is connected to,
our topics there are unsubscribed, and what it brings on them is served. Foreign messages are left
unacknowledged, and the session is not ended.

The trap: connecting throws out whoever lives there, which may be a device of another organization
at work, and MQTT has no way to ask first. So it is done only when asked for (`former_client_id`),
and once in a run for an identity.
"""

from __future__ import annotations

import logging

import attrs
import trio

from ..._values.errors import ConfigError, RejectedByBroker, TransportError
from ..._values.messages import Identity
from ..._values.settings.settings import Settings
from ...transports import ConnectOptions, Link, Transport
from ..failures import single_transport_error
from ..identity.client_id import former_client_id_of
from ..waiting import wait_any
from .service import LinkService, Served

logger = logging.getLogger("petalkit.link")

ATTEMPTS = 3  # links on which it is tried, in one run


class FormerSession:
    """See the module.

    Args:
        settings: whether it is asked for, and a session is kept at all.
        transport: makes the link to it.
        served: what for; its intake reads that link, and its outbox sends over it.
        service: knows the topics, and when the device leaves the broker.
    """

    def __init__(
        self, settings: Settings, transport: Transport, served: Served, service: LinkService
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._intake = served.intake
        self._outbox = served.responses.outbox
        self._service = service
        self._judged: Identity | None = None
        self._attempts_left = 0

    def is_due(self, link: Link, identity: Identity) -> bool:
        """Whether it is to be looked at before this link is served."""
        if identity != self._judged:  # its first link in this run
            self._judged = identity
            self._attempts_left = 0
            if (
                self._settings.former_client_id
                and former_client_id_of(self._settings, identity) is not None
                and self._settings.keeps_session
                and not link.retries_by_itself
            ):
                self._attempts_left = ATTEMPTS
        # Where the new session is not kept, nothing was under the other ID either.
        return self._attempts_left > 0 and link.session_expiry > 0

    async def take(self, identity: Identity, options: ConnectOptions) -> None:
        """Take what waits there.

        Args:
            identity: whose.
            options: of its links.
        """
        client_id = former_client_id_of(self._settings, identity)
        assert client_id is not None
        self._attempts_left -= 1
        options = attrs.evolve(
            options, client_id=client_id, clean_start=False, will=None, will_delay=0
        )
        try:
            async with self._transport.connect(options) as link:
                present, drained = link.session_present, True
                if present:
                    logger.info("taking what waits for the device as client %r", client_id)
                    drained = await self._drain(link, identity)
            if not present:  # then there is one now
                clean = attrs.evolve(options, clean_start=True, session_expiry=0)
                async with self._transport.connect(clean):
                    pass
            if drained:
                self._attempts_left = 0
                logger.warning(
                    "nothing waits under the former client ID %r any more: unset former_client_id, "
                    "or each start ends a link of whoever has that ID now",
                    client_id,
                )
                return
            problem = "it has not brought everything in time"
        except RejectedByBroker as error:  # as when its rights go by client ID
            self._attempts_left = 0
            problem = str(error)
        except (TransportError, ConfigError) as error:
            problem = str(error)
        logger.warning(
            "the session of client %r, which an earlier version has used, could not be taken over: "
            "%s; %s",
            client_id,
            problem,
            "it is tried again" if self._attempts_left else "what waits there stays there",
        )

    async def _drain(self, link: Link, identity: Identity) -> bool:
        """Leave our topics there, and serve what waits; False when not all of it came in time.

        Raises:
            TransportError: the link was lost.
        """
        unexpected = self._intake.unexpected
        unexpected.shared, unexpected.left = True, 0
        drained = False

        async def leave_topics() -> None:
            nonlocal drained
            drained = await self._service.topics.leave(link, identity)

        try:
            with single_transport_error():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._intake.read, link, identity, name="intake")
                    self._outbox.attach(link, identity)  # or a full outbox ends all reading
                    nursery.start_soon(self._outbox.keep_sending, link, name="outbox")
                    await wait_any(leave_topics, self._service.leaving.wait)
                    nursery.cancel_scope.cancel()
        finally:
            self._outbox.detach(None)
            unexpected.shared = False
            if unexpected.left:
                logger.warning(
                    "another organization has used the same session: %d of its messages were left "
                    "in it, unacknowledged",
                    unexpected.left,
                )
        return drained
