"""The native link over a line of 8 kB/s down and 1.2 kB/s up: slow is not dead, dead is found."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import mqtt5
import pytest
import trio
from trio.testing import MockClock

from petalkit._values.errors import ConnectFailed, ConnectionLost
from petalkit._values.messages import Message
from petalkit._values.topics import TopicFilter
from petalkit.transports import ConnectOptions, Link
from petalkit.transports._connecting.sockets import CONNECT_FACTOR
from petalkit.transports._line.patience import LONGEST_WAIT
from petalkit.transports._receiving.bounded_inbox import BUFFER_MESSAGES, WAITING_FACTOR

from ..scripted_peer import RESUMED, Outcomes, Peer, collect, publish
from ..slow_line import DOWN, UP, SlowNetwork

pytestmark = pytest.mark.trio

OPTIONS = ConnectOptions(client_id="device")
KEEP_ALIVE = OPTIONS.keep_alive
LIMIT = OPTIONS.subscribe_timeout
T = TopicFilter("t")


@pytest.fixture
def network(nursery: trio.Nursery) -> SlowNetwork:
    return SlowNetwork(nursery)


def pong(*, subacks: bool, pings: bool) -> Callable[[Peer], object]:
    """A broker that is polite but for what is left out."""

    def make(peer: Peer) -> None:
        polite = peer._answer

        async def answer(found: mqtt5.Packet) -> None:
            if isinstance(found, mqtt5.SubscribePacket) and not subacks:
                return
            if isinstance(found, mqtt5.PingReqPacket) and not pings:
                return
            await polite(found)

        peer.polite = True
        peer._answer = answer  # type: ignore[method-assign]

    return make


# -- the way down


@pytest.mark.parametrize(("count", "size"), [(1, 100_000), (30, 10_000)])
async def test_a_suback_behind_a_replayed_session_is_waited_for_while_that_comes(
    network: SlowNetwork, nursery: trio.Nursery, autojump_clock: MockClock, count: int, size: int
) -> None:
    network.polite = True
    network.greet(RESUMED, *[publish(number, bytes(size)) for number in range(1, count + 1)])
    async with network.transport.connect(OPTIONS) as link:
        await link.subscribe([T])
        took = trio.current_time()
        assert count * size / DOWN <= took < count * size / DOWN + 1
        assert took > LIMIT
        assert len(await collect(link, count)) == count
        await trio.sleep(3 * KEEP_ALIVE)
        assert not link.ended.is_set()


async def test_a_puback_behind_a_replayed_session_is_waited_for(
    network: SlowNetwork, autojump_clock: MockClock
) -> None:
    network.polite = True
    network.greet(RESUMED, publish(1, bytes(100_000)))
    async with network.transport.connect(OPTIONS) as link:
        await link.publish(Message("status", b"online"), limit=LIMIT)
        assert trio.current_time() >= 100_000 / DOWN > LIMIT


@pytest.mark.parametrize("asked", [True, False])
async def test_silence_ends_the_wait_for_an_answer_in_the_limit(
    nursery: trio.Nursery, autojump_clock: MockClock, asked: bool
) -> None:
    network = SlowNetwork(nursery, asked=asked)
    async with network.transport.connect(OPTIONS) as link:
        started = trio.current_time()
        with pytest.raises(ConnectionLost, match="no SUBACK in time"):
            await link.subscribe([T])
        assert LIMIT <= trio.current_time() - started <= LIMIT + 0.5


async def test_a_broker_that_talks_and_never_answers_is_given_up_when_it_could_have(
    network: SlowNetwork, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """It answers a PINGREQ that was sent later: nothing stands before the SUBACK any more."""
    async with network.transport.connect(OPTIONS) as link:
        pong(subacks=False, pings=True)(network.peer)
        nursery.start_soon(talk, network.peer)
        started = trio.current_time()
        with pytest.raises(ConnectionLost, match="no SUBACK in time"):
            await link.subscribe([T])
        assert LIMIT <= trio.current_time() - started <= LIMIT + 1


async def test_as_much_time_again_as_the_line_takes_for_a_ping(
    network: SlowNetwork, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    backlog = 200_000
    network.greet(RESUMED, publish(1, bytes(backlog)))
    async with network.transport.connect(OPTIONS) as link:
        pong(subacks=False, pings=True)(network.peer)
        nursery.start_soon(talk, network.peer)
        with pytest.raises(ConnectionLost, match="no SUBACK in time"):
            await link.subscribe([T])
        trip = backlog / DOWN
        assert 2 * trip <= trio.current_time() <= 2 * trip + LIMIT


async def test_a_broker_that_only_talks_is_given_up_after_an_hour(
    nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.transports.scripted_peer.LIMIT", 2 * LONGEST_WAIT)
    network = SlowNetwork(nursery)
    async with network.transport.connect(OPTIONS) as link:
        nursery.start_soon(talk, network.peer)
        nursery.start_soon(read, link)
        with pytest.raises(ConnectionLost, match="no SUBACK in time"):
            await link.subscribe([T])
        assert trio.current_time() == pytest.approx(LONGEST_WAIT, abs=LIMIT)


async def test_a_wait_ends_where_nobody_takes_what_stands_before_the_answer(
    network: SlowNetwork, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """Reading stops at a bound, and then the answer cannot come any more."""
    bound = BUFFER_MESSAGES * WAITING_FACTOR
    network.polite = True
    network.greet(RESUMED, *[publish(0, bytes(50))] * (bound + 10_000))
    async with network.transport.connect(OPTIONS) as link:
        with pytest.raises(ConnectionLost, match="no SUBACK in time"):
            await link.subscribe([T])
        assert trio.current_time() < bound * 60 / DOWN + 2 * LIMIT


async def read(link: Link) -> None:
    with contextlib.suppress(ConnectionLost):
        while True:
            await link.receive()


async def talk(peer: Peer) -> None:
    """Commands of QoS 0, a few bytes every second, until the link is gone."""
    try:
        while not peer.gone.is_set():
            await peer.send(publish(0, b"x"))
            await trio.sleep(1)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass


# -- the way up


@pytest.mark.parametrize("asked", [True, False])
async def test_an_answer_of_100_kb_arrives_and_nothing_is_ended_meanwhile(
    nursery: trio.Nursery, autojump_clock: MockClock, asked: bool
) -> None:
    """The PINGREQ stands behind it, in the kernel; or, if that cannot be asked, before it."""
    network = SlowNetwork(nursery, asked=asked)
    network.polite = True
    async with network.transport.connect(OPTIONS) as link:
        await link.publish(Message("response", bytes(100_000)))
        assert 100_000 / UP <= trio.current_time() < 100_000 / UP + 10
        await link.publish(Message("response", b"small"))
        assert not link.ended.is_set()
    assert len(network.peers) == 1


async def test_a_line_that_stops_is_found_dead_however_much_waits(
    network: SlowNetwork, autojump_clock: MockClock
) -> None:
    """Half open: nothing is acknowledged any more, in the middle of 100 KB."""
    network.polite = True
    outcomes = Outcomes()
    async with network.transport.connect(OPTIONS) as link:
        link.publish_nowait(Message("response", bytes(100_000)), outcomes)
        await trio.sleep(47)
        network.lines[-1].up = 0
        stopped = trio.current_time()
        await link.ended.wait()
        assert trio.current_time() - stopped <= 1.5 * KEEP_ALIVE
        with pytest.raises(ConnectionLost, match="no sign of life"):
            await link.receive()


async def test_a_broker_that_hangs_is_found_dead_though_its_kernel_takes_bytes(
    network: SlowNetwork, autojump_clock: MockClock
) -> None:
    """What leaves behind the PINGREQ is no sign of life."""
    async with network.transport.connect(OPTIONS) as link:
        started = trio.current_time()
        while not link.ended.is_set():
            link.publish_nowait(Message("event", bytes(200), qos=0), lambda _: None)
            await trio.sleep(0.5)
        assert trio.current_time() - started <= 1.75 * KEEP_ALIVE


# -- connecting


async def test_a_connack_in_pieces_is_waited_for_and_one_that_trickles_is_not(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    network = SlowNetwork(nursery)
    properties = [("a" * 100, "b" * 100)] * 3
    accepted = mqtt5.ConnAckPacket(user_properties=properties).write()
    pause = 0.8 * OPTIONS.connect_timeout

    def trickle(piece: int) -> None:
        async def run() -> None:
            peer = network.peer
            await peer.expect(mqtt5.ConnectPacket)
            try:
                for start in range(0, len(accepted), piece):
                    await peer.send(accepted[start : start + piece])
                    await trio.sleep(pause)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

        nursery.start_soon(run)

    network.greetings = [[]]
    pair = network.pair

    def starting(piece: int) -> None:
        def make() -> tuple[trio.abc.Stream, trio.abc.Stream]:
            streams = pair()
            nursery.start_soon(start)
            return streams

        async def start() -> None:
            await trio.sleep(0.01)
            trickle(piece)

        network.pair = make

    starting(len(accepted) // 3 + 1)
    async with network.transport.connect(OPTIONS):
        assert trio.current_time() > OPTIONS.connect_timeout
    starting(1)
    started = trio.current_time()
    with pytest.raises(ConnectFailed, match="no CONNACK in time"):
        async with network.transport.connect(OPTIONS):
            raise AssertionError("it has not come")
    took = trio.current_time() - started
    assert took == pytest.approx(CONNECT_FACTOR * OPTIONS.connect_timeout)


async def test_no_connack_costs_the_limit(network: SlowNetwork, autojump_clock: MockClock) -> None:
    network.greetings = [[]]
    with pytest.raises(ConnectFailed, match="no CONNACK in time"):
        async with network.transport.connect(OPTIONS):
            raise AssertionError("it has not come")
    assert trio.current_time() == pytest.approx(OPTIONS.connect_timeout, abs=0.5)
