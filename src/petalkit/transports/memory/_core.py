"""The broker as its links see it: what they ask of the core, in messages of ours and Trio's time.

The rule: everything happens inside the call that causes it, or at a time of Trio's clock, so a
test under a mock clock says what happens and when; what a fault on demand changes is changed here.
What it does otherwise is `_broker.core`, as a client over a socket sees it too.
"""

from __future__ import annotations

import math
from collections import deque

import trio

from ..._values.errors import ConnectFailed
from ..._values.messages import Message
from ..._values.settings.settings import Protocol
from ..._values.topics import TopicFilter
from .._broker.core.bounds import Bounds
from .._broker.core.broker import Broker
from .._broker.core.values import FAILURE, NEVER, End, Hello, Publication, Subscription, Will
from .._contract import ConnectOptions
from ._connection import Connection
from ._faults import Faults
from ._observer import History

DEFAULT_WINDOW = 20  # mosquitto's max_inflight_messages
DEFAULT_MAX_QUEUED = 1000  # mosquitto's max_queued_messages
_QOS = 1  # that links ask for
_UNBOUNDED = 1 << 40
_LONGEST = 65_535


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
        self._faults = Faults()
        # A test bounds itself; only what a real broker is known to drop is dropped.
        bounds = Bounds(
            max_queued=max_queued,
            max_queued_bytes=_UNBOUNDED,
            max_queued_bytes_total=_UNBOUNDED,
            max_sessions=_UNBOUNDED,
            max_subscriptions=_UNBOUNDED,
            max_kept_bytes=_UNBOUNDED,
            max_retained=_UNBOUNDED,
            max_retained_bytes=_UNBOUNDED,
            max_topic_levels=_LONGEST,
            max_client_id=_LONGEST,
        )
        self._core = Broker(bounds, trio.current_time, self._faults)
        self._core.on_will = self._wait_for_will
        if history:
            self._core.routes.add_tap(History(self.published))
        self._running = True

    # -- for `MemoryLink`

    def _connect(
        self, options: ConnectOptions, protocol: Protocol
    ) -> tuple[Connection, bool, bool]:
        """A CONNECT came. Returns the connection, session present, and whether CONNACK arrives."""
        if not self._running:
            raise ConnectFailed("the broker is not running")
        self._faults.check_connect()
        window, delay = self.window, 0.0
        if protocol == "5":
            window = min(window, options.receive_maximum)
            delay = options.will_delay
        connection = Connection(
            protocol, window=window, unread=self.max_queued, delay=lambda: self.delay
        )
        will = None if options.will is None else _will(options.will, delay)
        # The one flag of 3.1.1 says both: forget the old session, and do not keep the new one.
        clean = options.clean_start or (protocol == "3.1.1" and options.session_expiry == 0)
        if protocol == "3.1.1":
            lifetime = 0 if clean else self.session_expiry
        else:
            kept = options.session_expiry
            lifetime = min(math.inf if kept == NEVER else kept, self.session_expiry_max)
        hello = Hello(client_id=options.client_id, clean_start=clean, lifetime=lifetime, will=will)
        session, present = self._core.connect(hello, connection)
        connection.session = session
        session.resume()
        return connection, present, not self._faults.swallows("CONNACK")

    def _leave(self, connection: Connection) -> None:
        """DISCONNECT came: the end without a will."""
        connection.will = None
        self._lose(connection, "the link was left")

    def _lose(self, connection: Connection, text: str, reason_code: int | None = None) -> None:
        self._core.lose(connection, connection.session, End(text, reason_code))

    def _subscribe(
        self, connection: Connection, filters: tuple[TopicFilter, ...]
    ) -> tuple[list[int], bool]:
        """A SUBSCRIBE came. Returns the SUBACK's codes, and whether it arrives."""
        handling = 1 if connection.protocol == "5" else 0
        codes: list[int] = []
        for topic_filter in filters:
            asked = Subscription(topic_filter, _QOS, retain_handling=handling)
            granted, wanted = self._core.subscribe(connection.session, [asked])
            self._core.send_retained(connection.session, wanted)
            codes += granted
        return codes, not self._faults.swallows("SUBACK")

    def _unsubscribe(self, connection: Connection, filters: tuple[TopicFilter, ...]) -> bool:
        """An UNSUBSCRIBE came. Returns whether the UNSUBACK arrives."""
        self._core.unsubscribe(connection.session, filters)
        return not self._faults.swallows("UNSUBACK")

    def _receive_publish(self, message: Message, protocol: str) -> tuple[int, bool]:
        """A PUBLISH came. Returns the PUBACK's reason code, and whether the PUBACK arrives."""
        code = self._publish(message)
        if protocol == "3.1.1" or code < FAILURE:
            code = 0
        faults = self._faults
        return code, message.qos == 0 or not faults.swallowing or not faults.swallows("PUBACK")

    def _receive_acks(self, connection: Connection, packet_ids: list[int]) -> None:
        """PUBACKs came from a client."""
        if self._faults.swallowing:
            packet_ids = [p for p in packet_ids if not self._faults.swallows("client PUBACK")]
        finish = connection.session.finish
        for packet_id in packet_ids:
            finish(packet_id)

    # -- inside

    def _publish(self, message: Message) -> int:
        core = self._core
        core.expire()
        published = publication(message)
        properties = message.properties
        if properties is not None and properties.message_expiry is not None:
            published.expires_at = trio.current_time() + properties.message_expiry
        return core.publish(published, None)

    def _wait_for_will(self, due: float) -> None:
        # Of nobody's nursery: the link's is ending, and the broker has none.
        trio.lowlevel.spawn_system_task(self._publish_will_later, due)

    async def _publish_will_later(self, due: float) -> None:
        """Wait out the delay of a will; whoever takes it away meanwhile has the last word."""
        await trio.sleep_until(due)
        self._core.run_due()


def publication(message: Message) -> Publication:
    """A message of ours as the core has it; its time to expire has not begun."""
    return Publication(message.topic, message.payload, message.qos, message.retain, message)


def _will(message: Message, delay: float) -> Will:
    expiry = math.inf
    if message.properties is not None and message.properties.message_expiry is not None:
        expiry = message.properties.message_expiry
    return Will(publication(message), expiry, delay)
