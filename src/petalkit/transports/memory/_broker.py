"""An MQTT broker as a value: no sockets, no real time, every fault on demand.

The rule: everything happens inside the call that causes it, or at a time of Trio's clock, so a
test under a mock clock says what happens and when. The trap: a broker that is kinder than a real
one hides bugs, so this one holds back at a window of 20 like mosquitto, drops what an absent
client's full queue cannot hold (and counts it), and delivers again what was not acknowledged.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, overload

import attrs
import trio

from ..._values.errors import SESSION_TAKEN_OVER, ConnectFailed, ConnectionLost, RejectedByBroker
from ..._values.messages import Message, Properties
from ..._values.settings.settings import Protocol
from ..._values.topics import TopicFilter, check_topic
from .._contract import ConnectOptions
from ._session import Connection, Counters, DelayedWill, Session

DEFAULT_WINDOW = 20  # mosquitto's max_inflight_messages
DEFAULT_MAX_QUEUED = 1000  # mosquitto's max_queued_messages
_ROUTES_MAX = 4096  # remembered topics; forgotten all at once
_NEVER = 0xFFFF_FFFF  # MQTT 5.0, section 3.1.2.11.2: a session that does not expire

Swallowed = Literal["CONNACK", "SUBACK", "UNSUBACK", "PUBACK", "client PUBACK"]


@attrs.frozen(kw_only=True)
class BrokerStatistics:
    """What a `MemoryBroker` has done so far.

    Attributes:
        published: messages accepted, wills and the test's own among them.
        delivered: PUBLISH packets sent to clients, repeated ones among them.
        redelivered: packets sent again because a link was lost before their PUBACK.
        dropped_queue_full: QoS 1 messages for a client whose queue held `max_queued`.
        dropped_qos0: QoS 0 messages for a client that was absent or did not read.
        dropped_expired: messages whose Message Expiry Interval ran out before they were sent.
    """

    published: int
    delivered: int
    redelivered: int
    dropped_queue_full: int
    dropped_qos0: int
    dropped_expired: int


@attrs.frozen(kw_only=True)
class SessionView:
    """One session as it is now.

    Attributes:
        connected: whether a link holds it.
        subscriptions: the filters, in the order of subscribing.
        queued: QoS 1 messages not sent yet.
        unacknowledged: QoS 1 messages sent, their PUBACK owed.
    """

    connected: bool
    subscriptions: tuple[TopicFilter, ...]
    queued: int
    unacknowledged: int


class Observer:
    """Every message on a filter, from when it began to look; made by `MemoryBroker.observe`.

    Iterating, indexing and `len()` read what has come; nothing is taken away by reading, except
    that `receive` goes forward.
    """

    def __init__(self, filter_: TopicFilter, limit: int) -> None:
        self.filter = filter_
        self.dropped = 0
        """Messages that came after `limit`."""
        self._limit = limit
        self._messages: list[Message] = []
        self._read = 0
        self._lot = trio.lowlevel.ParkingLot()

    def _seen(self, message: Message) -> None:
        if len(self._messages) >= self._limit:
            self.dropped += 1
            return
        self._messages.append(message)
        if self._lot:
            self._lot.unpark_all()

    async def wait(self, count: int) -> list[Message]:
        """Wait until `count` messages have come in all, and return everything so far."""
        await trio.lowlevel.checkpoint()
        while len(self._messages) < count:
            await self._lot.park()
        return list(self._messages)

    async def receive(self) -> Message:
        """Wait for the next message that `receive` has not returned yet."""
        await trio.lowlevel.checkpoint()
        while len(self._messages) <= self._read:
            await self._lot.park()
        self._read += 1
        return self._messages[self._read - 1]

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> list[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | list[Message]:
        return self._messages[index]

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Message]:
        return iter(self._messages)


class _Group:
    """The members of one shared subscription, served in turn."""

    def __init__(self) -> None:
        self.members: list[tuple[Session, int]] = []
        self._turn = 0

    def next(self) -> tuple[Session, int]:
        """The next member; one that is connected goes before one that is not."""
        count = len(self.members)
        for step in range(count):
            member = self.members[(self._turn + step) % count]
            if member[0].connection is not None:
                self._turn += step + 1
                return member
        self._turn += 1
        return self.members[self._turn % count]


@attrs.frozen
class _Route:
    """Who gets what is published on one topic."""

    sessions: tuple[tuple[Session, int], ...]
    groups: tuple[_Group, ...]
    observers: tuple[Observer, ...]
    rejected: int  # reason code, 0 for none


class MemoryBroker:
    """An in-process MQTT broker for tests and benchmarks.

    Clients come through `MemoryTransport`; a test itself uses `publish_nowait` and `observe`.
    It must be used inside one `trio.run`.

    Args:
        window: unacknowledged QoS 1 messages under way to one client, at most; with MQTT 5 the
            client's receive maximum, if that is lower.
        max_queued: QoS 1 messages kept for one client beyond that.
        session_expiry: seconds for which the session of an absent 3.1.1 client is kept; MQTT 5
            clients say it themselves.
        session_expiry_max: seconds that it grants to MQTT 5 clients, at most.
        history: messages that `published` remembers.

    Attributes:
        delay: seconds by which every packet from the broker to a client is late.
        published: the last messages accepted, at most `history` of them.
    """

    def __init__(
        self,
        *,
        window: int = DEFAULT_WINDOW,
        max_queued: int = DEFAULT_MAX_QUEUED,
        session_expiry: float = math.inf,
        session_expiry_max: float = math.inf,
        history: int = 0,
    ) -> None:
        self.window = window
        self.max_queued = max_queued
        self.session_expiry = session_expiry
        self.session_expiry_max = session_expiry_max
        self.delay = 0.0
        self.published: deque[Message] = deque(maxlen=history)
        self._counters = Counters()
        self._sessions: dict[str, Session] = {}
        self._retained: dict[str, Message] = {}
        self._retained_until: dict[str, float] = {}  # of those that expire
        self._groups: dict[TopicFilter, _Group] = {}
        self._observers: list[Observer] = []
        self._routes: dict[str, _Route] = {}
        self._next_expiry = math.inf
        self._running = True
        self._refusals = 0.0
        self._refusal_code: int | None = None
        self._swallow: Counter[Swallowed] = Counter()
        self._duplicates = 0
        self._rejected_publishes: dict[TopicFilter, int] = {}
        self._granted: dict[TopicFilter, int] = {}  # QoS, where it is less than asked
        self._rejected_subscriptions: dict[TopicFilter, int] = {}

    # -- the test as a client

    def publish_nowait(
        self,
        topic: str,
        payload: bytes | str,
        *,
        qos: int = 1,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> None:
        """Publish as some other client would; it is routed before this returns.

        With properties that other client speaks MQTT 5. They reach links of MQTT 5 only.

        Raises:
            TopicError: nothing can be published on that topic.
        """
        data = payload.encode() if isinstance(payload, str) else payload
        self._publish(Message(topic, data, qos, retain, properties))

    @contextmanager
    def observe(self, topic_filter: str, *, limit: int = 100_000) -> Generator[Observer]:
        """See every message on a filter while the block runs, without a client.

        Args:
            topic_filter: with wildcards if need be.
            limit: messages to keep; what comes later is counted in `Observer.dropped`.
        """
        observer = Observer(TopicFilter(topic_filter), limit)
        self._observers.append(observer)
        self._routes.clear()
        try:
            yield observer
        finally:
            self._observers.remove(observer)
            self._routes.clear()

    # -- what there is

    @property
    def clients(self) -> tuple[str, ...]:
        """The client IDs that are connected."""
        return tuple(name for name, session in self._sessions.items() if session.connection)

    @property
    def sessions(self) -> Mapping[str, SessionView]:
        """Every session that is kept, by client ID."""
        self._expire()
        for session in self._sessions.values():
            session.drop_expired()
        return {
            client_id: SessionView(
                connected=session.connection is not None,
                subscriptions=tuple(session.subscriptions),
                queued=len(session.queue),
                unacknowledged=len(session.inflight),
            )
            for client_id, session in self._sessions.items()
        }

    @property
    def retained(self) -> Mapping[str, Message]:
        """The retained messages, by topic."""
        self._drop_expired_retained()
        return dict(self._retained)

    def unacknowledged(self, client_id: str) -> tuple[Message, ...]:
        """The QoS 1 messages sent to a client whose PUBACK is owed, in order."""
        session = self._sessions.get(client_id)
        return tuple(p.message for p in session.inflight.values()) if session else ()

    def statistics(self) -> BrokerStatistics:
        """The counters, as they are now."""
        return BrokerStatistics(**attrs.asdict(self._counters))

    # -- faults

    def drop_links(
        self,
        *client_ids: str,
        reason: str = "the broker dropped the link",
        reason_code: int | None = None,
    ) -> int:
        """Cut the links of these clients, or of all; wills are published.

        Args:
            client_ids: of whom; of all when there are none.
            reason: for the log of the other side.
            reason_code: of the DISCONNECT that says so, to clients of MQTT 5; None just closes.

        Returns:
            How many there were.
        """
        connections = [
            session.connection
            for client_id, session in list(self._sessions.items())
            if session.connection and (not client_ids or client_id in client_ids)
        ]
        for connection in connections:
            self._lose(connection, _ended(connection, reason, reason_code))
        return len(connections)

    def refuse_connections(
        self, times: float = math.inf, *, reason_code: int | None = None
    ) -> None:
        """Let the next `times` connects fail.

        Args:
            times: how many; infinite until `accept_connections`.
            reason_code: as a CONNACK says it (`RejectedByBroker`); None is a closed port
                (`ConnectFailed`).
        """
        self._refusals = times
        self._refusal_code = reason_code

    def accept_connections(self) -> None:
        """Take connections again."""
        self._refusals = 0

    def swallow(self, packet: Swallowed, times: int = 1) -> None:
        """Lose the next `times` packets of a kind on their way; 0 ends it.

        A message whose PUBACK is swallowed has been published, a filter whose SUBACK is swallowed
        is subscribed. `"client PUBACK"` are those from clients: the message is then sent again to
        the next link of the session.
        """
        self._swallow[packet] = times

    def duplicate_next(self, times: int = 1) -> None:
        """Deliver the next `times` messages twice: with a new packet ID and without DUP.

        That is how AWS IoT Core may do it, and the hardest case for the receiver.
        """
        self._duplicates = times

    def reject_publish(self, topic_filter: str, reason_code: int | None = 0x87) -> None:
        """Refuse what is published on matching topics; None takes it again.

        An MQTT 5 client gets the reason code in its PUBACK. The PUBACK of 3.1.1 cannot say no:
        such a client is told that all is well, and the message is gone.
        """
        _set(self._rejected_publishes, TopicFilter(topic_filter), reason_code)
        self._routes.clear()

    def reject_subscribe(self, topic_filter: str, reason_code: int | None = 0x80) -> None:
        """Refuse subscriptions to exactly this filter; None takes them again."""
        _set(self._rejected_subscriptions, TopicFilter(topic_filter), reason_code)

    def limit_qos(self, topic_filter: str, qos: int | None = 0) -> None:
        """Grant subscriptions to exactly this filter no more than this QoS; None ends it."""
        _set(self._granted, TopicFilter(topic_filter), qos)

    def stop(self, *, keep_sessions: bool = True) -> None:
        """End as a process does: links are lost, no will is published, connects fail.

        Args:
            keep_sessions: False forgets the sessions and the retained messages, as a broker
                without persistence does.
        """
        self._running = False
        for session in list(self._sessions.values()):
            session.delayed_will = None
            if session.connection is not None:
                session.connection.will = None
                self._lose(session.connection, _ended(session.connection, "the broker has stopped"))
        if not keep_sessions:
            for session in list(self._sessions.values()):
                self._forget(session)
            self._retained.clear()
            self._retained_until.clear()

    def start(self) -> None:
        """Be there again after `stop`."""
        self._running = True

    # -- for MemoryTransport

    def _connect(
        self, options: ConnectOptions, protocol: Protocol
    ) -> tuple[Connection, bool, bool]:
        """A CONNECT came. Returns the connection, session present, and whether CONNACK arrives."""
        if not self._running:
            raise ConnectFailed("the broker is not running")
        if self._refusals > 0:
            self._refusals -= 1
            if self._refusal_code is None:
                raise ConnectFailed("the broker refused the connection")
            raise RejectedByBroker(self._refusal_code, "a refusal on demand")
        self._expire()
        session = self._sessions.get(options.client_id)
        if session is not None:
            if (old := session.connection) is not None:
                # MQTT 5.0, section 3.1.4: DISCONNECT 0x8E; 3.1.1 just closes.
                text = "another client took over the session"
                self._lose(old, _ended(old, text, SESSION_TAKEN_OVER))
            if self._sessions.get(options.client_id) is not session:
                session = None  # it ended with its link
        # The one flag of 3.1.1 says both: forget the old session, and do not keep the new one.
        clean = options.clean_start or (protocol == "3.1.1" and options.session_expiry == 0)
        if session is not None and clean:
            self._forget(session)
            session = None
        present = session is not None
        if session is None:
            session = Session(options.client_id, self.max_queued, self._counters)
            self._sessions[options.client_id] = session
        if protocol == "3.1.1":
            session.lifetime = 0 if clean else self.session_expiry
        else:
            kept = options.session_expiry
            session.lifetime = min(math.inf if kept == _NEVER else kept, self.session_expiry_max)
        window = self.window
        if protocol == "5":
            window = min(window, options.receive_maximum)
        connection = Connection(
            session,
            protocol=protocol,
            window=window,
            will=options.will,
            will_delay=options.will_delay if protocol == "5" else 0,
            delay=lambda: self.delay,
        )
        session.attach(connection)
        return connection, present, not self._swallows("CONNACK")

    def _leave(self, connection: Connection) -> None:
        """DISCONNECT came: the end without a will."""
        connection.will = None
        self._lose(connection, ConnectionLost("the link was left"))

    def _lose(self, connection: Connection, error: ConnectionLost) -> None:
        if connection.lost is not None:
            return
        session = connection.session
        will, connection.will = connection.will, None
        session.connection = None
        if session.lifetime == 0:
            self._forget(session)
        else:
            session.expires_at = trio.current_time() + session.lifetime
            self._next_expiry = min(self._next_expiry, session.expires_at)
        connection.close(error)
        if will is None:
            return
        # MQTT 5.0, section 3.1.3.2.2: at the end of the session, if that is earlier.
        delay = min(connection.will_delay, session.lifetime)
        if delay > 0:
            waiting = session.delayed_will = DelayedWill(will)
            # Of nobody's nursery: the link's is ending, and the broker has none.
            trio.lowlevel.spawn_system_task(self._publish_will_later, session, waiting, delay)
        else:
            self._publish(will)

    async def _publish_will_later(self, session: Session, will: DelayedWill, delay: float) -> None:
        """Wait out the delay of a will; whoever takes it away meanwhile has the last word."""
        await trio.sleep(delay)
        if session.delayed_will is will:
            session.delayed_will = None
            self._publish(will.message)

    def _subscribe(
        self, connection: Connection, filters: tuple[TopicFilter, ...]
    ) -> tuple[list[int], bool]:
        """A SUBSCRIBE came. Returns the SUBACK's codes, and whether it arrives."""
        session = connection.session
        self._drop_expired_retained()
        codes: list[int] = []
        for topic_filter in filters:
            if code := self._rejected_subscriptions.get(topic_filter):
                codes.append(code)
                continue
            granted = self._granted.get(topic_filter, 1)
            codes.append(granted)
            new = topic_filter not in session.subscriptions
            if new and topic_filter.share is not None:
                group = self._groups.setdefault(topic_filter, _Group())
                group.members.append((session, granted))
            if session.subscriptions.get(topic_filter) != granted:
                session.subscriptions[topic_filter] = granted
                self._routes.clear()
            # MQTT 5 with retain handling 1: for new subscriptions only. 3.1.1: each time.
            if topic_filter.share is None and (new or connection.protocol == "3.1.1"):
                for topic, message in self._retained.items():
                    if topic_filter.matches(topic):
                        until = self._retained_until.get(topic, math.inf)
                        qos = min(message.qos, granted)
                        session.push(message, qos, retain=True, expires_at=until)
        return codes, not self._swallows("SUBACK")

    def _unsubscribe(self, connection: Connection, filters: tuple[TopicFilter, ...]) -> bool:
        """An UNSUBSCRIBE came. Returns whether the UNSUBACK arrives."""
        for topic_filter in filters:
            self._drop_subscription(connection.session, topic_filter)
        return not self._swallows("UNSUBACK")

    def _receive_publish(self, message: Message, protocol: str) -> tuple[int, bool]:
        """A PUBLISH came. Returns the PUBACK's reason code, and whether the PUBACK arrives."""
        code = self._publish(message)
        if protocol == "3.1.1":
            code = 0
        return code, message.qos == 0 or not self._swallow or not self._swallows("PUBACK")

    def _receive_acks(self, connection: Connection, packet_ids: list[int]) -> None:
        """PUBACKs came from a client."""
        if self._swallow:
            packet_ids = [p for p in packet_ids if not self._swallows("client PUBACK")]
        connection.session.acknowledge(packet_ids)

    # -- inside

    def _publish(self, message: Message) -> int:
        if self._next_expiry < math.inf:
            self._expire()
        topic = message.topic
        route = self._routes.get(topic) or self._make_route(topic)
        if route.rejected:
            return route.rejected
        self._counters.published += 1
        self.published.append(message)
        expires_at = math.inf
        properties = message.properties
        if properties is not None and properties.message_expiry is not None:
            expires_at = trio.current_time() + properties.message_expiry
        if message.retain:
            self._retain(message, expires_at)
        for observer in route.observers:
            observer._seen(message)  # pyright: ignore[reportPrivateUsage]
        times = 1
        if self._duplicates and (route.sessions or route.groups):
            self._duplicates -= 1
            times = 2
        for _ in range(times):
            for session, qos in route.sessions:
                session.push(message, min(message.qos, qos), expires_at=expires_at)
        for group in route.groups:
            session, qos = group.next()
            for _ in range(times):
                session.push(message, min(message.qos, qos), expires_at=expires_at)
        return 0

    def _retain(self, message: Message, expires_at: float) -> None:
        self._retained.pop(message.topic, None)
        self._retained_until.pop(message.topic, None)
        if not message.payload:
            return  # MQTT 5.0, section 3.3.1.3
        self._retained[message.topic] = message
        if expires_at < math.inf:
            self._retained_until[message.topic] = expires_at

    def _drop_expired_retained(self) -> None:
        now = trio.current_time()
        for topic in [topic for topic, until in self._retained_until.items() if until <= now]:
            del self._retained[topic], self._retained_until[topic]
            self._counters.dropped_expired += 1

    def _make_route(self, topic: str) -> _Route:
        check_topic(topic)
        wanted = [
            (session, max(found))
            for session in self._sessions.values()
            # Overlapping filters of one client: one copy, with the highest QoS.
            if (
                found := [
                    qos
                    for topic_filter, qos in session.subscriptions.items()
                    if topic_filter.share is None and topic_filter.matches(topic)
                ]
            )
        ]
        route = _Route(
            sessions=tuple(wanted),
            groups=tuple(group for shared, group in self._groups.items() if shared.matches(topic)),
            observers=tuple(o for o in self._observers if o.filter.matches(topic)),
            rejected=next(
                (code for f, code in self._rejected_publishes.items() if f.matches(topic)), 0
            ),
        )
        if len(self._routes) >= _ROUTES_MAX:
            self._routes.clear()
        self._routes[topic] = route
        return route

    def _swallows(self, packet: Swallowed) -> bool:
        if self._swallow[packet] <= 0:
            del self._swallow[packet]
            return False
        self._swallow[packet] -= 1
        return True

    def _drop_subscription(self, session: Session, topic_filter: TopicFilter) -> None:
        if session.subscriptions.pop(topic_filter, None) is None:
            return
        if (group := self._groups.get(topic_filter)) is not None:
            group.members = [member for member in group.members if member[0] is not session]
            if not group.members:
                del self._groups[topic_filter]
        self._routes.clear()

    def _forget(self, session: Session) -> None:
        if (will := session.delayed_will) is not None:
            session.delayed_will = None
            self._publish(will.message)  # with the session's end
        for topic_filter in list(session.subscriptions):
            self._drop_subscription(session, topic_filter)
        if self._sessions.get(session.client_id) is session:
            del self._sessions[session.client_id]

    def _expire(self) -> None:
        now = trio.current_time()
        if now < self._next_expiry:
            return
        for session in list(self._sessions.values()):
            if session.expires_at <= now:
                self._forget(session)
        self._next_expiry = min(
            (session.expires_at for session in self._sessions.values()), default=math.inf
        )


def _ended(connection: Connection, reason: str, reason_code: int | None = None) -> ConnectionLost:
    """As the client sees it: only MQTT 5 has a DISCONNECT of the broker's."""
    if connection.protocol != "5":
        reason_code = None
    return ConnectionLost(reason, reason_code=reason_code, closed=reason_code is None)


def _set(table: dict[TopicFilter, int], topic_filter: TopicFilter, code: int | None) -> None:
    if code is None:
        table.pop(topic_filter, None)
    else:
        table[topic_filter] = code
