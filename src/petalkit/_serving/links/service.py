"""One link, from its subscription to its end.

The rule: what is sent after the SUBACK is served, and so is what was sent to topics that are left
before their UNSUBACK. The trap: the old identity can come back while its topics are drained. Then
there is a new link at once: until that is subscribed, what is sent to the device reaches nobody.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

import attrs
import trio

from ..._values.errors import ConnectionLost, TransportError
from ..._values.messages import Identity
from ..._values.settings.settings import Settings
from ...transports import Link
from ..dispatch.dispatcher import Dispatcher
from ..failures import single_transport_error
from ..identity.client_id import client_id_of
from ..identity.waiter import IdentityWaiter
from ..intake.intake import Intake
from ..sending.lost_pubacks import LostPubacks
from ..sending.responses import Responses
from ..waiting import wait_any
from .attempts import Attempts
from .connack import ConnackReport
from .probe import Probe
from .publish_watch import watch_publishes
from .status import Says, Status
from .topics import Topics
from .unread_watch import UnreadWatch

logger = logging.getLogger("petalkit.link")


@attrs.frozen
class Served:
    """What a link is held for.

    Attributes:
        intake: reads it.
        dispatcher: told when what came under an identity is over.
        responses: what is said of the device; has the outbox, which sends over the link.
        petals: name and version of each, for the status.
        schema_hash: of what is served now, for the birth.
    """

    intake: Intake
    dispatcher: Dispatcher
    responses: Responses
    petals: list[dict[str, str]]
    schema_hash: Callable[[], str]


class LinkService:
    """See the module. Serves any number of links, one after the other.

    Args:
        settings: topics and limits.
        served: what a link is held for.
        waiter: who the device is.
        attempts: told when a link is up.
        jitter: a random number in [0, 1).

    Attributes:
        terms: what the links' CONNACKs have said.
        status: what the device says of itself.
        topics: subscribed and left.
        serving: whose topics are subscribed on a live link.
        link_of: the same, until that link is left.
        up: set once, when the first link is ready.
        down: set while there is no link.
        leaving: set when the device leaves the broker.
        came_back: the identity of the last link was there again before all was drained.
        session_kept: after the last link, as it was granted.
    """

    def __init__(
        self,
        settings: Settings,
        served: Served,
        waiter: IdentityWaiter,
        attempts: Attempts,
        jitter: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._intake = served.intake
        self._dispatcher = served.dispatcher
        self._outbox = served.responses.outbox
        self._counters = served.responses.counters
        self._waiter = waiter
        self._attempts = attempts
        self.terms = ConnackReport(settings, self._counters)
        self.topics = Topics(settings, served.intake, self._counters)
        self._lost_pubacks = LostPubacks(settings, self._outbox)
        wanted = settings.pause_warning > 0
        self._unread = UnreadWatch(served.intake, self._counters, wanted=wanted)
        self._probe = Probe(settings, served.intake, self._counters)
        says = Says(served.petals, served.schema_hash, served.responses.timestamps)
        self.status = Status(settings, says, served.intake, jitter)
        self.serving: Identity | None = None
        self.link_of: Identity | None = None
        self.up = trio.Event()
        self.down = trio.Event()
        self.down.set()
        self.leaving = trio.Event()
        self.came_back = False
        self.session_kept = settings.keeps_session

    def client_id(self, identity: Identity) -> str:
        """The client ID of the device under that identity."""
        return client_id_of(self._settings, identity)

    async def serve(self, link: Link, identity: Identity) -> None:
        """Serve one link until it has to be left, and say goodbye on it.

        Raises:
            TransportError: it was lost, or the broker refused what we need.
        """
        self._attempts.connected()
        try:
            await self._serve(link, identity)
        finally:
            self.terms.ended(link)

    async def _serve(self, link: Link, identity: Identity) -> None:
        loss: TransportError | None = None
        self._dispatcher.slots.link_is_up()
        self.status.begin()
        self.session_kept = self._settings.keeps_session and link.session_expiry > 0
        self.terms.connected(link, self.client_id(identity))
        if not (link.session_present or link.retries_by_itself):
            self._intake.session_lost()
        try:
            with single_transport_error():
                async with trio.open_nursery() as nursery:
                    await self._run_tasks(link, identity, nursery)
        except TransportError as error:
            loss = error
            raise
        finally:
            self.topics.forget_others()
            self.serving = self.link_of = None
            self._dispatcher.slots.link_is_gone()
            if loss is None:
                self.status.say_offline_in_a_hurry(link, identity)
            if not isinstance(loss, ConnectionLost) or link.retries_by_itself:
                self._outbox.detach(None)
            else:
                self._outbox.detach(loss)
            self.down.set()

    async def _run_tasks(self, link: Link, identity: Identity, nursery: trio.Nursery) -> None:
        """All that goes on while the link lives, and its end."""
        status = self.status
        self.topics.watch_others()
        nursery.start_soon(self._intake.read, link, identity, name="intake")
        online = await self._announce(link, identity)
        again, probing = trio.CancelScope(), trio.CancelScope()
        if not online:
            nursery.start_soon(status.say_online_again, link, identity, again, name="status")
        limit = self._settings.publish_timeout
        nursery.start_soon(
            watch_publishes, link, limit, self._intake, self._outbox, name="publish watch"
        )
        nursery.start_soon(self._lost_pubacks.watch, link, name="PUBACK watch")
        nursery.start_soon(self._unread.watch, link, name="unread watch")
        nursery.start_soon(self._intake.watch_held, name="held refusals")
        nursery.start_soon(self._probe.run, link, identity, probing, name="probe")
        nursery.start_soon(self._outbox.keep_sending, link, name="outbox")
        nursery.start_soon(self.topics.leave_others, link, name="topics of others")
        await self._wait_reason_to_leave(identity)
        again.cancel()
        probing.cancel()  # once the topics are left, nothing comes back
        if not self.leaving.is_set():
            self.serving = None
            unsubscribe = functools.partial(self._unsubscribe, link, identity)
            await wait_any(unsubscribe, self.leaving.wait)
        self._outbox.hold()  # so that the PUBACK of `offline` comes behind all others
        with self._intake.reading_on():
            await status.say_offline(link, identity)
        nursery.cancel_scope.cancel()

    async def _announce(self, link: Link, identity: Identity) -> bool:
        """Subscribe and give birth; False when the broker took the first and not the other."""
        # SUBACK and PUBACK come behind whatever the session replays.
        with self._intake.reading_on():
            filters = self.topics.filters(identity)
            granted = await link.subscribe(filters)
            self.terms.subscribed(self.client_id(identity))
            online = await self.status.say_online(link, identity)
        self._intake.announced()
        self._attempts.up()
        self.serving = self.link_of = identity
        self.down = trio.Event()
        self._outbox.attach(link, identity)
        self.up.set()
        logger.info(
            "connected as client %r, serving %s", self.client_id(identity), identity.base_topic
        )
        at_most_once = [each.text for each, qos in zip(filters, granted, strict=True) if not qos]
        if at_most_once:
            logger.warning(
                "the broker grants QoS 0 only to %s: a command that is lost with a link, or sent "
                "while there is none, is not sent again",
                ", ".join(at_most_once),
            )
        return online

    async def _wait_reason_to_leave(self, identity: Identity) -> None:
        """Wait until we stop or are another. No limit: that is the life of a link."""
        await wait_any(self.leaving.wait, functools.partial(self._waiter.wait_other, identity))

    async def _unsubscribe(self, link: Link, identity: Identity) -> None:
        """Leave the old topics, and take what was sent to them before that."""
        logger.info("leaving %s", identity.base_topic)
        # What is left comes over the next link, if the broker keeps it until then.
        back = [functools.partial(self._wait_back, identity)] if self.session_kept else []
        await self.topics.leave(link, identity, *back)

    async def _wait_back(self, identity: Identity) -> None:
        """Wait until the device is what it was."""
        await self._waiter.wait_same(identity)
        self.came_back = True
