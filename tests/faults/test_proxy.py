"""What each fault does to the bytes between a device and a broker, on streams in memory."""

from __future__ import annotations

import contextlib

import pytest
import trio
import trio.testing
from trio.testing import MemoryReceiveStream, MemorySendStream, MockClock

from .connection import LINGER
from .faults import (
    DOWN,
    UP,
    Cut,
    Delay,
    Duplicate,
    Fault,
    ForgetSession,
    Glue,
    HalfOpen,
    Line,
    Refuse,
    Split,
    Swallow,
)
from .packets import DISCONNECT, Direction, Framer, Kind, Packet, clean_connect
from .proxy import FaultProxy, How

pytestmark = pytest.mark.trio

CONNECT = clean_connect("device")
CONNACK = bytes([0x20, 2, 0, 0])
PING = bytes([0xC0, 0])


def publish(number: int, payload: bytes = b"...") -> bytes:
    body = b"\x00\x01t" + number.to_bytes(2, "big") + payload
    return bytes([0x32, len(body)]) + body


def puback(number: int) -> bytes:
    return bytes([0x40, 2]) + number.to_bytes(2, "big")


def suback(number: int) -> bytes:
    return bytes([0x90, 3]) + number.to_bytes(2, "big") + b"\x01"


class End(trio.abc.HalfCloseableStream):
    """A stream that keeps what is written to it, write by write."""

    def __init__(self, stream: trio.StapledStream[MemorySendStream, MemoryReceiveStream]) -> None:
        self._stream = stream
        self.writes: list[bytes] = []

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


class Peer:
    """One who talks to the proxy: keeps all that comes, and knows when it has ended."""

    def __init__(self, stream: trio.abc.Stream, seen: End) -> None:
        self.stream = stream
        self.seen = seen  # the proxy's end
        self.received = b""
        self.ended = trio.Event()

    async def read(self) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await self.stream.receive_some():
                self.received += bytes(data)
        self.ended.set()

    async def send(self, *packets: bytes) -> None:
        await self.stream.send_all(b"".join(packets))
        await trio.testing.wait_all_tasks_blocked()

    def take(self) -> bytes:
        """What has come since the last time."""
        taken, self.received = self.received, b""
        return taken


class Net:
    """Devices and broker's ends around a proxy."""

    def __init__(self, nursery: trio.Nursery, line: Line | None = None) -> None:
        self._nursery = nursery
        self.proxy = FaultProxy(self._open_broker, line=line)
        self.brokers: list[Peer] = []

    def _peer(self) -> tuple[Peer, End]:
        ours, theirs = trio.testing.memory_stream_pair()
        end = End(theirs)
        peer = Peer(ours, end)
        self._nursery.start_soon(peer.read)
        return peer, end

    async def _open_broker(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        peer, end = self._peer()
        self.brokers.append(peer)
        return end

    async def open(self) -> Peer:
        """A device connects, and says nothing yet."""
        device, end = self._peer()
        self._nursery.start_soon(self.proxy.serve, end)
        await trio.testing.wait_all_tasks_blocked()
        return device

    async def link(self) -> tuple[Peer, Peer]:
        """A device that is connected, and the broker's end."""
        device = await self.open()
        broker = self.brokers[-1]
        await device.send(CONNECT)
        assert broker.take() == CONNECT
        await broker.send(CONNACK)
        assert device.take() == CONNACK
        return device, broker


@pytest.fixture
def net(nursery: trio.Nursery) -> Net:
    return Net(nursery)


async def test_without_faults_bytes_pass_as_they_came(net: Net) -> None:
    device, broker = await net.link()
    await device.send(publish(1), puback(7), PING)
    await broker.send(publish(2))
    assert broker.take() == publish(1) + puback(7) + PING
    assert device.take() == publish(2)
    assert broker.seen.writes[-1] == publish(1) + puback(7) + PING, "in one write, as it came"
    assert net.proxy.passed[UP, Kind.PUBLISH] == net.proxy.passed[DOWN, Kind.PUBLISH] == 1


async def test_an_end_is_passed_on_and_the_other_direction_goes_on_for_a_while(
    net: Net, autojump_clock: MockClock
) -> None:
    device, broker = await net.link()
    assert isinstance(device.stream, trio.StapledStream)
    await device.stream.send_eof()
    await broker.ended.wait()
    await broker.send(publish(1))
    assert device.take() == publish(1)
    start = trio.current_time()
    await device.ended.wait()
    assert trio.current_time() - start == LINGER


@pytest.mark.parametrize(
    ("place", "passed"),
    [("before", b""), ("middle", publish(2)[: len(publish(2)) // 2]), ("after", publish(2))],
)
async def test_a_cut_at_a_packet(net: Net, place: str, passed: bytes) -> None:
    device, broker = await net.link()
    cut = net.proxy.arm(Fault(Cut(place), DOWN, Kind.PUBLISH, 2))  # type: ignore[arg-type]
    await broker.send(publish(1), suback(1), publish(2), publish(3))
    assert device.take() == publish(1) + suback(1) + passed
    assert cut.happened.is_set()
    await device.ended.wait()
    await broker.ended.wait()


async def test_a_slow_line_passes_so_many_bytes_a_second(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    net = Net(nursery, Line(down=8000, up=1200))
    device, broker = await net.link()
    long = publish(1, bytes(100)) * 100
    for sender, receiver, rate in ((device, broker, 1200), (broker, device, 8000)):
        start = trio.current_time()
        await sender.send(long)
        await trio.sleep(len(long) / rate / 2)
        assert 0.4 * len(long) <= len(receiver.received) <= 0.6 * len(long)
        while len(receiver.received) < len(long):
            await trio.sleep(0.1)
        assert receiver.take() == long
        assert abs(trio.current_time() - start - len(long) / rate) < 1


@pytest.mark.parametrize("direction", [UP, DOWN])
async def test_half_open_swallows_both_ways_and_keeps_both_sides(
    net: Net, autojump_clock: MockClock, direction: Direction
) -> None:
    device, broker = await net.link()
    start = trio.current_time()
    net.proxy.arm(Fault(HalfOpen(30), direction, Kind.PUBLISH))
    await (device if direction is UP else broker).send(publish(1))
    await device.send(puback(1))
    await broker.send(publish(2))
    assert device.take() == broker.take() == b""
    await device.stream.aclose()
    await trio.sleep(29 - (trio.current_time() - start))
    assert not broker.ended.is_set(), "the broker does not hear that the device has gone"
    await broker.ended.wait()
    assert trio.current_time() - start == 30


async def test_a_delay_holds_a_packet_and_all_behind_it(
    net: Net, autojump_clock: MockClock
) -> None:
    device, broker = await net.link()
    net.proxy.arm(Fault(Delay(5), UP, Kind.PUBACK))
    await device.send(publish(1), puback(1), publish(2))
    assert broker.take() == publish(1)
    await broker.send(publish(9))
    assert device.take() == publish(9), "the other direction goes on"
    await trio.sleep(4.9)
    assert broker.take() == b""
    await trio.sleep(0.2)
    assert broker.take() == puback(1) + publish(2)


@pytest.mark.parametrize("dup", [True, False])
async def test_a_publish_comes_twice_and_the_broker_sees_one_puback(net: Net, dup: bool) -> None:
    device, broker = await net.link()
    net.proxy.arm(Fault(Duplicate(dup), DOWN, Kind.PUBLISH))
    await broker.send(publish(1))
    first, second = Framer().feed(device.take())
    assert first.raw == publish(1)
    assert (second.dup, second.raw[1:]) == (dup, first.raw[1:])
    await device.send(puback(1), puback(1), puback(2))
    assert broker.take() == puback(1) + puback(2)
    await device.send(puback(1))
    assert broker.take() == puback(1), "that ID is free for another"


@pytest.mark.parametrize(
    ("direction", "packet"), [(UP, puback(3)), (DOWN, puback(3)), (DOWN, suback(3))]
)
async def test_one_packet_is_swallowed(net: Net, direction: Direction, packet: bytes) -> None:
    device, broker = await net.link()
    sender, receiver = (device, broker) if direction is UP else (broker, device)
    kind = Kind(packet[0] >> 4)
    net.proxy.arm(Fault(Swallow(), direction, kind))
    await sender.send(publish(1), packet, publish(2), packet)
    assert receiver.take() == publish(1) + publish(2) + packet


async def test_a_connack_is_swallowed(net: Net) -> None:
    net.proxy.arm(Fault(Swallow(), DOWN, Kind.CONNACK))
    device = await net.open()
    await device.send(CONNECT)
    await net.brokers[0].send(CONNACK)
    assert device.take() == b""
    assert not device.ended.is_set()


async def test_packets_are_sent_byte_by_byte(net: Net) -> None:
    device, broker = await net.link()
    net.proxy.arm(Fault(Split(packets=2), DOWN, Kind.PUBLISH))
    before = len(device.seen.writes)
    await broker.send(publish(1), publish(2), publish(3))
    writes = device.seen.writes[before:]
    both = publish(1) + publish(2)
    assert writes == [*(bytes([byte]) for byte in both), publish(3)]
    assert device.take() == both + publish(3)


async def test_packets_are_sent_in_random_pieces(net: Net) -> None:
    device, broker = await net.link()
    net.proxy.arm(Fault(Split(most=5), DOWN, Kind.PUBLISH))
    before = len(device.seen.writes)
    await broker.send(publish(1, b"x" * 100))
    sizes = {len(write) for write in device.seen.writes[before:]}
    assert len(sizes) > 1
    assert max(sizes) <= 5
    assert device.take() == publish(1, b"x" * 100)


async def test_packets_are_held_and_sent_in_one_write(net: Net) -> None:
    device, broker = await net.link()
    net.proxy.arm(Fault(Glue(packets=3, seconds=60), DOWN, Kind.PUBLISH))
    before = len(device.seen.writes)
    await broker.send(publish(1))
    await broker.send(publish(2))
    assert device.take() == b""
    await broker.send(publish(3))
    await broker.send(publish(4))
    assert device.seen.writes[before:] == [publish(1) + publish(2) + publish(3), publish(4)]


async def test_what_is_held_does_not_wait_for_ever_for_more(
    net: Net, autojump_clock: MockClock
) -> None:
    device, broker = await net.link()
    net.proxy.arm(Fault(Glue(packets=3, seconds=2), DOWN, Kind.PUBLISH))
    await broker.send(publish(1))
    await trio.sleep(1.9)
    assert device.take() == b""
    await trio.sleep(0.2)
    assert device.take() == publish(1)


async def test_the_session_is_taken_over_by_a_clean_one_before_the_next_connect(net: Net) -> None:
    lost: list[int] = []
    net.proxy.on_session_lost = lambda: lost.append(len(net.brokers))
    device, broker = await net.link()
    net.proxy.arm(Fault(ForgetSession(), UP, Kind.PUBACK))
    await device.send(puback(1))
    assert broker.take() == puback(1)
    await device.ended.wait()
    assert not lost

    device = await net.open()
    await device.send(CONNECT)
    intruder = net.brokers[2]
    assert intruder.take() == clean_connect("device")
    assert net.brokers[1].take() == b"", "the device waits"
    await intruder.send(CONNACK)
    assert intruder.take() == DISCONNECT
    await intruder.stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert net.brokers[1].take() == CONNECT
    assert lost == [3]


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_connections_are_refused_at_accept(net: Net, how: How) -> None:
    device, _ = await net.link()
    net.proxy.arm(Fault(Refuse(2, how), UP, Kind.PUBACK))
    await device.send(puback(1))
    for _ in range(2):
        device = await net.open()
        await device.ended.wait()
    assert (net.proxy.refused, net.proxy.connections) == (2, 3)
    await net.link()


async def test_connections_are_refused_by_connack(net: Net) -> None:
    device, _ = await net.link()
    net.proxy.arm(Fault(Refuse(1, "connack"), UP, Kind.PUBACK))
    await device.send(puback(1))
    device = await net.open()
    await device.send(CONNECT)
    assert device.take() == bytes([0x20, 2, 0, 3])
    await device.ended.wait()
    assert len(net.brokers) == 1


async def test_who_is_away_refuses_until_it_is_back(net: Net) -> None:
    device, _ = await net.link()
    net.proxy.go_away()
    await device.ended.wait()
    for _ in range(3):
        device = await net.open()
        await device.ended.wait()
    net.proxy.come_back()
    await net.link()


async def test_faults_of_a_schedule_are_counted_from_the_one_before(net: Net) -> None:
    net.proxy.play(
        [
            Fault(Swallow(), DOWN, Kind.PUBLISH, 2),
            Fault(Swallow(), DOWN, Kind.PUBLISH, 2),
            Fault(Cut("before"), DOWN, Kind.PUBLISH),
        ]
    )
    device, broker = await net.link()
    await broker.send(*map(publish, range(1, 7)))
    assert device.take() == publish(1) + publish(3)
    await device.ended.wait()
    assert net.proxy.exhausted
    assert net.proxy.played == {"swallow PUBLISH down": 2, "cut before PUBLISH down": 1}


async def test_an_armed_fault_does_not_stop_the_schedule(net: Net) -> None:
    net.proxy.play([Fault(Swallow(), DOWN, Kind.PUBLISH)] * 2)
    beside = net.proxy.arm(Fault(Swallow(), DOWN, Kind.PUBLISH))
    device, broker = await net.link()
    await broker.send(*map(publish, range(1, 6)))
    assert device.take() == publish(4) + publish(5)
    assert beside.happened.is_set()
    assert net.proxy.exhausted


async def test_healing_ends_everything_and_cuts_once(net: Net) -> None:
    device, broker = await net.link()
    net.proxy.play([Fault(Swallow(), DOWN, Kind.PUBLISH)] * 5)
    net.proxy.half_open(100)
    net.proxy.heal()
    await device.ended.wait()
    device, broker = await net.link()
    await broker.send(publish(1))
    assert device.take() == publish(1)


async def test_a_link_flaps(net: Net, autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    nursery.start_soon(net.proxy.flap, 5)
    start = trio.current_time()
    for times in (1, 2, 3):
        device, _ = await net.link()
        await device.ended.wait()
        assert trio.current_time() - start == 5 * times
    assert net.proxy.played["flap"] == 3


async def test_all_that_a_dead_device_had_sent_arrives_before_it_counts_as_gone(
    net: Net, autojump_clock: MockClock
) -> None:
    device, broker = await net.link()
    net.proxy.arm(Fault(Delay(2), UP, Kind.PUBACK))
    await device.send(puback(1), puback(2))
    await device.stream.aclose()
    silent, other = await net.link()
    net.proxy.arm(Fault(HalfOpen(9e9), UP, Kind.PUBACK))
    await silent.send(puback(3))
    await net.proxy.wait_drained()
    assert broker.take() == puback(1) + puback(2)
    assert other.take() == b""
    assert not net.proxy._live


async def test_all_packets_are_told_before_anything_happens_to_them(net: Net) -> None:
    told: list[tuple[int, Direction, bytes]] = []

    def tell(connection: int, direction: Direction, packet: Packet) -> None:
        told.append((connection, direction, packet.raw))

    net.proxy.on_packet = tell
    net.proxy.arm(Fault(Swallow(), UP, Kind.PUBACK))
    device, _ = await net.link()
    await device.send(puback(1))
    net.proxy.half_open(5)
    await device.send(puback(2))
    assert told == [
        (1, UP, CONNECT), (1, DOWN, CONNACK), (1, UP, puback(1)), (1, UP, puback(2))
    ]  # fmt: skip


async def test_who_does_not_read_holds_up_who_sends() -> None:
    """Nothing is kept in the proxy but one batch."""
    brokers: list[trio.abc.Stream] = []

    async def open_broker() -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        ours, theirs = trio.testing.lockstep_stream_pair()
        brokers.append(theirs)
        return ours

    device, end = trio.testing.lockstep_stream_pair()
    proxy = FaultProxy(open_broker)
    sent = 0

    async def send() -> None:
        nonlocal sent
        while True:
            await device.send_all(publish(1))
            sent += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(proxy.serve, end)
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        assert sent <= 2
        assert await brokers[0].receive_some() == publish(1)
        nursery.cancel_scope.cancel()


async def test_cancelling_ends_connections_in_any_state(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as outer:
        net = Net(outer)
        devices = []
        for fault in (HalfOpen(9e9), Delay(9e9), Glue(9, 9e9), Swallow()):
            device, _ = await net.link()
            net.proxy.arm(Fault(fault, UP, Kind.PUBACK))
            await device.send(puback(1))
            devices.append(device)
        outer.cancel_scope.cancel()
    assert not net.proxy._live
