"""A broker of MQTT 5 at the other end of a stream in memory, which does what a test tells it.

No sockets and no real time: what is sent waits in the stream until it is read, so most tests tell
their story from top to bottom. Packets are the codec's own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import mqtt5
import trio
import trio.testing

from petalkit._values.errors import TransportError
from petalkit._values.messages import Message
from petalkit._values.settings.settings import Settings
from petalkit._values.topics import TopicFilter
from petalkit.transports import Delivery, Link
from petalkit.transports.native import NativeTransport

from .links import OPTIONS

P = TypeVar("P", bound=mqtt5.Packet)

LIMIT = 1000.0  # seconds of a mocked clock
ACCEPTED = mqtt5.ConnAckPacket()
RESUMED = mqtt5.ConnAckPacket(session_present=True)
GRANTED = mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE


KEEP_ALIVE = OPTIONS.keep_alive
DEATH = KEEP_ALIVE / 2  # after a PINGREQ without an answer
T = TopicFilter("t")


def out(number: int = 0, *, qos: int = 1) -> Message:
    return Message("out", b"%d" % number, qos)


class Peer:
    """The broker's end of one connection: reads all the time, and keeps what it was sent.

    Attributes:
        ours: the client's end, to put hooks on.
        polite: answers what has an answer by itself.
        received: every packet, in order.
        writes: how many packets came in each write of the client.
        gone: set when the client has closed its direction.
        closes: closes its own direction then.
    """

    def __init__(self, ours: trio.abc.Stream, theirs: trio.abc.Stream, *, polite: bool) -> None:
        self.ours = ours
        self.stream = theirs
        self.polite = polite
        self.received: list[mqtt5.Packet] = []
        self.writes: list[int] = []
        self.gone = trio.Event()
        self.closes = True
        self._expected = 0  # of the received, how many were expected
        self._more = trio.Event()

    async def run(self, greeting: Sequence[mqtt5.Packet | bytes] = ()) -> None:
        with contextlib.suppress(trio.ClosedResourceError):  # by `close`
            await self._read(greeting)
        self.gone.set()
        self._wake()
        if self.closes:
            await self.close()

    async def close(self) -> None:
        """Hang up."""
        await self.stream.aclose()

    async def _read(self, greeting: Sequence[mqtt5.Packet | bytes]) -> None:
        buffer = b""
        while data := await self.stream.receive_some():
            buffer += bytes(data)
            before = len(self.received)
            if greeting and not before:
                await self.send(*greeting)
            while buffer:
                try:
                    found, size = mqtt5.read(memoryview(buffer))
                except IndexError:
                    break
                buffer = buffer[size:]
                self.received.append(found)
                if self.polite:
                    await self._answer(found)
            self.writes.append(len(self.received) - before)
            self._wake()

    def _wake(self) -> None:
        self._more.set()
        self._more = trio.Event()

    async def _answer(self, found: mqtt5.Packet) -> None:
        match found:
            case mqtt5.SubscribePacket():
                await self.send(
                    mqtt5.SubAckPacket(found.packet_id, [GRANTED] * len(found.topic_filters))
                )
            case mqtt5.UnsubscribePacket():
                success = mqtt5.UnsubAckReasonCode.SUCCESS
                await self.send(
                    mqtt5.UnsubAckPacket(found.packet_id, [success] * len(found.patterns))
                )
            case mqtt5.PublishPacket() if found.packet_id:
                await self.send(mqtt5.PubAckPacket(found.packet_id))
            case mqtt5.PingReqPacket():
                await self.send(mqtt5.PingRespPacket())
            case _:
                pass

    async def send(self, *packets: mqtt5.Packet | bytes) -> None:
        """All in one write."""
        data = [each if isinstance(each, bytes) else each.write() for each in packets]
        await self.stream.send_all(b"".join(data))

    async def expect(self, kind: type[P]) -> P:
        """The next packet of this kind; others before it are passed over."""
        while True:
            while self._expected < len(self.received):
                found = self.received[self._expected]
                self._expected += 1
                if isinstance(found, kind):
                    return found
            assert not self.gone.is_set(), f"the client closed; it had sent {self.names()}"
            await self._more.wait()

    def of(self, kind: type[P]) -> list[P]:
        return [each for each in self.received if isinstance(each, kind)]

    def names(self) -> list[str]:
        return [type(each).__name__.removesuffix("Packet").upper() for each in self.received]

    def on_write(self, hook: Callable[[], Awaitable[object]]) -> None:
        """Called in each write of the client, whose bytes are passed on when it returns.

        For a `memory_stream_pair`.
        """
        assert isinstance(self.ours, trio.StapledStream)
        send_stream: trio.testing.MemorySendStream = self.ours.send_stream
        assert isinstance(self.stream, trio.StapledStream)
        receive_stream: trio.testing.MemoryReceiveStream = self.stream.receive_stream

        async def write() -> None:
            await hook()
            trio.testing.memory_stream_pump(send_stream, receive_stream)

        send_stream.send_all_hook = write
        send_stream.close_hook = receive_stream.put_eof  # the rest never comes


class Network:
    """Where a transport's streams lead: each to a new `Peer`.

    Args:
        nursery: for the peers.
        settings: of the transport.

    Attributes:
        greetings: what each peer in turn answers to CONNECT; the last is for all others.
        polite: see `Peer`.
        pair: makes the streams.
        peers: of all connections so far.
    """

    def __init__(self, nursery: trio.Nursery, settings: Settings | None = None) -> None:
        self.transport = NativeTransport(
            settings or Settings(transport="native"), open_stream=self._open
        )
        self.greetings: list[list[mqtt5.Packet | bytes]] = [[ACCEPTED]]
        self.polite = False
        self.pair: Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]]
        self.pair = trio.testing.memory_stream_pair
        self.peers: list[Peer] = []
        self._nursery = nursery
        nursery.start_soon(self._watch)

    async def _watch(self) -> None:
        """End a test in which everybody waits: on a clock that jumps, that is when this wakes."""
        await trio.sleep(LIMIT)
        raise AssertionError(
            f"{LIMIT:g} s have passed on the mocked clock: somebody waits for ever"
        )

    def greet(self, *packets: mqtt5.Packet | bytes) -> None:
        self.greetings = [list(packets)]

    @property
    def peer(self) -> Peer:
        """Of the newest connection."""
        return self.peers[-1]

    async def _open(self) -> trio.abc.Stream:
        ours, theirs = self.pair()
        peer = Peer(ours, theirs, polite=self.polite)
        greeting = self.greetings[min(len(self.peers), len(self.greetings) - 1)]
        self.peers.append(peer)
        self._nursery.start_soon(peer.run, greeting)
        return ours


class Outcomes:
    """An `on_done` that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[TransportError | None] = []
        self._more = trio.Event()

    def __call__(self, error: TransportError | None) -> None:
        self.told.append(error)
        self._more.set()
        self._more = trio.Event()

    async def wait(self, count: int) -> list[TransportError | None]:
        while len(self.told) < count:
            await self._more.wait()
        return self.told


def publish(number: int, payload: bytes | None = None) -> mqtt5.PublishPacket:
    """A PUBLISH of QoS 1 that has its packet identifier as payload, too; of QoS 0 for 0."""
    qos = mqtt5.QoS.AT_LEAST_ONCE if number else mqtt5.QoS.AT_MOST_ONCE
    return mqtt5.PublishPacket(
        "t", b"%d" % number if payload is None else payload, qos=qos, packet_id=number or None
    )


class Feeder:
    """Sends to a client over a lockstep stream: what it has sent was read."""

    def __init__(self, network: Network, payload: bytes | None = None) -> None:
        self.network = network
        self.payload = payload
        self.sent = 0

    async def run(self) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # it left
            while True:
                await self.network.peer.send(publish(self.sent + 1, self.payload))
                self.sent += 1


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [int(each.payload) for each in deliveries]


async def collect(link: Link, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    with trio.fail_after(LIMIT):
        while len(found) < count:
            found += await link.receive()
    return found
