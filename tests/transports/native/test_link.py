"""The native link over streams in memory: connecting, subscribing, and how a link ends."""

from __future__ import annotations

import socket

import attrs
import mqtt5
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from petalkit._values.errors import ConnectFailed, ConnectionLost, RejectedByBroker, TransportError
from petalkit._values.messages import Message
from petalkit._values.settings.settings import Settings
from petalkit._values.topics import TopicFilter
from petalkit.transports import ConnectOptions
from petalkit.transports._connecting.tls import Address
from petalkit.transports.native import NativeTransport
from petalkit.transports.native import _transport as native_module

from ..links import OPTIONS
from ..scripted_peer import (
    ACCEPTED,
    GRANTED,
    LIMIT,
    RESUMED,
    Network,
    Outcomes,
    collect,
    numbers,
    publish,
)

pytestmark = pytest.mark.trio

T = TopicFilter("t")


def bye(code: mqtt5.DisconnectReasonCode, text: str | None = None) -> mqtt5.DisconnectPacket:
    return mqtt5.DisconnectPacket(reason_code=code, reason_str=text)


# -- connecting


async def test_a_host_that_no_certificate_can_name_is_a_failed_connect_and_leaves_no_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    async def open_plain_socket(address: Address) -> socket.socket:
        return ours  # as if a resolver of this machine knew the name

    monkeypatch.setattr(native_module, "open_plain_socket", open_plain_socket)
    transport = NativeTransport(Settings(transport="native", broker="mqtts://.example.org"))
    with theirs:
        with pytest.raises(ConnectFailed, match=r"no TLS with .*leading dot"):
            async with transport.connect(OPTIONS):
                pass
        assert ours.fileno() == -1


async def test_what_connect_says(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    settings = Settings(transport="native", username="user", password="pässword")
    network = Network(nursery, settings)
    options = ConnectOptions(
        client_id="device",
        clean_start=True,
        session_expiry=99,
        keep_alive=17,
        receive_maximum=33,
        will=Message("w", b"bye", qos=1, retain=True),
    )
    async with network.transport.connect(options) as link:
        said = await network.peer.expect(mqtt5.ConnectPacket)
        assert not link.session_present
    assert (said.client_id, said.username, said.password) == ("device", "user", "pässword".encode())
    assert (said.clean_start, said.session_expiry_interval) == (True, 99)
    assert (said.keep_alive, said.receive_max) == (17, 33)
    assert said.will is not None
    assert (said.will.topic, said.will.payload) == ("w", b"bye")
    assert (int(said.will.qos), said.will.retain) == (1, True)
    assert said.max_packet_size is None
    assert network.peer.names() == ["CONNECT", "DISCONNECT"]


async def test_no_connack_in_time(network: Network, autojump_clock: MockClock) -> None:
    network.greet()
    with pytest.raises(ConnectFailed, match="no CONNACK in time"):
        async with network.transport.connect(OPTIONS):
            raise AssertionError("there was no CONNACK")
    assert trio.current_time() == OPTIONS.connect_timeout
    await network.peer.gone.wait()
    assert network.peer.names() == ["CONNECT"]


@pytest.mark.parametrize("error", [OSError("no tunnel"), trio.BrokenResourceError("no tunnel")])
async def test_a_stream_that_cannot_be_opened_is_a_failed_connect(error: Exception) -> None:
    async def open_stream() -> trio.abc.Stream:
        raise error

    transport = NativeTransport(Settings(transport="native"), open_stream=open_stream)
    with pytest.raises(ConnectFailed, match="no connection to the broker: no tunnel"):
        async with transport.connect(OPTIONS):
            raise AssertionError("there is no stream")


async def test_opening_the_stream_counts_in_the_same_time(autojump_clock: MockClock) -> None:
    async def opens_for_ever() -> trio.abc.Stream:
        await trio.sleep_forever()
        raise AssertionError

    transport = NativeTransport(Settings(transport="native"), open_stream=opens_for_ever)
    with (
        trio.fail_after(LIMIT),
        pytest.raises(ConnectFailed, match="no connection to the broker in time"),
    ):
        async with transport.connect(OPTIONS):
            raise AssertionError("there was no stream")
    assert trio.current_time() == OPTIONS.connect_timeout


async def test_what_opening_the_stream_raises_comes_out(autojump_clock: MockClock) -> None:
    mistake = ConnectFailed("the tunnel is closed")

    async def fails() -> trio.abc.Stream:
        raise mistake

    with pytest.raises(ConnectFailed) as caught:
        async with NativeTransport(Settings(transport="native"), open_stream=fails).connect(
            OPTIONS
        ):
            raise AssertionError("there was no stream")
    assert caught.value is mistake


async def test_a_refusal_is_told_with_the_brokers_own_text(
    network: Network, autojump_clock: MockClock
) -> None:
    code = mqtt5.ConnAckReasonCode.NOT_AUTHORIZED
    network.greet(mqtt5.ConnAckPacket(reason_code=code, reason_str="not in this house"))
    with pytest.raises(RejectedByBroker) as caught:
        async with network.transport.connect(OPTIONS):
            raise AssertionError("it was refused")
    assert (caught.value.reason_code, caught.value.reason) == (0x87, "not in this house")
    await network.peer.gone.wait()
    assert network.peer.names() == ["CONNECT"]
    assert trio.current_time() == 0


@pytest.mark.parametrize(
    ("greeting", "text"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n" + b"X: y\r\n" * 20, "broke the protocol"),
        (b"\x20\x02\x00\x00", "MQTT 3.1.1"),
        (publish(1).write(), "PUBLISH where it cannot come"),
        (bye(mqtt5.DisconnectReasonCode.SERVER_BUSY).write(), "Server busy"),
    ],
)
async def test_something_else_instead_of_connack(
    network: Network, greeting: bytes, text: str, autojump_clock: MockClock
) -> None:
    network.greet(greeting)
    with pytest.raises(ConnectFailed, match=text):
        async with network.transport.connect(OPTIONS):
            raise AssertionError("there was no CONNACK")
    assert trio.current_time() == 0
    await network.peer.gone.wait()
    assert network.peer.names() == ["CONNECT"]  # there is nothing to say DISCONNECT to


async def test_the_broker_closes_instead_of_connack(
    network: Network, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    @nursery.start_soon
    async def hang_up() -> None:
        await wait_all_tasks_blocked()
        await network.peer.close()

    network.greet()
    with pytest.raises(ConnectFailed, match="the broker closed the connection"):
        async with network.transport.connect(OPTIONS):
            raise AssertionError("there was no CONNACK")
    assert trio.current_time() == 0


async def test_a_will_that_cannot_be_sent_is_refused_before_a_word_is_said(
    network: Network, autojump_clock: MockClock
) -> None:
    network.greet()
    with pytest.raises(RejectedByBroker, match="CONNECT cannot be sent"):
        async with network.transport.connect(
            attrs.evolve(OPTIONS, will=Message("w" * 70_000, b""))
        ):
            raise AssertionError("that is too long")
    await network.peer.gone.wait()
    assert network.peer.received == []


async def test_up_and_lost_in_one_read(network: Network, autojump_clock: MockClock) -> None:
    network.greet(ACCEPTED, publish(1), bye(mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER))
    async with network.transport.connect(OPTIONS) as link:
        assert numbers(await collect(link, 1)) == [1]
        with pytest.raises(ConnectionLost) as caught:
            await link.receive()
        assert caught.value.taken_over


# -- what the block raises


async def test_an_error_of_the_block_comes_out_as_it_is(
    network: Network, autojump_clock: MockClock
) -> None:
    mistake = ExceptionGroup("the user's own", [KeyError("mine")])
    with pytest.raises(ExceptionGroup) as caught:
        async with network.transport.connect(OPTIONS):
            raise mistake
    assert caught.value is mistake
    assert mistake.__context__ is None
    assert network.peer.names() == ["CONNECT", "DISCONNECT"]


async def test_an_error_and_a_cancellation_together_are_the_error(
    network: Network, autojump_clock: MockClock
) -> None:
    mistake = KeyError("mine")
    with pytest.raises(KeyError) as caught, trio.CancelScope() as scope:
        async with network.transport.connect(OPTIONS):
            scope.cancel()
            raise mistake
    assert caught.value is mistake
    assert network.peer.names() == ["CONNECT", "DISCONNECT"]


async def test_a_cancelled_block_says_goodbye(network: Network, autojump_clock: MockClock) -> None:
    outcomes = Outcomes()
    with trio.CancelScope() as scope:
        async with network.transport.connect(OPTIONS) as link:
            link.publish_nowait(Message("last", b"words", qos=0), outcomes)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert network.peer.names() == ["CONNECT", "PUBLISH", "DISCONNECT"]
    assert outcomes.told == [None]


async def test_an_error_of_the_block_on_a_lost_link(
    network: Network, autojump_clock: MockClock
) -> None:
    mistake = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with network.transport.connect(OPTIONS) as link:
            await network.peer.close()
            await link.ended.wait()
            raise mistake
    assert caught.value is mistake


async def test_a_fault_of_ours_ends_the_link_and_not_the_block(
    network: Network, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(error: object) -> None:
        raise ZeroDivisionError

    async with network.transport.connect(OPTIONS) as link:
        link.publish_nowait(Message("out", b"", qos=0), faulty)
        with pytest.raises(ConnectionLost, match="the link failed"):
            await link.receive()
        await trio.lowlevel.checkpoint()  # this block is not cancelled
    assert "a link has failed" in caplog.text


# -- the end of a link


async def test_the_loss_is_told_to_everybody_who_waits_once(
    network: Network, autojump_clock: MockClock
) -> None:
    network.greet(mqtt5.ConnAckPacket(receive_max=2))
    outcomes = Outcomes()
    told: list[str] = []

    async with network.transport.connect(OPTIONS) as link, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receiver() -> None:
            with pytest.raises(ConnectionLost):
                await link.receive()
            told.append("receive")

        @nursery.start_soon
        async def subscriber() -> None:
            with pytest.raises(ConnectionLost, match="closed the connection"):
                await link.subscribe([T])
            told.append("subscribe")

        @nursery.start_soon
        async def publisher() -> None:
            with pytest.raises(ConnectionLost):
                await link.publish(Message("out", b""))
            told.append("publish")

        for _ in range(2):
            link.publish_nowait(Message("out", b""), outcomes)
        await wait_all_tasks_blocked()
        await network.peer.close()
    assert sorted(told) == ["publish", "receive", "subscribe"]
    assert trio.current_time() == 0
    assert [type(each) for each in outcomes.told] == [ConnectionLost] * 2


async def test_what_had_arrived_before_the_loss_is_given_out(
    network: Network, autojump_clock: MockClock
) -> None:
    async with network.transport.connect(OPTIONS) as link:
        await network.peer.send(publish(1), publish(2))
        await network.peer.close()
        await link.ended.wait()
        found = await link.receive()
        assert numbers(list(found)) == [1, 2]
        found[0].ack()  # nobody is there any more
        raised: list[ConnectionLost] = []
        for _ in range(2):
            with pytest.raises(ConnectionLost) as caught:
                await link.receive()
            raised.append(caught.value)
        assert raised[0] is not raised[1]  # one that is raised twice mixes up its tracebacks
        with pytest.raises(ConnectionLost):
            link.publish_nowait(Message("out", b""), lambda _: None)
        with pytest.raises(ConnectionLost):
            await link.wait_publishable()
        with pytest.raises(ConnectionLost):
            await link.subscribe([T])
    assert "lost" in repr(link)


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER, None, "Session taken over"),
        (mqtt5.DisconnectReasonCode.SERVER_SHUTTING_DOWN, "back at five", "back at five"),
        (mqtt5.DisconnectReasonCode.NORMAL_DISCONNECTION, None, "0x00"),
    ],
)
async def test_what_the_brokers_disconnect_says(
    network: Network,
    code: mqtt5.DisconnectReasonCode,
    text: str | None,
    expected: str,
    autojump_clock: MockClock,
) -> None:
    async with network.transport.connect(OPTIONS) as link:
        await network.peer.send(bye(code, text))
        with pytest.raises(ConnectionLost, match=expected) as caught:
            await link.receive()
        assert caught.value.taken_over == (int(code) == 0x8E)
    await network.peer.gone.wait()
    assert network.peer.names() == ["CONNECT"]  # DISCONNECT has no answer


@pytest.mark.parametrize(
    ("rubbish", "code"),
    [
        (ACCEPTED.write(), 0x82),  # a second CONNACK
        (b"\x90\xff\xff\xff\x7f", 0x95),  # SUBACK of 256 MiB
        (b"\x90\x04\x00\x63\x00\x01", 0x82),  # SUBACK to nothing
        (b"\x34\x04\x00\x01t\x00", 0x81),  # its packet identifier is cut off
    ],
)
async def test_what_breaks_the_protocol_is_answered_with_its_reason(
    network: Network, rubbish: bytes, code: int, autojump_clock: MockClock
) -> None:
    outcomes = Outcomes()
    async with network.transport.connect(OPTIONS) as link:
        link.publish_nowait(Message("out", b""), outcomes)
        await network.peer.expect(mqtt5.PublishPacket)
        await network.peer.send(publish(1), publish(2), rubbish, publish(3))
        with pytest.raises(ConnectionLost, match="broke the protocol"):
            await collect(link, 3)
        said = await network.peer.expect(mqtt5.DisconnectPacket)
        assert int(said.reason_code) == code
        assert [type(each) for each in outcomes.told] == [ConnectionLost]
    await network.peer.gone.wait()
    assert network.peer.names() == ["CONNECT", "PUBLISH", "DISCONNECT"]


async def test_deliveries_before_malformed_input_are_given_out(
    network: Network, autojump_clock: MockClock
) -> None:
    async with network.transport.connect(OPTIONS) as link:
        await network.peer.send(publish(1), publish(2), b"\x00\x00", publish(3))
        await link.ended.wait()
        assert numbers(list(await link.receive())) == [1, 2]
        with pytest.raises(ConnectionLost):
            await link.receive()


async def test_nobody_takes_the_last_word(network: Network, autojump_clock: MockClock) -> None:
    """A peer that breaks the protocol and reads nothing holds nobody up for long."""
    async with network.transport.connect(OPTIONS) as link:
        network.peer.on_write(trio.sleep_forever)
        await network.peer.send(b"\x00\x00")
        with pytest.raises(ConnectionLost):
            await link.receive()
    assert trio.current_time() == OPTIONS.disconnect_timeout


async def test_a_delivery_acknowledges_on_its_own_link_only(
    network: Network, autojump_clock: MockClock
) -> None:
    network.greet(RESUMED, publish(7))
    async with network.transport.connect(OPTIONS) as link:
        (old,) = await collect(link, 1)
    async with network.transport.connect(OPTIONS) as link:
        (new,) = await collect(link, 1)
        old.ack()
        await wait_all_tasks_blocked()
        assert network.peers[1].of(mqtt5.PubAckPacket) == []
        new.ack()
        assert (await network.peer.expect(mqtt5.PubAckPacket)).packet_id == 7
    assert network.peers[0].of(mqtt5.PubAckPacket) == []


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_lost_link_does_not_publish_over_the_one_that_has_its_session(
    network: Network, autojump_clock: MockClock, qos: int
) -> None:
    outcomes = Outcomes()
    async with network.transport.connect(OPTIONS) as old:
        old.publish_nowait(Message("out", b"in flight"), outcomes)
        await network.peer.expect(mqtt5.PublishPacket)
        await network.peer.close()
        await old.ended.wait()
    network.greet(RESUMED)
    async with network.transport.connect(OPTIONS):
        with pytest.raises(ConnectionLost, match="closed the connection"):
            old.publish_nowait(Message("out", b"late", qos), outcomes)
    assert network.peer.of(mqtt5.PublishPacket) == []
    assert len(outcomes.told) == 1


async def test_publishing_when_told_of_the_loss_is_refused(
    network: Network, autojump_clock: MockClock
) -> None:
    """Taken there, a message with QoS 0 would never be done."""
    refused: list[ConnectionLost] = []
    async with network.transport.connect(OPTIONS) as link:

        def on_done(error: TransportError | None) -> None:
            with pytest.raises(ConnectionLost) as e:
                link.publish_nowait(Message("out", b"again", qos=0), outcomes)
            refused.append(e.value)

        outcomes = Outcomes()
        network.peer.on_write(trio.sleep_forever)
        link.publish_nowait(Message("out", b"stalls", qos=0), lambda _: None)
        await wait_all_tasks_blocked()
        link.publish_nowait(Message("out", b"never left", qos=0), on_done)
        await network.peer.close()
        await link.ended.wait()
    assert len(refused) == 1
    assert outcomes.told == []


# -- subscribing


async def test_no_suback_in_time_ends_the_link(network: Network, autojump_clock: MockClock) -> None:
    async with network.transport.connect(OPTIONS) as link:
        with pytest.raises(ConnectionLost, match="no SUBACK in time"):
            await link.subscribe([T])
        assert trio.current_time() == OPTIONS.subscribe_timeout


async def test_a_refused_filter_is_named_and_many_go_in_packets_of_eight(
    network: Network, autojump_clock: MockClock
) -> None:
    network.polite = True
    async with network.transport.connect(OPTIONS) as link:
        await link.subscribe([TopicFilter(f"t/{n}") for n in range(10)])
        asked = network.peer.of(mqtt5.SubscribePacket)
        assert [len(each.topic_filters) for each in asked] == [8, 2]
        one = asked[0].topic_filters[0]
        assert (int(one.max_qos), one.retain_as_published) == (1, False)
        assert one.retain_handling is mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS
        network.peer.polite = False
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def subscribe() -> None:
                with pytest.raises(RejectedByBroker, match="'b'") as caught:
                    await link.subscribe([TopicFilter("a"), TopicFilter("b")])
                assert caught.value.reason_code == 0x87

            await wait_all_tasks_blocked()
            codes = [GRANTED, mqtt5.SubAckReasonCode.NOT_AUTHORIZED]
            asked = network.peer.of(mqtt5.SubscribePacket)
            await network.peer.send(mqtt5.SubAckPacket(asked[-1].packet_id, codes))
