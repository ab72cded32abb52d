"""The broker as its clients see it: CONNECT, SUBSCRIBE, PUBLISH, and what they are answered.

The rule: everything happens inside the call that causes it, or at a time of Trio's clock, so a
test under a mock clock says what happens and when. The trap: a broker that is kinder than a real
one hides bugs, so this one holds back at a window of 20 like mosquitto, drops what an absent
client's full queue cannot hold (and counts it), and delivers again what was not acknowledged.
"""

from __future__ import annotations

import math
from collections import deque

import trio

from ..._values.errors import SESSION_TAKEN_OVER, ConnectFailed, ConnectionLost
from ..._values.messages import Message
from ..._values.settings.settings import Protocol
from ..._values.topics import TopicFilter
from .._contract import ConnectOptions
from ._faults import Faults
from ._retained import RetainedMessages
from ._routes import Routes
from ._session import Connection, Counters, DelayedWill, Session

DEFAULT_WINDOW = 20  # mosquitto's max_inflight_messages
DEFAULT_MAX_QUEUED = 1000  # mosquitto's max_queued_messages
_NEVER = 0xFFFF_FFFF  # MQTT 5.0, section 3.1.2.11.2: a session that does not expire


class BrokerCore:
    """See the module. `MemoryLink` is its only client; for the arguments see `MemoryBroker`."""

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
        self._retained = RetainedMessages(self._counters)
        self._faults = Faults()
        self._routes = Routes(self._sessions, self._faults.rejected_publishes)
        self._next_expiry = math.inf
        self._running = True

    # -- for `MemoryLink`

    def _connect(
        self, options: ConnectOptions, protocol: Protocol
    ) -> tuple[Connection, bool, bool]:
        """A CONNECT came. Returns the connection, session present, and whether CONNACK arrives."""
        if not self._running:
            raise ConnectFailed("the broker is not running")
        self._faults.check_connect()
        self._expire()
        session, present = self._session_for(options, protocol)
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
        return connection, present, not self._faults.swallows("CONNACK")

    def _session_for(self, options: ConnectOptions, protocol: Protocol) -> tuple[Session, bool]:
        """The session of a client that connects, taken over from its last link; present or not."""
        session = self._sessions.get(options.client_id)
        if session is not None:
            if (old := session.connection) is not None:
                # MQTT 5.0, section 3.1.4: DISCONNECT 0x8E; 3.1.1 just closes.
                text = "another client took over the session"
                self._lose(old, ended(old, text, SESSION_TAKEN_OVER))
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
        return session, present

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
        self._retained.drop_expired()
        codes: list[int] = []
        for topic_filter in filters:
            if code := self._faults.rejected_subscriptions.get(topic_filter):
                codes.append(code)
                continue
            granted = self._faults.granted.get(topic_filter, 1)
            codes.append(granted)
            new = self._routes.join(session, topic_filter, granted)
            # MQTT 5 with retain handling 1: for new subscriptions only. 3.1.1: each time.
            if topic_filter.share is None and (new or connection.protocol == "3.1.1"):
                for message, until in self._retained.matching(topic_filter):
                    qos = min(message.qos, granted)
                    session.push(message, qos, retain=True, expires_at=until)
        return codes, not self._faults.swallows("SUBACK")

    def _unsubscribe(self, connection: Connection, filters: tuple[TopicFilter, ...]) -> bool:
        """An UNSUBSCRIBE came. Returns whether the UNSUBACK arrives."""
        for topic_filter in filters:
            self._routes.leave(connection.session, topic_filter)
        return not self._faults.swallows("UNSUBACK")

    def _receive_publish(self, message: Message, protocol: str) -> tuple[int, bool]:
        """A PUBLISH came. Returns the PUBACK's reason code, and whether the PUBACK arrives."""
        code = self._publish(message)
        if protocol == "3.1.1":
            code = 0
        faults = self._faults
        return code, message.qos == 0 or not faults.swallowing or not faults.swallows("PUBACK")

    def _receive_acks(self, connection: Connection, packet_ids: list[int]) -> None:
        """PUBACKs came from a client."""
        if self._faults.swallowing:
            packet_ids = [p for p in packet_ids if not self._faults.swallows("client PUBACK")]
        connection.session.acknowledge(packet_ids)

    # -- inside

    def _publish(self, message: Message) -> int:
        if self._next_expiry < math.inf:
            self._expire()
        topic = message.topic
        route = self._routes.known.get(topic) or self._routes.find(topic)
        if route.rejected:
            return route.rejected
        self._counters.published += 1
        self.published.append(message)
        expires_at = math.inf
        properties = message.properties
        if properties is not None and properties.message_expiry is not None:
            expires_at = trio.current_time() + properties.message_expiry
        if message.retain:
            self._retained.keep(message, expires_at)
        for observer in route.observers:
            observer._seen(message)  # pyright: ignore[reportPrivateUsage]
        times = 1
        if self._faults.duplicates and (route.sessions or route.groups):
            self._faults.duplicates -= 1
            times = 2
        for _ in range(times):
            for session, qos in route.sessions:
                session.push(message, min(message.qos, qos), expires_at=expires_at)
        for group in route.groups:
            session, qos = group.next()
            for _ in range(times):
                session.push(message, min(message.qos, qos), expires_at=expires_at)
        return 0

    def _forget(self, session: Session) -> None:
        if (will := session.delayed_will) is not None:
            session.delayed_will = None
            self._publish(will.message)  # with the session's end
        for topic_filter in list(session.subscriptions):
            self._routes.leave(session, topic_filter)
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


def ended(connection: Connection, reason: str, reason_code: int | None = None) -> ConnectionLost:
    """As the client sees it: only MQTT 5 has a DISCONNECT of the broker's."""
    if connection.protocol != "5":
        reason_code = None
    return ConnectionLost(reason, reason_code=reason_code, closed=reason_code is None)
