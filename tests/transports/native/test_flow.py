"""The native link over streams in memory: what leaves when, and who waits for whom."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import attrs
import mqtt5
import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, wait_all_tasks_blocked

from petalkit._values.errors import ConnectionLost, RejectedByBroker, TransportError
from petalkit._values.messages import Message
from petalkit.transports import Delivery, Link
from petalkit.transports import _base_link as base_module
from petalkit.transports._receiving.bounded_inbox import BUFFER_MESSAGES, WAITING_FACTOR
from petalkit.transports.native._link import LAST_WORDS
from petalkit.transports.native._outgoing import UNTOLD_MAX, WRITE_SIZE

from ..links import OPTIONS
from ..mqtt5_bytes import incoming
from ..scripted_peer import (
    ACCEPTED,
    DEATH,
    GRANTED,
    KEEP_ALIVE,
    Feeder,
    Network,
    Outcomes,
    T,
    collect,
    numbers,
    out,
    publish,
)

pytestmark = pytest.mark.trio


async def refused(link: Link, message: Message) -> int:
    with pytest.raises(RejectedByBroker) as caught:
        await link.publish(message)
    return caught.value.reason_code


# -- acknowledging and publishing


async def test_an_acknowledgement_leaves_by_itself(
    network: Network, autojump_clock: MockClock
) -> None:
    """Leave out `on_output`: it leaves with the next PINGREQ."""
    network.greet(ACCEPTED, publish(7))
    async with network.transport.connect(OPTIONS) as link:
        (delivery,) = await collect(link, 1)
        await wait_all_tasks_blocked()
        delivery.ack()
        assert (await network.peer.expect(mqtt5.PubAckPacket)).packet_id == 7
        assert trio.current_time() == 0


async def test_acknowledgements_leave_in_order_of_arrival(
    network: Network, autojump_clock: MockClock
) -> None:
    network.greet(ACCEPTED, *[publish(n) for n in (5, 3, 0, 9)])
    async with network.transport.connect(OPTIONS) as link:
        five, three, zero, nine = await collect(link, 4)
        nine.ack()
        zero.ack()
        three.ack()
        await wait_all_tasks_blocked()
        assert network.peer.of(mqtt5.PubAckPacket) == []
        five.ack()
    assert [each.packet_id for each in network.peer.of(mqtt5.PubAckPacket)] == [5, 3, 9]


async def test_an_acknowledgement_given_last_still_leaves(
    network: Network, autojump_clock: MockClock
) -> None:
    network.greet(ACCEPTED, publish(7))
    async with network.transport.connect(OPTIONS) as link:
        (delivery,) = await collect(link, 1)
        delivery.ack()
    delivery.ack()
    assert network.peer.names() == ["CONNECT", "PUBACK", "DISCONNECT"]


async def test_what_happens_in_one_wake_up_leaves_in_one_write(
    network: Network, autojump_clock: MockClock
) -> None:
    network.polite = True
    network.greet(ACCEPTED, *[publish(n) for n in range(1, 11)])
    outcomes = Outcomes()
    async with network.transport.connect(OPTIONS) as link:
        batch = await link.receive()
        assert len(batch) == 10  # what came in one read is one batch
        for delivery in batch:
            delivery.ack()
            link.publish_nowait(out(), outcomes)
        assert outcomes.told == []  # never inside the call
        assert await outcomes.wait(10) == [None] * 10
        assert network.peer.writes == [1, 20]


async def test_an_answer_one_step_behind_leaves_with_its_acknowledgement(
    network: Network, autojump_clock: MockClock
) -> None:
    network.greet(ACCEPTED, publish(1))
    async with network.transport.connect(OPTIONS) as link, trio.open_nursery() as nursery:
        (delivery,) = await collect(link, 1)
        await wait_all_tasks_blocked()

        @nursery.start_soon
        async def handler() -> None:
            link.publish_nowait(out(), lambda _: None)

        delivery.ack()
        await wait_all_tasks_blocked()
        assert network.peer.writes == [1, 2]


async def test_qos_0_is_done_when_it_was_handed_over(
    network: Network, autojump_clock: MockClock
) -> None:
    outcomes = Outcomes()
    async with network.transport.connect(OPTIONS) as link:
        link.publish_nowait(out(qos=0), outcomes)
        assert outcomes.told == []
        assert await outcomes.wait(1) == [None]
        await link.publish(out(qos=0))
        await wait_all_tasks_blocked()
        assert len(network.peer.of(mqtt5.PublishPacket)) == 2


async def test_publishing_at_each_on_done_leaves_room_for_others(
    network: Network, autojump_clock: MockClock
) -> None:
    """A stream that takes everything at once is no checkpoint: the writer needs one."""
    published = 0

    class Greedy(trio.abc.Stream):
        """Takes everything at once, as `PlainStream` does."""

        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            pass

        async def wait_send_all_might_not_block(self) -> None:
            raise AssertionError

        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            return bytes(await theirs.receive_some(max_bytes))

        async def aclose(self) -> None:
            await theirs.aclose()

    peer_end, theirs = trio.testing.memory_stream_pair()
    await peer_end.send_all(ACCEPTED.write())
    network.pair = lambda: (Greedy(), trio.testing.memory_stream_pair()[0])
    network.greet()

    def again(error: TransportError | None) -> None:
        nonlocal published
        published += 1
        assert published < 10_000, "nobody else has run for so long"
        if error is None:
            link.publish_nowait(out(qos=0), again)

    async with network.transport.connect(attrs.evolve(OPTIONS, disconnect_timeout=0)) as link:
        again(None)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        assert 0 < published < 1000
        await peer_end.aclose()
        await link.ended.wait()


async def test_as_many_in_flight_as_the_broker_allows(
    network: Network, autojump_clock: MockClock
) -> None:
    network.greet(mqtt5.ConnAckPacket(receive_max=2))
    outcomes = Outcomes()
    async with network.transport.connect(OPTIONS) as link:
        assert link.publish_maximum == 2
        for _ in range(2):
            await link.wait_publishable()
            link.publish_nowait(out(), outcomes)
        with pytest.raises(trio.WouldBlock):
            link.publish_nowait(out(), outcomes)
        with trio.move_on_after(5) as scope:
            await link.wait_publishable()
        assert scope.cancelled_caught
        first = await network.peer.expect(mqtt5.PublishPacket)
        await network.peer.send(mqtt5.PubAckPacket(first.packet_id or 0))
        await link.wait_publishable()
        assert outcomes.told == [None]
        link.publish_nowait(out(), outcomes)


async def test_messages_that_are_refused_do_not_hurt_the_link(
    network: Network, autojump_clock: MockClock
) -> None:
    network.greet(mqtt5.ConnAckPacket(max_packet_size=1000))
    options = attrs.evolve(OPTIONS, payload_max=500)
    async with network.transport.connect(options) as link:
        for qos in (0, 1):
            assert await refused(link, Message("out", bytes(501), qos)) == 0x95
            assert await refused(link, Message("o" * 600, bytes(450), qos)) == 0x95
            assert await refused(link, Message("o" * 70_000, b"", qos)) == 0x90
        assert network.peer.names() == ["CONNECT"]

        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def refuse() -> None:
                found = await network.peer.expect(mqtt5.PublishPacket)
                code = mqtt5.PubAckReasonCode.NOT_AUTHORIZED
                answer = mqtt5.PubAckPacket(found.packet_id or 0, reason_code=code)
                await network.peer.send(answer)

            assert await refused(link, out()) == 0x87
        network.peer.polite = True
        for _ in range(link.publish_maximum + 1):
            await link.publish(Message("out", bytes(500)))


# -- a peer that takes nothing


async def stall(network: Network, link: Link) -> Outcomes:
    """Publish until the link takes no more, to a peer that takes nothing."""
    network.peer.on_write(trio.sleep_forever)
    outcomes = Outcomes()
    published = 0
    with pytest.raises(trio.WouldBlock):
        while True:
            link.publish_nowait(Message("out", bytes(100_000), qos=0), outcomes)
            published += 100_000
            await wait_all_tasks_blocked()
    assert published < base_module.OUTGOING_BYTES + 100_000
    return outcomes


async def test_what_is_refused_is_bounded_too(network: Network, autojump_clock: MockClock) -> None:
    """A message over `payload_max` is no bytes of the wire; who published it waits to be told."""
    async with network.transport.connect(OPTIONS) as link:
        network.peer.on_write(trio.sleep_forever)
        link.publish_nowait(Message("out", b"the writer is busy", qos=0), lambda _: None)
        await wait_all_tasks_blocked()
        message = Message("out", bytes(OPTIONS.payload_max + 1))
        with pytest.raises(trio.WouldBlock):
            for _ in range(2 * UNTOLD_MAX):
                link.publish_nowait(message, lambda _: None)


async def test_publishing_is_bounded_in_bytes(network: Network, autojump_clock: MockClock) -> None:
    async with network.transport.connect(OPTIONS) as link, trio.open_nursery() as nursery:
        unblocked = trio.Event()
        network.peer.on_write(unblocked.wait)
        count = 0
        while True:
            try:
                link.publish_nowait(Message("out", bytes(100_000)), lambda _: None)
            except trio.WouldBlock:
                break
            count += 1
            await wait_all_tasks_blocked()
        assert count == -(-base_module.OUTGOING_BYTES // 100_000)

        @nursery.start_soon
        async def waiter() -> None:
            await link.wait_publishable()
            link.publish_nowait(Message("out", b"room"), lambda _: None)

        await wait_all_tasks_blocked()
        unblocked.set()
        await wait_all_tasks_blocked()
        assert len(network.peer.of(mqtt5.PublishPacket)) == count + 1


async def test_a_stalled_link_is_found_dead(network: Network, autojump_clock: MockClock) -> None:
    async with network.transport.connect(OPTIONS) as link:
        await stall(network, link)
        with pytest.raises(ConnectionLost, match="no sign of life"):
            await link.wait_publishable()
        assert trio.current_time() == KEEP_ALIVE + DEATH
    assert trio.current_time() == KEEP_ALIVE + DEATH


async def test_a_broker_that_asks_and_does_not_take_the_answers_is_left(
    network: Network, autojump_clock: MockClock
) -> None:
    """A PUBREL of 4 bytes asks for a PUBCOMP of 5, however many there are."""
    async with network.transport.connect(OPTIONS) as link:
        network.peer.on_write(trio.sleep_forever)
        questions = mqtt5.PubRelPacket(7).write() * 10_000
        with pytest.raises(ConnectionLost, match="the answers that it asks for"):
            for _ in range(100):
                await network.peer.send(questions)
                await wait_all_tasks_blocked()
            await link.receive()


async def test_a_slow_link_is_not_a_dead_one(network: Network, autojump_clock: MockClock) -> None:
    """What was published at once takes four keep alives to leave, and the PINGREQ waits behind."""
    network.polite = True
    slowly = functools.partial(trio.sleep, 4 * KEEP_ALIVE / 10)
    async with network.transport.connect(OPTIONS) as link:
        network.peer.on_write(slowly)
        for _ in range(10):
            link.publish_nowait(Message("out", bytes(WRITE_SIZE), qos=0), lambda _: None)
        await network.peer.expect(mqtt5.PingReqPacket)
        assert trio.current_time() >= 4 * KEEP_ALIVE
        assert len(network.peer.of(mqtt5.PublishPacket)) == 10
        await trio.sleep(3 * KEEP_ALIVE)
        await link.publish(Message("out", b"alive"))


@pytest.mark.parametrize("cancelled", [False, True])
async def test_leaving_a_stalled_link_is_bounded(
    network: Network, autojump_clock: MockClock, *, cancelled: bool
) -> None:
    with trio.CancelScope() as scope:
        async with network.transport.connect(OPTIONS) as link:
            outcomes = await stall(network, link)
            before = outcomes.told.copy()
            if cancelled:
                scope.cancel()
                await trio.sleep_forever()
    assert scope.cancelled_caught == cancelled
    assert trio.current_time() == OPTIONS.disconnect_timeout
    assert set(before) == {None}  # these were handed to the stream
    after = outcomes.told[len(before) :]
    assert {type(each) for each in after} == {ConnectionLost}  # these never left
    await network.peer.gone.wait()
    assert network.peer.names() == ["CONNECT"]


async def breaks() -> None:
    raise trio.BrokenResourceError from OSError("no route to host")


async def test_a_write_that_fails_tells_the_reason_that_waits_to_be_read(
    network: Network, autojump_clock: MockClock
) -> None:
    """The broker says why and closes; the client, which does not read now, writes first."""
    many = [publish(n) for n in range(1, BUFFER_MESSAGES + 1)]
    network.greet(ACCEPTED, *many)
    async with network.transport.connect(OPTIONS) as link:
        await wait_all_tasks_blocked()
        code = mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER
        await network.peer.send(mqtt5.DisconnectPacket(reason_code=code))
        await wait_all_tasks_blocked()
        assert not link.ended.is_set()
        network.peer.on_write(breaks)
        with pytest.raises(ConnectionLost, match="taken over") as caught:
            await link.publish(out())
        assert caught.value.taken_over
        assert len(await collect(link, len(many))) == len(many)
    assert trio.current_time() == 0


async def test_a_write_that_fails_without_a_reason(
    network: Network, autojump_clock: MockClock
) -> None:
    async with network.transport.connect(OPTIONS) as link:
        network.peer.on_write(breaks)
        with pytest.raises(ConnectionLost, match="writing failed: no route to host"):
            await link.publish(out())
        assert trio.current_time() == LAST_WORDS


# -- nobody receives


async def test_while_nobody_receives_reading_stops_with_a_bound(
    network: Network, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    network.pair = lockstep_stream_pair
    async with network.transport.connect(OPTIONS) as link:
        feeder = Feeder(network)
        nursery.start_soon(feeder.run)
        await wait_all_tasks_blocked()
        assert feeder.sent <= BUFFER_MESSAGES + 1
        found = numbers(list(await link.receive()))
        assert len(found) == BUFFER_MESSAGES
        await wait_all_tasks_blocked()
        assert feeder.sent > BUFFER_MESSAGES + 1  # it goes on
        found += numbers(await collect(link, 1000))
        assert found == list(range(1, len(found) + 1))


async def test_large_messages_are_bounded_by_their_bytes(
    network: Network, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    network.pair = lockstep_stream_pair
    async with network.transport.connect(OPTIONS) as link:
        feeder = Feeder(network, bytes(300_000))
        nursery.start_soon(feeder.run)
        await wait_all_tasks_blocked()
        assert sum(len(each.payload) for each in await link.receive()) == 1_200_000


async def test_reading_stops_at_once_when_whoever_receives_says_so(
    network: Network, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """What is read and not given out may be an urgent command."""
    network.pair = lockstep_stream_pair
    got: list[int] = []

    def take_three(batch: Sequence[Delivery]) -> bool:
        got.extend(numbers(list(batch)))
        return len(got) % 3 != 0

    async with network.transport.connect(OPTIONS) as link:
        feeder = Feeder(network)
        nursery.start_soon(feeder.run)
        for rounds in (1, 2, 3):
            await link.deliver(take_three)
            await wait_all_tasks_blocked()
            assert (feeder.sent, len(got)) == (3 * rounds, 3 * rounds)
        # Nor is there a reader that waits for more already when the first is too much.
        await link.deliver(lambda batch: bool(got.extend(numbers(list(batch)))))
        await wait_all_tasks_blocked()
        assert (feeder.sent, len(got)) == (10, 10)
        nursery.cancel_scope.cancel()


async def test_few_small_messages_are_read_together(
    network: Network, autojump_clock: MockClock
) -> None:
    """They are judged in one step, and their last may be an emergency stop."""
    batches: list[int] = []
    one = publish(0).write()

    def take(batch: Sequence[Delivery]) -> bool:
        batches.append(len(batch))
        return sum(batches) < 3000

    async with network.transport.connect(OPTIONS) as link:
        await network.peer.send(one * 3000)
        await link.deliver(take)
    assert sum(batches) == 3000
    assert max(batches) <= 17_000 / len(one)


async def test_properties_are_bounded_by_their_bytes_too(
    network: Network, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """A sender can make them as long as it likes, with no payload at all."""
    network.pair = lockstep_stream_pair
    user = [("name", "x" * 60_000)] * 5

    async def feed() -> None:
        for number in range(1, BUFFER_MESSAGES + 1):
            await network.peer.send(incoming(b"1", number, user_properties=user))

    async with network.transport.connect(OPTIONS) as link:
        nursery.start_soon(feed)
        await wait_all_tasks_blocked()
        assert len(await link.receive()) == 4
        nursery.cancel_scope.cancel()


async def test_while_a_suback_is_awaited_it_reads_on(
    network: Network, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """A SUBACK may stand behind a whole session that is replayed."""
    network.pair = lockstep_stream_pair
    total = 3 * BUFFER_MESSAGES
    async with network.transport.connect(OPTIONS) as link:

        @nursery.start_soon
        async def broker() -> None:
            for number in range(1, total + 1):
                await network.peer.send(publish(number))
            asked = await network.peer.expect(mqtt5.SubscribePacket)
            await network.peer.send(mqtt5.SubAckPacket(asked.packet_id, [GRANTED]))

        await wait_all_tasks_blocked()
        await link.subscribe([T])
        assert numbers(await collect(link, total)) == list(range(1, total + 1))
        assert trio.current_time() == 0


async def test_while_a_suback_is_awaited_there_is_a_bound_too(
    network: Network, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    network.pair = lockstep_stream_pair
    async with network.transport.connect(OPTIONS) as link:
        feeder = Feeder(network)
        nursery.start_soon(feeder.run)
        with pytest.raises(ConnectionLost, match="no SUBACK in time"):
            await link.subscribe([T])
        bound = BUFFER_MESSAGES * WAITING_FACTOR
        assert bound <= feeder.sent <= bound + 1


async def test_two_receivers_are_one_too_many(network: Network, autojump_clock: MockClock) -> None:
    async with network.transport.connect(OPTIONS) as link, trio.open_nursery() as nursery:
        nursery.start_soon(link.receive)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await link.receive()
        nursery.cancel_scope.cancel()


async def test_nothing_is_read_that_the_sink_does_not_take(
    network: Network, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """An emergency stop in the inbox would wait for what only waits."""
    network.pair = lockstep_stream_pair
    async with network.transport.connect(OPTIONS) as link:
        feeder = Feeder(network)
        nursery.start_soon(feeder.run)
        taken: list[Delivery] = []

        def sink(batch: Sequence[Delivery]) -> bool:
            taken.extend(batch)
            return len(taken) % 10 != 0  # no more for now

        for most in (10, 20, 30):
            await link.deliver(sink)
            await wait_all_tasks_blocked()
            assert len(taken) == most
            assert feeder.sent <= most + 1  # one is in the pipe
        assert numbers(taken) == list(range(1, 31))
