"""The contract of `petalkit.transports`, as checks that any transport can be put through.

Each check takes a `Rig`: a broker of its own and ways to reach it. Nothing here sleeps, but one
that has to see time pass at the broker: to say "nothing came", a check sends one message more and
sees it come first; to say "the broker has seen it", it publishes on the same link and waits for
the PUBACK, since a broker reads in order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import attrs
import pytest
import trio
import trio.testing

from petalkit._values.errors import ConnectFailed, ConnectionLost, TransportError
from petalkit._values.messages import Message, Properties
from petalkit._values.topics import TopicFilter
from petalkit.transports import ConnectOptions, Delivery, Link, Transport


@attrs.frozen(kw_only=True)
class Rig:
    """One broker under test.

    Attributes:
        transport: for the device; its links can be cut.
        other: for other clients; theirs cannot.
        unreachable: for a broker that is not there.
        cut: end the device's links without a word, synchronously.
        protocol: as the transport speaks it.
        says_taken_over: whether the broker tells the older link that it was taken over.
    """

    transport: Transport
    other: Transport
    unreachable: Transport
    cut: Callable[[], object]
    protocol: str
    says_taken_over: bool = False


Check = Callable[[Rig], Awaitable[None]]
CHECKS: list[Check] = []
MQTT_5_CHECKS: set[str] = set()  # those of what 3.1.1 does not have


def check(function: Check) -> Check:
    """Make a function part of the suite."""
    CHECKS.append(function)
    return function


def check_mqtt_5(function: Check) -> Check:
    """Make a function part of the suite for MQTT 5."""
    MQTT_5_CHECKS.add(function.__name__)
    return check(function)


DEVICE = ConnectOptions(client_id="device")
OTHER = ConnectOptions(client_id="other", session_expiry=0)
COMMANDS = [TopicFilter("commands/#")]


async def collect(link: Link, count: int, *, ack: bool = True) -> list[Delivery]:
    """Receive exactly `count` deliveries."""
    got: list[Delivery] = []
    while len(got) < count:
        batch = await link.receive()
        assert batch, "receive() returned nothing"
        got.extend(batch)
        if ack:
            for delivery in batch:
                delivery.ack()
    assert len(got) == count, f"{len(got)} instead of {count} deliveries"
    return got


async def send(link: Link, *payloads: str, topic: str = "commands/x", retain: bool = False) -> None:
    for payload in payloads:
        await link.publish(Message(topic, payload.encode(), 1, retain))


async def flushed(link: Link) -> None:
    """Return when the broker has seen everything that this link sent before."""
    await link.publish(Message("unheard", b""))


def texts(deliveries: list[Delivery]) -> list[str]:
    return [delivery.payload.decode() for delivery in deliveries]


async def seed_session(rig: Rig) -> None:
    """Leave a session behind that is subscribed and owes nothing."""
    async with rig.transport.connect(DEVICE) as link:
        await link.subscribe(COMMANDS)


@check
async def connects_and_leaves_and_finds_its_session(rig: Rig) -> None:
    async with rig.transport.connect(DEVICE) as link:
        assert not link.session_present
    async with rig.transport.connect(DEVICE) as link:
        assert link.session_present


@check
async def says_what_was_granted(rig: Rig) -> None:
    async with rig.transport.connect(DEVICE) as link:
        assert list(await link.subscribe([*COMMANDS, TopicFilter("more/x")])) == [1, 1]


@check
async def delivers_what_it_subscribed_to(rig: Rig) -> None:
    async with rig.other.connect(OTHER) as other, rig.transport.connect(DEVICE) as link:
        await link.subscribe(COMMANDS)
        await send(other, "no", topic="elsewhere")
        await send(other, "yes", topic="commands/a/b")
        [delivery] = await collect(link, 1)
        assert (delivery.topic, delivery.payload, delivery.qos) == ("commands/a/b", b"yes", 1)
        assert not delivery.retain
        assert not delivery.dup


@check
async def delivers_qos_0_as_qos_0(rig: Rig) -> None:
    async with rig.other.connect(OTHER) as other, rig.transport.connect(DEVICE) as link:
        await link.subscribe(COMMANDS)
        await other.publish(Message("commands/x", b"zero", qos=0))
        [delivery] = await collect(link, 1)
        assert (delivery.payload, delivery.qos) == (b"zero", 0)
        delivery.ack()  # owed nothing, does nothing


@check
async def delivers_to_a_sink_until_it_says_stop(rig: Rig) -> None:
    got: list[Delivery] = []

    def sink(batch: Sequence[Delivery]) -> bool:
        got.extend(batch)
        for delivery in batch:
            delivery.ack()  # where each waits for the answer to the last
        return len(got) < 3

    async with (
        rig.other.connect(OTHER) as other,
        rig.transport.connect(DEVICE) as link,
        trio.open_nursery() as nursery,
    ):
        await link.subscribe(COMMANDS)
        nursery.start_soon(lambda: send(other, "1", "2", "3"))
        await link.deliver(sink)
        assert texts(got) == ["1", "2", "3"]
        await send(link, "4")
        await flushed(link)
        assert texts(got) == ["1", "2", "3"], "given to a sink that had said stop"
        assert texts(list(await link.receive())) == ["4"]


@check
async def a_cancelled_sink_loses_nothing(rig: Rig) -> None:
    got: list[Delivery] = []

    def sink(batch: Sequence[Delivery]) -> bool:
        got.extend(batch)
        return True

    async with rig.transport.connect(DEVICE) as link:
        await link.subscribe(COMMANDS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.deliver, sink)
            await send(link, "1")
            await flushed(link)
            nursery.cancel_scope.cancel()
        await send(link, "2")
        await flushed(link)
        assert texts([*got, *await link.receive()]) == ["1", "2"]


@check
async def a_sink_gets_what_had_arrived_before_the_loss_is_told(rig: Rig) -> None:
    got: list[Delivery] = []

    def sink(batch: Sequence[Delivery]) -> bool:
        got.extend(batch)
        return True

    async with rig.transport.connect(DEVICE) as link:
        await link.subscribe(COMMANDS)
        await send(link, "1", "2")
        await flushed(link)
        rig.cut()
        with pytest.raises(ConnectionLost):
            await link.deliver(sink)
        assert texts(got) == ["1", "2"]


@check
async def keeps_the_order_of_many(rig: Rig) -> None:
    sent = [str(number) for number in range(300)]
    async with (
        rig.other.connect(OTHER) as other,
        rig.transport.connect(DEVICE) as link,
        trio.open_nursery() as nursery,
    ):
        await link.subscribe(COMMANDS)
        nursery.start_soon(lambda: send(other, *sent))
        assert texts(await collect(link, len(sent))) == sent


@check
async def returns_what_has_arrived_as_one_batch(rig: Rig) -> None:
    async with rig.transport.connect(DEVICE) as link:
        await link.subscribe(COMMANDS)
        await send(link, "1", "2", "3")
        await flushed(link)  # its PUBACK was read after the three
        assert texts(list(await link.receive())) == ["1", "2", "3"]


@check
async def acknowledges_in_order_of_arrival_whatever_the_order_of_the_calls(rig: Rig) -> None:
    async with rig.transport.connect(DEVICE) as link:
        await link.subscribe(COMMANDS)
        await send(link, "1", "2", "3", "4")
        one, two, three, _ = await collect(link, 4, ack=False)
        three.ack()
        two.ack()
        await flushed(link)
        rig.cut()
    async with rig.transport.connect(DEVICE) as link:
        one, _, three, _ = again = await collect(link, 4, ack=False)
        assert texts(again) == ["1", "2", "3", "4"], "an early ack() has left out of its turn"
        three.ack()
        again[1].ack()
        one.ack()
        await flushed(link)
        rig.cut()
    async with rig.transport.connect(DEVICE) as link:
        assert texts(await collect(link, 1)) == ["4"]


@check
async def redelivers_to_the_next_link_what_was_not_acknowledged(rig: Rig) -> None:
    async with rig.transport.connect(DEVICE) as link:
        await link.subscribe(COMMANDS)
        await send(link, "1", "2", "3")
        got = await collect(link, 3, ack=False)
        got[0].ack()
        await flushed(link)
    async with rig.transport.connect(DEVICE) as link:
        again = await collect(link, 2)
        assert texts(again) == ["2", "3"]
        assert all(delivery.dup for delivery in again)
        await flushed(link)
    async with rig.transport.connect(DEVICE) as link:
        await send(link, "new")
        assert texts(await collect(link, 1)) == ["new"]


@check
async def tells_when_an_acknowledgement_has_left(rig: Rig) -> None:
    async with rig.transport.connect(DEVICE) as link:
        await link.subscribe(COMMANDS)
        await send(link, "1", "2", "3")
        one, two, three = await collect(link, 3, ack=False)
        left, gone = trio.Event(), trio.Event()
        two.ack()
        two.when_left(left.set)
        three.when_left(gone.set)
        await flushed(link)
        assert not left.is_set(), "it is behind another"
        one.ack()
        await left.wait()
        after: list[str] = []
        one.when_left(lambda: after.append("one"))
        two.when_left(lambda: after.append("two"))
        assert after == ["one", "two"], "what has left is told at once"
        assert not gone.is_set()
        rig.cut()
        await gone.wait()
        three.when_left(lambda: after.append("three"))
        assert after == ["one", "two", "three"]


@check
async def an_ack_from_a_dead_link_does_nothing(rig: Rig) -> None:
    async with rig.transport.connect(DEVICE) as link:
        await link.subscribe(COMMANDS)
        await send(link, "1")
        [old] = await collect(link, 1, ack=False)
        rig.cut()
    async with rig.transport.connect(DEVICE) as link:
        assert texts(await collect(link, 1, ack=False)) == ["1"]
        old.ack()
        await flushed(link)
        rig.cut()
    async with rig.transport.connect(DEVICE) as link:
        assert texts(await collect(link, 1)) == ["1"], "acknowledged by a delivery of another link"


@check
async def a_burst_sent_during_absence_is_delivered_whole(rig: Rig) -> None:
    sent = [str(number) for number in range(50)]
    await seed_session(rig)
    async with rig.other.connect(OTHER) as other:
        await send(other, *sent)
    async with rig.transport.connect(DEVICE) as link:
        assert texts(await collect(link, len(sent))) == sent


@check
async def while_nobody_receives_the_broker_holds_the_rest(rig: Rig) -> None:
    sent = [str(number) for number in range(400)]
    async with rig.other.connect(OTHER) as other, rig.transport.connect(DEVICE) as link:
        await link.subscribe(COMMANDS)
        await send(other, *sent)
        assert texts(await collect(link, len(sent))) == sent


@check
async def on_done_is_called_once_and_never_inside_publish_nowait(rig: Rig) -> None:
    calls: list[TransportError | None] = []
    called = trio.Event()

    def on_done(error: TransportError | None) -> None:
        assert not inside
        calls.append(error)
        called.set()

    for qos in (0, 1):
        calls.clear()
        called = trio.Event()
        async with rig.transport.connect(DEVICE) as link:
            inside = True
            link.publish_nowait(Message("a", b"", qos), on_done)
            inside = False
            await called.wait()
            await flushed(link)
        assert calls == [None]


@check
async def on_done_tells_of_a_lost_link(rig: Rig) -> None:
    calls: list[TransportError | None] = []
    async with rig.transport.connect(DEVICE) as link:
        rig.cut()
        # Handed over in the step in which the link dies: it may be refused or fail later.
        try:
            link.publish_nowait(Message("a", b""), calls.append)
        except ConnectionLost as error:
            calls.append(error)
        with pytest.raises(ConnectionLost):
            await link.receive()
    assert len(calls) == 1
    assert isinstance(calls[0], ConnectionLost)


@check
async def publish_waits_and_says_when_the_link_is_lost(rig: Rig) -> None:
    async with rig.transport.connect(DEVICE) as link:
        await link.publish(Message("a", b"fine"))
        rig.cut()
        with pytest.raises(ConnectionLost):
            await link.publish(Message("a", b"too late"))


@check
async def too_many_unacknowledged_publishes_would_block(rig: Rig) -> None:
    options = attrs.evolve(DEVICE, publish_maximum=2)
    calls: list[TransportError | None] = []
    async with rig.transport.connect(options) as link:
        for _ in range(2):
            link.publish_nowait(Message("a", b""), calls.append)
        with pytest.raises(trio.WouldBlock):
            link.publish_nowait(Message("a", b""), calls.append)
        await link.wait_publishable()
        link.publish_nowait(Message("a", b""), calls.append)
        await flushed(link)
    assert calls == [None, None, None]


WITH_WILL = attrs.evolve(DEVICE, will=Message("commands/will", b"will"))


@check
async def the_will_is_published_when_the_link_dies(rig: Rig) -> None:
    async with rig.other.connect(OTHER) as other:
        await other.subscribe(COMMANDS)
        async with rig.transport.connect(WITH_WILL):
            rig.cut()
            assert texts(await collect(other, 1)) == ["will"]


@check
async def the_will_is_not_published_on_leaving(rig: Rig) -> None:
    async with rig.other.connect(OTHER) as other:
        await other.subscribe(COMMANDS)
        async with rig.transport.connect(WITH_WILL):
            pass
        await send(other, "first")
        assert texts(await collect(other, 1)) == ["first"]


@check
async def the_will_is_not_published_on_cancellation(rig: Rig) -> None:
    async with rig.other.connect(OTHER) as other:
        await other.subscribe(COMMANDS)
        with trio.CancelScope() as scope:
            async with rig.transport.connect(WITH_WILL) as link:
                scope.cancel()
                await link.receive()
        assert scope.cancelled_caught
        await send(other, "first")
        assert texts(await collect(other, 1)) == ["first"]


@check
async def a_takeover_ends_the_older_link(rig: Rig) -> None:
    async with rig.transport.connect(DEVICE) as older, rig.other.connect(DEVICE) as newer:
        with pytest.raises(ConnectionLost) as caught:
            await older.receive()
        assert caught.value.taken_over == rig.says_taken_over
        await newer.publish(Message("a", b"alive"))


@check
async def receive_gives_out_what_had_arrived_before_it_tells_of_the_loss(rig: Rig) -> None:
    async with rig.transport.connect(DEVICE) as link:
        await link.subscribe(COMMANDS)
        await send(link, "1", "2", "3")
        await flushed(link)
        rig.cut()
        assert texts(await collect(link, 3)) == ["1", "2", "3"]
        with pytest.raises(ConnectionLost):
            await link.receive()
        with pytest.raises(ConnectionLost):
            await link.receive()


@check
async def a_waiting_receive_hears_of_the_loss(rig: Rig) -> None:
    async with rig.transport.connect(DEVICE) as link, trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(ConnectionLost):
                await link.receive()

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        rig.cut()


@check
async def subscribing_on_a_lost_link_raises(rig: Rig) -> None:
    async with rig.transport.connect(DEVICE) as link:
        rig.cut()
        with pytest.raises(ConnectionLost):
            await link.subscribe(COMMANDS)


@check
async def a_retained_message_is_marked_and_a_live_one_is_not(rig: Rig) -> None:
    async with rig.other.connect(OTHER) as other, rig.transport.connect(DEVICE) as link:
        await send(other, "kept", retain=True)
        await link.subscribe(COMMANDS)
        [kept] = await collect(link, 1)
        await send(other, "live", retain=True)
        [live] = await collect(link, 1)
        assert (kept.payload, kept.retain, live.payload, live.retain) == (
            b"kept",
            True,
            b"live",
            False,
        )


@check
async def a_resumed_session_is_sent_retained_messages_again_only_by_3_1_1(rig: Rig) -> None:
    async with rig.other.connect(OTHER) as other:
        await send(other, "kept", retain=True)
        for expected in (["kept", "new"], ["new"] if rig.protocol == "5" else ["kept", "new"]):
            async with rig.transport.connect(DEVICE) as link:
                await link.subscribe(COMMANDS)
                await send(other, "new")
                assert texts(await collect(link, len(expected))) == expected
                await flushed(link)


@check
async def unsubscribing_ends_it(rig: Rig) -> None:
    both = [TopicFilter("commands/a"), TopicFilter("commands/b")]
    async with rig.transport.connect(DEVICE) as link:
        await link.subscribe(both)
        await link.unsubscribe(both[:1])
        await send(link, "a", topic="commands/a")
        await send(link, "b", topic="commands/b")
        assert texts(await collect(link, 1)) == ["b"]


@check
async def a_cancelled_receive_loses_nothing(rig: Rig) -> None:
    async with rig.transport.connect(DEVICE) as link:
        await link.subscribe(COMMANDS)
        with trio.CancelScope() as scope:
            scope.cancel()
            await link.receive()
        await send(link, "1", "2")
        await flushed(link)
        with trio.CancelScope() as scope:
            scope.cancel()
            await link.receive()
        assert scope.cancelled_caught
        assert texts(await collect(link, 2)) == ["1", "2"]


@check
async def an_exception_of_the_block_comes_out_as_it_is(rig: Rig) -> None:
    mistake = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with rig.transport.connect(DEVICE):
            raise mistake
    assert caught.value is mistake


@check
async def an_exception_wins_over_a_cancellation_that_came_with_it(rig: Rig) -> None:
    mistake = KeyError("mine")

    async def fail_while_cancelled() -> None:
        with trio.CancelScope() as scope:
            async with rig.transport.connect(DEVICE):
                scope.cancel()
                raise mistake

    with pytest.raises(KeyError) as caught:
        await fail_while_cancelled()
    assert caught.value is mistake


@check
async def a_broker_that_is_not_there_is_a_failed_connect(rig: Rig) -> None:
    with pytest.raises(ConnectFailed):
        async with rig.unreachable.connect(DEVICE):
            raise AssertionError("connected to nothing")


@check
async def a_clean_start_forgets_the_session(rig: Rig) -> None:
    await seed_session(rig)
    async with rig.other.connect(OTHER) as other:
        await send(other, "missed")
        async with rig.transport.connect(attrs.evolve(DEVICE, clean_start=True)) as link:
            assert not link.session_present
            await link.subscribe(COMMANDS)
            await send(other, "new")
            assert texts(await collect(link, 1)) == ["new"]


SPOKEN = Properties(
    response_topic="answers/other",
    correlation_data=b"\x00\xff",
    content_type="application/json",
    user_properties=(("trace", "1"), ("trace", "2"), ("", "é")),
)


@check_mqtt_5
async def properties_arrive_as_they_were_sent(rig: Rig) -> None:
    # MQTT 5.0, sections 3.3.2.3.5 to 3.3.2.3.9: the server passes them on unaltered, in order.
    async with rig.other.connect(OTHER) as other, rig.transport.connect(DEVICE) as link:
        await link.subscribe(COMMANDS)
        await other.publish(Message("commands/x", b"1", properties=SPOKEN))
        await other.publish(Message("commands/x", b"2", 0, properties=SPOKEN))
        await other.publish(Message("commands/x", b"3", 0, properties=Properties()))
        await send(other, "4")
        first, second, third, fourth = await collect(link, 4)
        assert (first.properties, second.properties) == (SPOKEN, SPOKEN)
        assert (third.properties, fourth.properties) == (None, None)
        assert texts([first, second, third, fourth]) == ["1", "2", "3", "4"]


@check_mqtt_5
async def an_empty_property_is_not_an_absent_one(rig: Rig) -> None:
    empty = Properties(correlation_data=b"", content_type="")
    async with rig.other.connect(OTHER) as other, rig.transport.connect(DEVICE) as link:
        await link.subscribe(COMMANDS)
        await other.publish(Message("commands/x", b"", properties=empty))
        [delivery] = await collect(link, 1)
        assert delivery.properties == empty


@check_mqtt_5
async def a_retained_message_keeps_its_properties(rig: Rig) -> None:
    async with rig.other.connect(OTHER) as other, rig.transport.connect(DEVICE) as link:
        await other.publish(Message("commands/x", b"kept", 1, True, SPOKEN))
        await link.subscribe(COMMANDS)
        [delivery] = await collect(link, 1)
        assert (delivery.retain, delivery.properties) == (True, SPOKEN)


@check_mqtt_5
async def a_message_that_expired_in_the_session_is_not_delivered(rig: Rig) -> None:
    # MQTT 5.0, section 3.3.2.3.3; and what is delivered says what is left.
    await seed_session(rig)
    async with rig.other.connect(OTHER) as other:
        for text, expiry in (("stale", 1), ("fresh", 60)):
            properties = Properties(message_expiry=expiry)
            await other.publish(Message("commands/x", text.encode(), properties=properties))
        await trio.sleep(2.1)  # a broker counts whole seconds
    async with rig.transport.connect(DEVICE) as link:
        [delivery] = await collect(link, 1)
        assert delivery.payload == b"fresh"
        assert delivery.properties is not None
        assert delivery.properties.message_expiry in (57, 58)


@check
async def properties_are_left_out_where_there_are_none(rig: Rig) -> None:
    spoken = attrs.evolve(SPOKEN, message_expiry=60)
    async with rig.transport.connect(DEVICE) as link:
        await link.subscribe(COMMANDS)
        await link.publish(Message("commands/x", b"1", properties=spoken))
        [delivery] = await collect(link, 1)
        assert delivery.payload == b"1"
        assert (delivery.properties is None) == (rig.protocol == "3.1.1")
