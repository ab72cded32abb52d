"""The in-process broker itself: its faults, its limits and its time. The contract is beside it."""

from __future__ import annotations

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from petalkit._values.errors import ConnectFailed, ConnectionLost, RejectedByBroker, TransportError
from petalkit._values.messages import Message, Properties
from petalkit._values.settings.settings import Protocol
from petalkit._values.topics import TopicFilter
from petalkit.transports import ConnectOptions, Delivery, Link
from petalkit.transports.memory import MemoryBroker, MemoryTransport

pytestmark = pytest.mark.trio

DEVICE = ConnectOptions(client_id="device")
A = [TopicFilter("a")]


async def take(link: Link, count: int, *, ack: bool = True) -> list[str]:
    got: list[str] = []
    while len(got) < count:
        for delivery in await link.receive():
            got.append(delivery.payload.decode())
            if ack:
                delivery.ack()
    return got


async def test_the_window_holds_back_and_the_full_queue_counts() -> None:
    broker = MemoryBroker(window=2, max_queued=3)
    async with MemoryTransport(broker).connect(DEVICE) as link:
        await link.subscribe(A)
        for number in range(7):
            broker.publish_nowait("a", str(number))
        session = broker.sessions["device"]
        assert (session.unacknowledged, session.queued) == (2, 3)
        assert broker.statistics().dropped_queue_full == 2
        assert [m.payload for m in broker.unacknowledged("device")] == [b"0", b"1"]
        assert await take(link, 5) == ["0", "1", "2", "3", "4"]
        assert broker.unacknowledged("device") == ()


async def test_what_was_unacknowledged_goes_before_what_had_waited() -> None:
    broker = MemoryBroker(window=2)
    transport = MemoryTransport(broker)
    async with transport.connect(DEVICE) as link:
        await link.subscribe(A)
        for number in range(4):
            broker.publish_nowait("a", str(number))
        await take(link, 2, ack=False)
    async with transport.connect(DEVICE) as link:
        assert await take(link, 4) == ["0", "1", "2", "3"]
    assert broker.statistics().redelivered == 2


async def test_receive_maximum_lowers_the_window_only_of_mqtt_5() -> None:
    options = attrs.evolve(DEVICE, receive_maximum=3)
    cases: list[tuple[Protocol, int]] = [("3.1.1", 20), ("5", 3)]
    for protocol, expected in cases:
        broker = MemoryBroker()
        async with MemoryTransport(broker, protocol).connect(options) as link:
            await link.subscribe(A)
            for _ in range(50):
                broker.publish_nowait("a", b"")
            assert len(broker.unacknowledged("device")) == expected


async def test_a_shared_subscription_gives_each_message_to_one_member() -> None:
    broker = MemoryBroker()
    transport = MemoryTransport(broker)
    shared = [TopicFilter("$share/group/a")]
    async with (
        transport.connect(ConnectOptions(client_id="one")) as one,
        transport.connect(ConnectOptions(client_id="two")) as two,
    ):
        await one.subscribe(shared)
        await two.subscribe(shared)
        for number in range(4):
            broker.publish_nowait("a", str(number))
        assert sorted(await take(one, 2) + await take(two, 2)) == ["0", "1", "2", "3"]
        broker.drop_links("one")
        for number in range(2):
            broker.publish_nowait("a", str(number))
        assert await take(two, 2) == ["0", "1"], "an absent member was served before a present one"


async def test_a_session_expires_on_the_clock(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    transport = MemoryTransport(broker, "5")
    options = attrs.evolve(DEVICE, session_expiry=60)
    for away, kept in ((59, True), (61, False)):
        async with transport.connect(options):
            pass
        await trio.sleep(away)
        assert ("device" in broker.sessions) is kept
        async with transport.connect(options) as link:
            assert link.session_present is kept


async def test_refused_connections_fail_as_asked() -> None:
    broker = MemoryBroker()
    transport = MemoryTransport(broker)
    broker.refuse_connections(1)
    with pytest.raises(ConnectFailed):
        async with transport.connect(DEVICE):
            pass
    broker.refuse_connections(reason_code=0x87)
    for _ in range(2):
        with pytest.raises(RejectedByBroker) as caught:
            async with transport.connect(DEVICE):
                pass
        assert caught.value.reason_code == 0x87
    broker.accept_connections()
    async with transport.connect(DEVICE):
        assert broker.clients == ("device",)


async def test_a_swallowed_connack_is_a_timeout(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    broker.swallow("CONNACK")
    with pytest.raises(ConnectFailed):
        async with MemoryTransport(broker).connect(DEVICE):
            pass
    assert trio.current_time() == DEVICE.connect_timeout
    assert broker.clients == ()


async def test_a_swallowed_suback_is_a_timeout(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    async with MemoryTransport(broker).connect(DEVICE) as link:
        broker.swallow("SUBACK")
        with pytest.raises(ConnectionLost, match="SUBACK"):
            await link.subscribe(A)


async def test_a_swallowed_puback_fails_with_the_link() -> None:
    broker = MemoryBroker(history=10)
    outcome: list[TransportError | None] = []
    async with MemoryTransport(broker).connect(DEVICE) as link:
        broker.swallow("PUBACK")
        link.publish_nowait(Message("a", b"1"), outcome.append)
        await link.publish(Message("a", b"2"))
        assert outcome == []
        broker.drop_links()
        await trio.testing.wait_all_tasks_blocked()
    assert [type(error) for error in outcome] == [ConnectionLost]
    assert [m.payload for m in broker.published] == [b"1", b"2"]


async def test_a_swallowed_client_puback_means_redelivery() -> None:
    broker = MemoryBroker()
    transport = MemoryTransport(broker)
    async with transport.connect(DEVICE) as link:
        await link.subscribe(A)
        broker.swallow("client PUBACK")
        broker.publish_nowait("a", "1")
        await take(link, 1)
    async with transport.connect(DEVICE) as link:
        [delivery] = await link.receive()
        assert (delivery.payload, delivery.dup) == (b"1", True)


async def test_a_delay_holds_everything_in_order(autojump_clock: MockClock) -> None:
    broker = MemoryBroker()
    broker.delay = 0.5
    async with MemoryTransport(broker).connect(DEVICE) as link:
        assert trio.current_time() == 0.5  # CONNACK
        await link.subscribe(A)
        assert trio.current_time() == 1.0  # SUBACK
        await link.publish(Message("a", b"1"))
        assert trio.current_time() == 1.5  # PUBACK
        broker.publish_nowait("a", "2")
        assert await take(link, 2) == ["1", "2"]
        assert trio.current_time() == 2.0


async def test_a_message_can_come_twice() -> None:
    broker = MemoryBroker()
    async with MemoryTransport(broker).connect(DEVICE) as link:
        await link.subscribe(A)
        broker.duplicate_next()
        for text in ("1", "2"):
            broker.publish_nowait("a", text)
        assert await take(link, 3) == ["1", "1", "2"]


async def test_a_rejected_publish_is_told_only_to_mqtt_5() -> None:
    broker = MemoryBroker(history=10)
    broker.reject_publish("a/#", 0x87)
    async with MemoryTransport(broker, "5").connect(DEVICE) as link:
        with pytest.raises(RejectedByBroker) as caught:
            await link.publish(Message("a/b", b""))
        assert caught.value.reason_code == 0x87
    async with MemoryTransport(broker, "3.1.1").connect(DEVICE) as link:
        await link.publish(Message("a/b", b""))
        broker.reject_publish("a/#", None)
        await link.publish(Message("a/b", b"taken"))
    assert [m.payload for m in broker.published] == [b"taken"]


async def test_a_rejected_subscription_raises() -> None:
    broker = MemoryBroker()
    broker.reject_subscribe("a")
    async with MemoryTransport(broker).connect(DEVICE) as link:
        with pytest.raises(RejectedByBroker):
            await link.subscribe(A)


@pytest.mark.parametrize("keep", [True, False])
async def test_a_stopped_broker_publishes_no_will_and_keeps_what_it_is_told_to(keep: bool) -> None:
    broker = MemoryBroker()
    transport = MemoryTransport(broker)
    options = attrs.evolve(DEVICE, will=Message("will", b""))
    broker.publish_nowait("kept", "x", retain=True)
    with broker.observe("#") as seen:
        async with transport.connect(options) as link:
            broker.stop(keep_sessions=keep)
            with pytest.raises(ConnectionLost):
                await link.receive()
        with pytest.raises(ConnectFailed):
            async with transport.connect(options):
                pass
    broker.start()
    assert len(seen) == 0
    assert ("kept" in broker.retained) is keep
    async with transport.connect(options) as link:
        assert link.session_present is keep


async def test_an_observer_sees_messages_at_once_and_can_be_waited_for() -> None:
    broker = MemoryBroker()
    with broker.observe("a/+") as seen:
        broker.publish_nowait("a/b", "1")
        broker.publish_nowait("other", "no")
        assert [m.payload for m in seen] == [b"1"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(seen.wait, 2)
            await trio.testing.wait_all_tasks_blocked()
            broker.publish_nowait("a/c", "2")
        assert (await seen.receive()).payload == b"1"
        assert (await seen.receive()).payload == b"2"
    broker.publish_nowait("a/b", "after")
    assert len(seen) == 2


async def test_an_empty_retained_payload_clears_it() -> None:
    broker = MemoryBroker()
    broker.publish_nowait("a", "x", retain=True)
    assert set(broker.retained) == {"a"}
    broker.publish_nowait("a", "", retain=True)
    assert broker.retained == {}


async def test_a_message_over_the_bound_is_refused_by_the_link() -> None:
    options = attrs.evolve(DEVICE, payload_max=3)
    async with MemoryTransport(MemoryBroker()).connect(options) as link:
        await link.publish(Message("a", b"123"))
        with pytest.raises(RejectedByBroker):
            await link.publish(Message("a", b"1234"))


async def test_a_link_that_was_left_takes_nothing_more() -> None:
    outcome: list[TransportError | None] = []
    broker = MemoryBroker(history=1)
    async with MemoryTransport(broker).connect(DEVICE) as link:
        link.publish_nowait(Message("a", b"last"), outcome.append)
    assert outcome == [None], "what was handed over before leaving is sent before DISCONNECT"
    with pytest.raises(ConnectionLost):
        link.publish_nowait(Message("a", b""), outcome.append)
    assert len(outcome) == 1


# -- message expiry, MQTT 5.0, section 3.3.2.3.3


def expiring(seconds: int) -> Properties:
    return Properties(message_expiry=seconds)


def left(delivery: Delivery) -> int | None:
    assert delivery.properties is not None
    return delivery.properties.message_expiry


async def test_an_expiry_counts_down_in_the_session_and_ends_in_a_drop(
    mock_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    transport = MemoryTransport(broker, "5")
    async with transport.connect(DEVICE) as link:
        await link.subscribe(A)
    for seconds in (10, 5):
        broker.publish_nowait("a", str(seconds), properties=expiring(seconds))
    mock_clock.jump(4.5)
    assert broker.sessions["device"].queued == 2
    mock_clock.jump(0.5)
    assert broker.sessions["device"].queued == 1
    assert broker.statistics().dropped_expired == 1
    mock_clock.jump(1.5)
    async with transport.connect(DEVICE) as link:
        [delivery] = await link.receive()
        assert (delivery.payload, left(delivery)) == (b"10", 3)  # 3.5, in whole seconds


async def test_an_expired_message_makes_room_in_a_full_queue(mock_clock: MockClock) -> None:
    broker = MemoryBroker(max_queued=2)
    transport = MemoryTransport(broker, "5")
    async with transport.connect(DEVICE) as link:
        await link.subscribe(A)
    broker.publish_nowait("a", "1")
    broker.publish_nowait("a", "2", properties=expiring(5))
    mock_clock.jump(5)
    broker.publish_nowait("a", "3")
    async with transport.connect(DEVICE) as link:
        assert await take(link, 2) == ["1", "3"]
    statistics = broker.statistics()
    assert (statistics.dropped_expired, statistics.dropped_queue_full) == (1, 0)


async def test_an_unacknowledged_message_may_expire_before_it_is_sent_again(
    mock_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    transport = MemoryTransport(broker, "5")
    async with transport.connect(DEVICE) as link:
        await link.subscribe(A)
        broker.publish_nowait("a", "1", properties=expiring(5))
        broker.publish_nowait("a", "2", properties=expiring(9))
        await take(link, 2, ack=False)
    mock_clock.jump(5)
    async with transport.connect(DEVICE) as link:
        [delivery] = await link.receive()
        assert (delivery.payload, left(delivery), delivery.dup) == (b"2", 4, True)
    statistics = broker.statistics()
    assert (statistics.dropped_expired, statistics.redelivered) == (1, 1)


async def test_a_retained_message_expires(mock_clock: MockClock) -> None:
    broker = MemoryBroker()
    transport = MemoryTransport(broker, "5")
    broker.publish_nowait("a", "kept", retain=True, properties=expiring(10))
    mock_clock.jump(4)
    async with transport.connect(DEVICE) as link:
        await link.subscribe(A)
        [delivery] = await link.receive()
        assert (delivery.payload, left(delivery)) == (b"kept", 6)
        delivery.ack()
    mock_clock.jump(6)
    assert not broker.retained
    assert broker.statistics().dropped_expired == 1


async def test_a_retained_message_that_takes_its_place_does_not_inherit_the_expiry(
    mock_clock: MockClock,
) -> None:
    broker = MemoryBroker()
    broker.publish_nowait("a", "old", retain=True, properties=expiring(10))
    broker.publish_nowait("a", "new", retain=True)
    mock_clock.jump(11)
    assert broker.retained["a"].payload == b"new"


async def test_a_client_of_3_1_1_neither_sends_nor_gets_properties() -> None:
    broker = MemoryBroker(history=10)
    properties = Properties(content_type="text/plain")
    async with MemoryTransport(broker).connect(DEVICE) as link:
        await link.subscribe(A)
        broker.publish_nowait("a", "1", properties=properties)
        await link.publish(Message("a", b"2", properties=properties))
        assert [delivery.properties for delivery in await link.receive()] == [None, None]
    assert [message.properties for message in broker.published] == [properties, None]
