"""The contract between the runtime and whatever carries its messages.

The rule: a link is good until it is lost, and whoever waits on it is told. The traps: `on_done` may
not be called inside `publish_nowait`, and an answer of the broker may stand behind a whole session
that is replayed. What came, and how it is acknowledged, is `_delivery`.
"""

from __future__ import annotations

import abc
import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import attrs
import trio

from .._values.errors import TransportError
from .._values.messages import Message
from .._values.topics import TopicFilter
from ._delivery import Delivery
from ._line.patience import Patience

OnDone = Callable[[TransportError | None], None]


@attrs.frozen(kw_only=True)
class ConnectOptions:
    """What one CONNECT says. Times are seconds.

    Attributes:
        client_id: names the session at the broker; never empty.
        clean_start: throw away what the broker kept under this client ID.
        session_expiry: how long the broker keeps the session after the link (MQTT 5). 0 with
            3.1.1 means a clean session.
        keep_alive: longest silence on the wire.
        receive_maximum: unacknowledged QoS 1 messages that the broker may send (MQTT 5).
        publish_maximum: unacknowledged QoS 1 publishes that the link sends at once.
        payload_max: bytes; a larger message to be published is refused by the link.
        packet_maximum: bytes of the longest packet that the broker may send, as CONNECT says it
            (MQTT 5); 0 to say nothing.
        will: published by the broker when the link dies without DISCONNECT.
        will_delay: seconds that the broker waits before that, in which a new link of the session
            takes the will back (MQTT 5.0, section 3.1.3.2.2).
        connect_timeout: longest silence on the way to CONNACK: the connection, TLS, CONNACK.
        subscribe_timeout: longest silence while a SUBACK or UNSUBACK is awaited.
        disconnect_timeout: for DISCONNECT and closing, shielded.
    """

    client_id: str
    clean_start: bool = False
    session_expiry: int = 3600
    keep_alive: int = 20
    receive_maximum: int = 100
    publish_maximum: int = 100
    payload_max: int = 128 * 1024
    packet_maximum: int = 0
    will: Message | None = None
    will_delay: int = 0
    connect_timeout: float = 10.0
    subscribe_timeout: float = 10.0
    disconnect_timeout: float = 2.0


async def wait_within(done: trio.Event, patience: Patience) -> bool:
    """Wait for it; False when patience is over before. See `Link.patience`."""
    while not done.is_set():
        with trio.move_on_at(patience.next_look(trio.current_time())):
            await done.wait()
        # Where something has held up all tasks, an answer may wait to be read: that goes first.
        await trio.lowlevel.checkpoint()
        if not done.is_set() and patience.is_over(trio.current_time()):
            return False
    return True


class Link(abc.ABC):
    """One live connection to a broker. Made by `Transport.connect`, and good until it is lost.

    Every method that waits raises `ConnectionLost` when the link is lost, and `receive` does so
    after it has given out what had arrived. Used by one runtime: `receive` by one task at a time.
    """

    @property
    @abc.abstractmethod
    def session_present(self) -> bool:
        """Whether the broker had kept the session."""

    @property
    @abc.abstractmethod
    def publish_maximum(self) -> int:
        """How many of our messages may wait for their PUBACK on this link."""

    @property
    def broker_limits(self) -> Mapping[str, int]:
        """What the broker's CONNACK limits (MQTT 5.0, section 3.2.2.3), by the names there.

        `receive_maximum`, `maximum_packet_size`, `maximum_qos`, `retain_available` (0),
        `session_expiry_interval` and `server_keep_alive`; without those that say nothing beyond
        what MQTT says anyway. Empty with MQTT 3.1.1.
        """
        return {}

    @property
    @abc.abstractmethod
    def session_expiry(self) -> int:
        """Seconds for which the session is kept after this link, as granted; 0 for not at all.

        With MQTT 3.1.1, where nothing is granted, as it was asked for.
        """

    @property
    def retries_by_itself(self) -> bool:
        """Whether each message is tried again behind this link until its outcome is final.

        If so, a loss says nothing against what was in flight, a refusal is the last word, and
        outcomes come in no order. An MQTT broker does none of that.
        """
        return False

    @property
    @abc.abstractmethod
    def ended(self) -> trio.Event:
        """Set when the link is lost. For those who wait for something else than this link.

        While nobody receives, a link may not notice: it does not read then, and a broker that
        went away without a word is found by reading.
        """

    @abc.abstractmethod
    async def subscribe(self, filters: Sequence[TopicFilter]) -> Sequence[int]:
        """Subscribe at QoS 1 and wait for the SUBACK. Sync in spirit: all or an error.

        Returns:
            The QoS that was granted to each filter, in order. 0 is less than was asked for: a
            message that is lost with a link does not come again.

        On MQTT 5 with retain handling 1, so that a resumed session is not sent its retained
        messages again.

        Raises:
            RejectedByBroker: the broker refused one of the filters.
            ConnectionLost: the link is gone, or there was no answer, by the rule of `patience`
                with `subscribe_timeout`.
        """

    @abc.abstractmethod
    async def unsubscribe(self, filters: Sequence[TopicFilter]) -> None:
        """Unsubscribe and wait for the UNSUBACK.

        Raises:
            ConnectionLost: as for `subscribe`.
        """

    @abc.abstractmethod
    async def receive(self) -> Sequence[Delivery]:
        """Wait for deliveries and return all that are there: at least one, in order.

        While nobody receives, the link's small buffer fills and then it stops reading its
        socket; the keep alive is not judged in that time.

        Cancellation: deliveries are returned or kept, never lost.

        Raises:
            ConnectionLost: the link is gone and everything that had arrived was returned.
        """

    async def deliver(self, sink: Callable[[Sequence[Delivery]], bool]) -> None:
        """Give every batch of deliveries to `sink`, until it returns False.

        What `receive` in a loop does, which this is by default. A link may call `sink` in the task
        that reads, and so save the wake-up of another; so it must be quick, and must not raise.

        Cancellation: deliveries are given to `sink` or kept, never lost.

        Raises:
            ConnectionLost: the link is gone and everything that had arrived was given.
        """
        while sink(await self.receive()):
            pass

    @abc.abstractmethod
    def publish_nowait(self, message: Message, on_done: OnDone) -> None:
        """Hand a message to the link; it leaves with others at the end of this wake-up.

        A broker that takes QoS 0 alone, or retains nothing, is sent it that way (MQTT 5); see
        `broker_limits`.

        `on_done` is called exactly once, in a Trio task's context or in the event loop's own,
        never inside this call: with None at the PUBACK (QoS 0: when it was handed over), with
        `RejectedByBroker` when the PUBACK is an error or the message is over the broker's bound,
        with `ConnectionLost` when the link is lost or left before that. It must not raise.

        Raises:
            trio.WouldBlock: as many as the broker allows wait for their PUBACK already.
            ConnectionLost: the link is gone; `on_done` will not be called.
        """

    @property
    def last_heard(self) -> float:
        """When bytes of the broker last came, be it half a message; on Trio's clock.

        Minus infinity where there are no bytes, as by default.
        """
        return -math.inf

    def echo(self, *, ask: bool = False) -> tuple[float, float]:
        """When a PINGREQ was sent, the last whose own PINGRESP has come, and when that came.

        On Trio's clock; minus infinity where there is none, as by default. With `ask`, one more is
        sent behind all that was published before, unless one waits for its answer.
        """
        return -math.inf, -math.inf

    def unread(self) -> int:
        """Bytes that have come and are not read; 0 where nobody knows, as by default."""
        return 0

    def patience(self, limit: float, since: float | None = None) -> Patience:
        """How long an answer of the broker on this link is waited for; by default a time.

        On a line of bytes, which may be slow, the limit is one of silence; see `_patience`.

        Args:
            limit: seconds.
            since: when it was asked for, on Trio's clock; None for now.
        """
        return Patience(limit, trio.current_time() if since is None else since)

    async def publish(self, message: Message, *, limit: float = math.inf) -> None:
        """Publish and wait for the PUBACK.

        For the few messages that have to be out before something else happens. Without a limit it
        has to be bounded by its caller. Cancellation: the message may or may not have been sent.

        Args:
            message: see `publish_nowait`.
            limit: seconds, by the rule of `patience`; who sets it has to read the link meanwhile.

        Raises:
            RejectedByBroker: see `publish_nowait`.
            ConnectionLost: the link was lost before the PUBACK.
            trio.TooSlowError: there was no PUBACK.
        """
        outcome: list[TransportError | None] = []
        done = trio.Event()

        def on_done(error: TransportError | None) -> None:
            outcome.append(error)
            done.set()

        with trio.fail_after(limit):
            while True:
                try:
                    self.publish_nowait(message, on_done)
                    break
                except trio.WouldBlock:
                    await self.wait_publishable()
        if math.isinf(limit):
            await done.wait()
        elif not await wait_within(done, self.patience(limit)):
            raise trio.TooSlowError
        if outcome[0] is not None:
            raise outcome[0]

    @abc.abstractmethod
    async def wait_publishable(self) -> None:
        """Wait until `publish_nowait` would not raise `trio.WouldBlock`.

        Raises:
            ConnectionLost: the link is gone.
        """


class Transport(abc.ABC):
    """Makes links. Knows addresses, TLS and credentials, and nothing of commands."""

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """What lives longer than a link, and around all of them; by default there is nothing.

        Raises:
            ConfigError: the settings cannot work.
        """
        yield

    @abc.abstractmethod
    def connect(self, options: ConnectOptions) -> AbstractAsyncContextManager[Link]:
        """A context manager that connects on entry and disconnects on exit.

        Leaving it, also by cancellation or an error, sends DISCONNECT (so the will is not
        published) unless the link is lost; that is shielded and bounded by
        `disconnect_timeout`. Exceptions of the block come out as they are, not in a group.

        Raises:
            ConnectFailed: no connection, or no CONNACK within `connect_timeout`.
            RejectedByBroker: CONNACK with an error.
            ConfigError: the settings cannot work whatever the network does, such as a
                certificate file that cannot be read.
        """
