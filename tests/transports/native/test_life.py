"""The native link over streams in memory: keep alive, leaving, and coming back."""

from __future__ import annotations

import attrs
import mqtt5
import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, wait_all_tasks_blocked

from petalkit._values.errors import ConnectionLost, RejectedByBroker
from petalkit._values.messages import Message

from ..links import OPTIONS
from ..scripted_peer import (
    ACCEPTED,
    DEATH,
    KEEP_ALIVE,
    LIMIT,
    RESUMED,
    Feeder,
    Network,
    Outcomes,
    T,
    collect,
    out,
    publish,
)

pytestmark = pytest.mark.trio

# -- keep alive


async def test_a_silent_link_is_pinged_and_lives_while_it_is_answered(
    network: Network, autojump_clock: MockClock
) -> None:
    network.polite = True
    async with network.transport.connect(OPTIONS) as link:
        for pings in (1, 2, 3):
            await network.peer.expect(mqtt5.PingReqPacket)
            assert trio.current_time() == pings * KEEP_ALIVE
        assert not link.ended.is_set()


async def test_a_link_that_hears_and_says_nothing_pings_in_time(
    network: Network, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """MQTT 5.0, section 3.1.2.10: something has to be sent, however much is heard."""
    async with network.transport.connect(OPTIONS) as link:

        @nursery.start_soon
        async def broker() -> None:
            for _ in range(3 * KEEP_ALIVE):
                await trio.sleep(1)
                await network.peer.send(publish(0))

        await collect(link, 3 * KEEP_ALIVE - 1)
        assert len(network.peer.of(mqtt5.PingReqPacket)) == 2
        assert not link.ended.is_set()


async def test_a_link_that_is_busy_both_ways_needs_no_ping(
    network: Network, autojump_clock: MockClock
) -> None:
    network.polite = True
    async with network.transport.connect(OPTIONS) as link:
        for _ in range(3 * KEEP_ALIVE):
            await trio.sleep(1)
            await link.publish(out())
        assert network.peer.of(mqtt5.PingReqPacket) == []


async def test_a_link_that_speaks_and_hears_nothing_is_found_dead(
    network: Network, autojump_clock: MockClock
) -> None:
    """Half open: what is sent goes nowhere, and nobody says so."""
    async with network.transport.connect(OPTIONS) as link:
        while not link.ended.is_set():
            link.publish_nowait(out(qos=0), lambda _: None)
            await trio.sleep(1)
        assert KEEP_ALIVE + DEATH <= trio.current_time() <= KEEP_ALIVE + DEATH + 1
        with pytest.raises(ConnectionLost, match="no sign of life from the broker within 20 s"):
            await link.receive()


async def test_an_answer_that_waits_to_be_read_counts_however_late_it_is(
    network: Network, mock_clock: MockClock
) -> None:
    """Something blocks all tasks for longer than that may take; then they run in any order."""
    for _ in range(20):
        async with network.transport.connect(OPTIONS) as link:
            await wait_all_tasks_blocked()
            mock_clock.jump(KEEP_ALIVE)
            await wait_all_tasks_blocked()
            assert len(network.peer.of(mqtt5.PingReqPacket)) == 1
            await network.peer.send(mqtt5.PingRespPacket())
            mock_clock.jump(DEATH + 1)
            await wait_all_tasks_blocked()
            assert not link.ended.is_set()


async def test_the_brokers_own_keep_alive_counts(
    network: Network, autojump_clock: MockClock
) -> None:
    network.greet(mqtt5.ConnAckPacket(server_keep_alive=7))
    async with network.transport.connect(OPTIONS) as link:
        await network.peer.expect(mqtt5.PingReqPacket)
        assert trio.current_time() == 7
        with pytest.raises(ConnectionLost, match="within 7 s"):
            await link.receive()
        assert trio.current_time() == 7 + 3.5


@pytest.mark.parametrize("seconds", [0, 65_535])
async def test_a_longer_keep_alive_of_the_broker_changes_nothing(
    network: Network, seconds: int, autojump_clock: MockClock
) -> None:
    network.greet(mqtt5.ConnAckPacket(server_keep_alive=seconds))
    async with network.transport.connect(OPTIONS):
        await network.peer.expect(mqtt5.PingReqPacket)
        assert trio.current_time() == KEEP_ALIVE


async def test_a_link_that_nobody_reads_is_pinged_and_not_judged(
    network: Network, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """The silence is of our own making."""
    network.pair = lockstep_stream_pair
    async with network.transport.connect(OPTIONS) as link:
        nursery.start_soon(Feeder(network).run)
        for pings in range(1, 6):
            await network.peer.expect(mqtt5.PingReqPacket)
            assert trio.current_time() == pings * KEEP_ALIVE
        assert len(await collect(link, 1000)) >= 1000


# -- leaving


async def test_leaving_sends_what_waits_then_disconnect_and_reads_to_the_end(
    network: Network, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    network.greet(ACCEPTED, *[publish(n) for n in range(1, 200)])
    outcomes = Outcomes()

    @nursery.start_soon
    async def talks_on() -> None:
        await wait_all_tasks_blocked()
        network.peer.closes = False
        await network.peer.gone.wait()  # a half-close, which leaves our direction open
        for number in range(200, 300):
            await network.peer.send(publish(number, bytes(10_000)))
        await trio.sleep(1)
        await network.peer.close()

    async with network.transport.connect(OPTIONS) as link:
        await wait_all_tasks_blocked()
        link.publish_nowait(out(1), outcomes)
        link.publish_nowait(out(2, qos=0), outcomes)
    assert trio.current_time() == 1
    assert network.peer.names() == ["CONNECT", "PUBLISH", "PUBLISH", "DISCONNECT"]
    # QoS 0 has left; what waits for its PUBACK may come again.
    assert [type(each) for each in outcomes.told] == [type(None), ConnectionLost]
    assert str(outcomes.told[1]) == "the link was left"


async def test_nothing_is_taken_while_leaving(
    network: Network, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    network.greet(ACCEPTED, publish(1))
    async with network.transport.connect(OPTIONS) as link:
        (delivery,) = await collect(link, 1)
        network.peer.closes = False

        @nursery.start_soon
        async def late() -> None:
            await network.peer.gone.wait()
            delivery.ack()
            with pytest.raises(ConnectionLost, match="being left"):
                link.publish_nowait(out(), lambda _: None)
            with pytest.raises(ConnectionLost, match="being left"):
                await link.subscribe([T])

    await wait_all_tasks_blocked()
    assert network.peer.names() == ["CONNECT", "DISCONNECT"]


# -- one session over several links


async def leave_in_flight(network: Network, *messages: Message) -> list[mqtt5.PublishPacket]:
    """Publish on a link that is lost before the answer."""
    async with network.transport.connect(OPTIONS) as link:
        outcomes = Outcomes()
        for message in messages:
            link.publish_nowait(message, outcomes)
        await wait_all_tasks_blocked()
        await network.peer.close()
        await outcomes.wait(len(messages))
    return network.peer.of(mqtt5.PublishPacket)


async def test_what_was_in_flight_is_the_same_packet_again(
    network: Network, autojump_clock: MockClock
) -> None:
    one, two = out(1), out(2)
    first = await leave_in_flight(network, one, two)
    network.greet(RESUMED)
    network.polite = True
    async with network.transport.connect(OPTIONS) as link:
        assert link.session_present
        assert len(network.peer.of(mqtt5.PublishPacket)) == 0  # who published it decides when
        await link.publish(one)
        await link.publish(out(3))
        await link.publish(two)
    again = network.peer.of(mqtt5.PublishPacket)
    assert [each.duplicate for each in first] == [False, False]
    assert [(each.payload, each.duplicate) for each in again] == [
        (b"1", True),
        (b"3", False),
        (b"2", True),
    ]
    assert [again[0].packet_id, again[2].packet_id] == [each.packet_id for each in first]
    assert again[1].packet_id not in {each.packet_id for each in first}


async def test_a_connect_that_fails_in_between_forgets_nothing(
    network: Network, autojump_clock: MockClock
) -> None:
    busy = mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode.SERVER_BUSY)
    network.greetings = [[ACCEPTED], [busy], [], [RESUMED]]
    one = out(1)
    (first,) = await leave_in_flight(network, one)
    with pytest.raises(RejectedByBroker):
        async with network.transport.connect(OPTIONS):
            raise AssertionError("the server is busy")
    with trio.move_on_after(1):
        async with network.transport.connect(OPTIONS):
            raise AssertionError("there was no CONNACK")
    network.polite = True
    async with network.transport.connect(OPTIONS) as link:
        await link.publish(one)
    (again,) = network.peer.of(mqtt5.PublishPacket)
    assert (again.packet_id, again.duplicate) == (first.packet_id, True)


async def test_without_its_session_it_is_a_new_packet(
    network: Network, autojump_clock: MockClock
) -> None:
    one = out(1)
    await leave_in_flight(network, one)
    network.greet(ACCEPTED)
    network.polite = True
    async with network.transport.connect(OPTIONS) as link:
        assert not link.session_present
        await link.publish(one)
    (again,) = network.peer.of(mqtt5.PublishPacket)
    assert not again.duplicate


async def test_another_client_id_is_another_session(
    network: Network, autojump_clock: MockClock
) -> None:
    one = out(1)
    await leave_in_flight(network, one)
    network.greet(RESUMED)
    network.polite = True
    async with network.transport.connect(attrs.evolve(OPTIONS, client_id="other")) as link:
        await link.publish(one)
    assert not network.peer.of(mqtt5.PublishPacket)[0].duplicate


async def test_a_link_that_was_taken_over_by_another_of_ours_leaves_no_session(
    network: Network, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """What it had in flight is older than what the other one has done since."""
    one = out(1)
    taken_over = trio.Event()
    left = trio.Event()

    async def hold_the_older(*, task_status: trio.TaskStatus[None]) -> None:
        async with network.transport.connect(OPTIONS) as older:
            older.publish_nowait(one, lambda _: None)
            await network.peer.expect(mqtt5.PublishPacket)
            task_status.started()
            await taken_over.wait()
        left.set()

    await nursery.start(hold_the_older)
    network.greet(RESUMED)
    network.polite = True
    async with network.transport.connect(OPTIONS) as newer:
        await newer.publish(out(2))
        taken_over.set()
        await left.wait()
    async with network.transport.connect(OPTIONS) as link:
        await link.publish(one)
    assert not network.peer.of(mqtt5.PublishPacket)[0].duplicate


async def test_a_session_without_expiry_is_not_kept(
    network: Network, autojump_clock: MockClock
) -> None:
    options = attrs.evolve(OPTIONS, session_expiry=0)
    one = out(1)
    outcomes = Outcomes()
    async with network.transport.connect(options) as link:
        link.publish_nowait(one, outcomes)
    network.greet(RESUMED)
    network.polite = True
    async with network.transport.connect(options) as link:
        await link.publish(one)
    assert not network.peer.of(mqtt5.PublishPacket)[0].duplicate
    with trio.fail_after(LIMIT):
        await outcomes.wait(1)
