"""The supervisor: holds one link at a time, for months, and nothing but links dies with a link.

Losing a link cancels its intake and its watchers, and nothing else: commands go on, responses
wait in the outbox. A change of identity retires the session of the old one (unsubscribe, read what
was still on its way, publish `offline`, end the session) before the new one begins, because will,
client ID and authorization belong to CONNECT. The trap: the old identity can come back meanwhile.
Then nothing is drained or ended, and there is a new link at once: until that is subscribed, what is
sent to the device reaches nobody.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import random
from collections.abc import Callable, Generator

import attrs
import msgspec
import trio

from .._values.codec import encode_json
from .._values.errors import (
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    ErrorCode,
    RejectedByBroker,
    TransportError,
)
from .._values.messages import Identity, Message
from .._values.settings.settings import Settings
from .._values.topics import TopicFilter
from ..transports import ConnectOptions, Link, Transport
from ..transports._contract import wait_within
from ..transports._line.patience import Patience
from ..transports._reason_codes import Refusal, refusal_of
from .connack import QOS_NOT_SUPPORTED, ConnackReport, hint_of
from .dispatch.dispatcher import Dispatcher
from .identity import IdentityWaiter, client_id_of
from .intake.intake import Intake
from .sending.lost_pubacks import LostPubacks
from .sending.responses import Responses
from .sending.state.deferred import wait_after
from .waiting import wait_any

logger = logging.getLogger("petalkit.link")

ADVICE = "`petalkit doctor` looks for the cause"  # where nobody knows with which options
ATTEMPTS_UNTIL_ADVICE = 2  # that failed in a row

SHORT_LIVES_UNTIL_SUSPICION = 5  # links in a row that the broker ended soon after they were up
SHORT_LIVES_WHEN_TOLD = 2  # the same when it said that another client took the session
RETIRE_ATTEMPTS = 3  # connections tried to end the session of an identity that was left
OFFLINE_AGAIN = 0.25  # seconds after which a refused `offline` is said again; then twice as long
DRAIN_SILENCE = 0.2  # seconds without a delivery after which an old topic counts as drained


@attrs.frozen
class Served:
    """What a link is held for.

    Attributes:
        intake: reads it.
        dispatcher: told when what came under an identity is over.
        responses: what is said of the device; has the outbox, which sends over the link.
        petals: name and version of each, for the status.
    """

    intake: Intake
    dispatcher: Dispatcher
    responses: Responses
    petals: list[dict[str, str]]


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
        serving: whose topics are subscribed on a live link.
        link_of: the same, until that link is left.
        up: set once, when the first link is ready.
        down: set while there is no link.
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
        self._responses = served.responses
        self._outbox = served.responses.outbox
        self._lost_pubacks = LostPubacks(settings, self._outbox)
        self._counters = served.responses.counters
        self._petals = served.petals
        self._jitter = jitter
        self._advice = advice
        self._refused = 0  # attempts in a row that came to no link
        self._terms = ConnackReport(settings, self._counters)
        self._will_qos = 1  # less for a broker that refuses a CONNECT for it
        self._session_kept = settings.keeps_session  # after the last link, as it was granted
        self._leave = trio.Event()
        self._attempt = trio.CancelScope()
        self._said = ""  # the last status handed to the present link
        self._up_at = -1.0  # when the present link was ready; negative before
        self._failures = 0
        self._short_lives = 0
        self._taken_over = False
        self._session_of: Identity | None = None  # whose session the broker may keep
        self._retirements = 0
        self._came_back = False  # the identity of the present link, before all was drained
        self.waiter = identity
        self.serving: Identity | None = None
        self.link_of: Identity | None = None
        self.up = trio.Event()
        self.down = trio.Event()
        self.down.set()

    @property
    def is_leaving_session(self) -> bool:
        """Whether the session at the broker is of an identity that the device has no more."""
        return self._session_of not in (None, self.waiter.current)

    def leave(self) -> None:
        """Leave the broker politely; `run` returns when that is done."""
        self._leave.set()
        if self.link_of is None:
            self._attempt.cancel()

    async def run(self) -> None:
        """Hold a link until `leave()`.

        Raises:
            ConfigError: the transport's settings cannot work whatever the network does, and never
                did.
        """
        async with self._transport.open(), trio.open_nursery() as nursery:
            while not self._leave.is_set():
                with trio.CancelScope() as self._attempt:
                    current = await self.waiter.wait()
                    await self._one_link(self._session_of or current, nursery)
            nursery.cancel_scope.cancel()  # waits for the grace of identities that were left

    async def _one_link(self, identity: Identity, nursery: trio.Nursery) -> None:
        """Connect once, serve until the link is lost or has to be left, and wait if need be."""
        self._up_at = -1.0
        left = False
        self._came_back = False
        try:
            async with self._transport.connect(self._options(identity)) as link:
                self._session_of = identity
                try:
                    await self._serve_link(link, identity)
                finally:
                    self._terms.ended(link)
                left = True
        except ConfigError as error:
            if not self._counters.links:
                raise  # it never worked: ours to mend before anything starts
            # It worked before: a certificate is being renewed, perhaps.
            self._report(ConnectFailed(str(error)))
        except TransportError as error:
            self._report(error)
        if self._leave.is_set():
            return
        if left and (self._came_back or identity == self.waiter.current):
            self._retirements = 0
            return  # nothing has failed; and if it is gone again, its session is not drained
        if identity == self.waiter.current:
            self._retirements = 0
            # Sleep, but not through a change of identity.
            with trio.move_on_after(self._delay()):
                await self.waiter.wait_other(identity)
            return
        if not self._retirements:
            self._forget_failures()  # a change of identity may be what mends them
        self._retirements += 1
        if left or self._retirements >= RETIRE_ATTEMPTS:
            await self._move_on(identity, nursery, left=left)
        else:
            await trio.sleep(self._delay())

    async def _move_on(self, old: Identity, nursery: trio.Nursery, *, left: bool) -> None:
        """From here on the device is another."""
        self._session_of = None
        self._terms.left()
        self._retirements = 0
        self._forget_failures()
        nursery.start_soon(self._end_after_grace, old, name="grace of an old identity")
        current = self.waiter.current
        assert current is not None
        if not left and self.client_id(old) != self.client_id(current):
            logger.error("could not end the session of client %r", self.client_id(old))
        elif self._session_kept:
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

    # -- between links

    def _forget_failures(self) -> None:
        self._failures = self._short_lives = 0
        self._taken_over = False

    def _report(self, error: TransportError) -> None:
        if self._up_at < 0:
            self._counters.connects_failed += 1
            self._failures += 1
            level, hint = logging.WARNING, ""
            if isinstance(error, RejectedByBroker):
                level, hint = logging.ERROR, hint_of(error, self._will_qos)
                if error.reason_code == QOS_NOT_SUPPORTED:
                    self._will_qos = 0
            logger.log(level, "not connected to %s: %s%s", self._settings.peer, error, hint)
            self._refused += 1
            if self._refused == ATTEMPTS_UNTIL_ADVICE:
                logger.warning("%d attempts have failed: %s", self._refused, self._advice)
            return
        self._counters.links_lost += 1
        lived = trio.current_time() - self._up_at
        if lived >= self._settings.stable_after:
            self._forget_failures()
        else:
            self._failures += 1
            self._short_lives += 1
        logger.warning("link lost after %.1f s: %s", lived, error)
        if isinstance(error, ConnectionLost) and error.taken_over:
            self._taken_over = True
        if self._is_suspicious:
            logger.error(
                "the broker ended %d links in a row soon after they were up%s: another client "
                "may use the client ID %r; waiting longer and longer, up to %g s",
                self._short_lives,
                " (session taken over)" if self._taken_over else "",
                None if self._session_of is None else self.client_id(self._session_of),
                self._settings.takeover_delay_max,
            )

    @property
    def _is_suspicious(self) -> bool:
        bound = SHORT_LIVES_WHEN_TOLD if self._taken_over else SHORT_LIVES_UNTIL_SUSPICION
        return self._short_lives >= bound

    def _delay(self) -> float:
        """Full jitter: anything from nothing to a bound that doubles with each failure."""
        settings = self._settings
        most = settings.takeover_delay_max if self._is_suspicious else settings.reconnect_delay_max
        bound = min(most, settings.reconnect_delay_min * 2.0 ** min(max(self._failures - 1, 0), 32))
        return bound * self._jitter()

    # -- one link

    def _options(self, identity: Identity) -> ConnectOptions:
        settings = self._settings
        return ConnectOptions(
            client_id=self.client_id(identity),
            clean_start=settings.clean_start,
            session_expiry=settings.session_expiry,
            will_delay=settings.will_delay,
            keep_alive=settings.keep_alive,
            receive_maximum=settings.receive_maximum,
            publish_maximum=settings.publish_maximum,
            payload_max=settings.payload_max,
            packet_maximum=settings.packet_maximum,
            will=msgspec.structs.replace(
                self._status(identity, "offline", with_timestamp=False), qos=self._will_qos
            ),
            connect_timeout=settings.connect_timeout,
            subscribe_timeout=settings.subscribe_timeout,
            disconnect_timeout=settings.disconnect_timeout,
        )

    def client_id(self, identity: Identity) -> str:
        """The client ID of the device under that identity."""
        return client_id_of(self._settings, identity)

    def _topic_filters(self, identity: Identity) -> list[TopicFilter]:
        return [TopicFilter(identity.topic(name)) for name in self._settings.command_topics]

    def _status(self, identity: Identity, status: str, *, with_timestamp: bool = True) -> Message:
        payload: dict[str, object] = {"status": status}
        if with_timestamp:
            payload["timestamp"] = self._responses.timestamps()
        payload["petals"] = self._petals
        topic = identity.topic(self._settings.status_topic)
        return Message(topic, encode_json(payload), qos=1, retain=self._settings.status_retain)

    async def _serve_link(self, link: Link, identity: Identity) -> None:
        """Serve one link until it has to be left, and say goodbye on it.

        Raises:
            TransportError: it was lost, or the broker refused what we need.
        """
        loss: TransportError | None = None
        self._said = ""
        self._session_kept = self._settings.keeps_session and link.session_expiry > 0
        self._terms.connected(link, self.client_id(identity))
        if not (link.session_present or link.retries_by_itself):
            self._intake.session_lost()
        try:
            with _single_transport_error():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._intake.read, link, identity, name="intake")
                    online = await self._announce(link, identity)
                    again = trio.CancelScope()
                    if not online:
                        nursery.start_soon(
                            self._say_online_again, link, identity, again, name="status"
                        )
                    nursery.start_soon(self._watch_publishes, link, name="publish watch")
                    nursery.start_soon(self._lost_pubacks.watch, link, name="PUBACK watch")
                    nursery.start_soon(self._intake.watch_held, name="held refusals")
                    nursery.start_soon(self._outbox.keep_sending, link, name="outbox")
                    await self._wait_reason_to_leave(identity)
                    again.cancel()
                    if not self._leave.is_set():
                        self.serving = None
                        unsubscribe = functools.partial(self._unsubscribe, link, identity)
                        await wait_any(unsubscribe, self._leave.wait)
                    self._outbox.hold()  # so that the PUBACK of `offline` comes behind all others
                    with self._intake.reading_on():
                        await self._say_offline(link, identity)
                    nursery.cancel_scope.cancel()
        except TransportError as error:
            loss = error
            raise
        finally:
            self.serving = self.link_of = None
            if self._said == "online" and loss is None:
                # Left in a hurry. A polite DISCONNECT takes the will away, so say it all the same.
                with contextlib.suppress(trio.WouldBlock, ConnectionLost):
                    link.publish_nowait(self._status(identity, "offline"), lambda _: None)
            if not isinstance(loss, ConnectionLost) or link.retries_by_itself:
                self._outbox.detach(None)
            else:
                self._outbox.detach(loss)
            self.down.set()

    async def _announce(self, link: Link, identity: Identity) -> bool:
        """Subscribe and give birth; False when the broker took the first and not the other."""
        # SUBACK and PUBACK come behind whatever the session replays.
        with self._intake.reading_on():
            filters = self._topic_filters(identity)
            granted = await link.subscribe(filters)
            self._terms.subscribed(self.client_id(identity))
            online = await self._publish_status(link, identity, "online") is None
        self._intake.announced()
        self._up_at = trio.current_time()
        self._refused = 0
        self._counters.links += 1
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

    async def _say_online_again(
        self, link: Link, identity: Identity, scope: trio.CancelScope
    ) -> None:
        """Say `online` until the broker takes it, or the link ends: it retains `offline` else."""
        with scope:
            tries = 1
            while True:
                await trio.sleep(wait_after(tries, self._jitter))
                with self._intake.reading_on():
                    refusal = await self._publish_status(link, identity, "online", quiet=True)
                if refusal is None:
                    logger.info("the broker takes the status message now")
                    return
                tries += 1

    async def _say_offline(self, link: Link, identity: Identity) -> None:
        """Say `offline`; again while the broker refuses it, and `disconnect_timeout` lasts.

        It retains `online` else: the DISCONNECT that follows takes the will away.

        Raises:
            ConnectionLost: as `_publish_status`.
        """
        deadline = trio.current_time() + self._settings.disconnect_timeout
        wait = OFFLINE_AGAIN
        refusal = await self._publish_status(link, identity, "offline")
        while refusal not in (None, Refusal.FINAL) and trio.current_time() + wait < deadline:
            await trio.sleep(wait)
            left = deadline - trio.current_time()
            refusal = await self._publish_status(link, identity, "offline", quiet=True, limit=left)
            wait *= 2

    async def _publish_status(
        self,
        link: Link,
        identity: Identity,
        status: str,
        *,
        quiet: bool = False,
        limit: float | None = None,
    ) -> Refusal | None:
        """Say how it stands; None when the broker has taken that.

        Args:
            link: where.
            identity: of whom.
            status: what.
            quiet: whether a refusal is no line in the log.
            limit: seconds for `offline`; None for `disconnect_timeout`.

        Raises:
            ConnectionLost: the link is gone, or there was no PUBACK in time.
        """
        settings = self._settings
        # The one is a limit of silence: its PUBACK may stand behind a replayed session. The other
        # is a time, because a stop has to end.
        if status == "offline":
            silence = math.inf
            limit = settings.disconnect_timeout if limit is None else limit
        else:
            silence, limit = settings.subscribe_timeout, math.inf
        self._said = status
        try:
            with trio.fail_after(limit):
                await link.publish(self._status(identity, status), limit=silence)
        except RejectedByBroker as error:
            if not quiet:
                logger.warning("the broker refused the status message: %s", error)
            return refusal_of(error.reason_code)
        except trio.TooSlowError:
            raise ConnectionLost(
                f"no PUBACK for {status!r} within {min(silence, limit):g} s"
            ) from None
        return None

    async def _wait_reason_to_leave(self, identity: Identity) -> None:
        """Wait until we stop or are another. No limit: that is the life of a link."""
        await wait_any(self._leave.wait, functools.partial(self.waiter.wait_other, identity))

    async def _unsubscribe(self, link: Link, identity: Identity) -> None:
        """Leave the old topics, and take what was sent to them before that."""
        logger.info("leaving %s", identity.base_topic)
        with self._intake.reading_on():
            asked = trio.current_time()
            await link.unsubscribe(self._topic_filters(identity))
            # Beyond its window the broker sends on only when it is acknowledged: a round trip.
            silence = max(DRAIN_SILENCE, 2 * (trio.current_time() - asked))
            self._intake.session_ends()
            drained = functools.partial(self._wait_drained, link, silence)
            # A broker that talks for ever has said all that stood there before, after a while.
            enough = functools.partial(
                wait_within, trio.Event(), link.patience(self._settings.grace)
            )
            # What is left comes over the next link, if the broker keeps it until then.
            back = [functools.partial(self._wait_back, identity)] if self._session_kept else []
            await wait_any(drained, enough, *back)

    async def _wait_back(self, identity: Identity) -> None:
        """Wait until the device is what it was."""
        await self.waiter.wait_same(identity)
        self._came_back = True

    async def _wait_drained(self, link: Link, silence: float) -> None:
        """Wait until nothing has come for so long; on a slow line half a command counts, too."""
        seen = None
        while seen != (now := (self._counters.received, link.last_heard)):
            seen = now
            await trio.sleep(silence)

    async def _watch_publishes(self, link: Link) -> None:
        """Lose a link that takes our messages and never acknowledges them."""
        limit = self._settings.publish_timeout
        good_at = -math.inf  # when there was a PUBACK, or none could come
        answered = -1
        patience: Patience | None = None
        while True:
            await trio.sleep(limit / 4)
            now = trio.current_time()
            self._outbox.expire_overtaken(now)
            if not self._intake.paused and self._outbox.clogged_since() + limit <= now:
                raise ConnectionLost(
                    "the broker has acknowledged later messages, and not those that take half of "
                    "its window: they are sent again"
                )
            if self._intake.paused or answered != self._outbox.answered:
                answered = self._outbox.answered
                good_at = now
            since = max(self._outbox.sent_since(), good_at)
            if math.isinf(since):
                continue
            if patience is None or patience.since != since:
                patience = link.patience(limit, since)
            if patience.is_over(now):
                raise ConnectionLost(f"no PUBACK within {limit:g} s")


@contextlib.contextmanager
def _single_transport_error() -> Generator[None]:
    """Take a transport's error out of the nursery's group; anything else is a bug and stays."""
    try:
        yield
    except BaseExceptionGroup as group:
        errors, rest = group.split(TransportError)
        if errors is None:
            raise
        if rest is not None:
            if rest.split(trio.Cancelled)[1] is None:
                raise rest from None  # left anyway, so the loss does not count
            raise
        error: BaseException = errors
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
