"""What the asyncio-mqtt link keeps of the contract, against a broker that is scripted."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest
import trio
import trio.testing

from petalkit._values.errors import ConnectFailed, ConnectionLost, RejectedByBroker, TransportError
from petalkit._values.messages import Message
from petalkit._values.settings.settings import Settings
from petalkit._values.topics import TopicFilter
from petalkit.transports import Delivery, Link
from petalkit.transports._base_link import READ_SIZE
from petalkit.transports._receiving import bounded_inbox
from petalkit.transports._receiving.bounded_inbox import BUFFER_BYTES, BUFFER_MESSAGES
from petalkit.transports.asyncio_mqtt import create
from petalkit.transports.asyncio_mqtt._link import AsyncioLink
from petalkit.transports.asyncio_mqtt._outgoing import Outgoing

from ...brokers import free_port
from ..fake_broker import (
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PUBACK,
    PUBLISH,
    SUBACK,
    SUBSCRIBE,
    Peer,
    answer,
    connack,
    open_fake_broker,
    packet,
    polite,
    publish,
)
from ..fake_broker_link import connected
from ..links import LIMIT, OPTIONS

pytestmark = pytest.mark.trio

V5_CONNACK = connack(properties=b"")


def keeping(outcomes: list[TransportError | None], done: trio.Event) -> object:
    def on_done(error: TransportError | None) -> None:
        outcomes.append(error)
        done.set()

    return on_done


# -- connecting


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5])
async def test_a_return_code_of_connack_is_told_as_it_was_sent(code: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(connack=connack(code))
        assert await peer.packet() is None

    async with open_fake_broker(script) as broker:
        with trio.fail_after(LIMIT), pytest.raises(RejectedByBroker) as caught:
            async with create(Settings(broker=broker.url)).connect(OPTIONS):
                raise AssertionError("it was refused")
        assert caught.value.reason_code == code
        assert len(broker.peers) == 1  # no second try with another version


async def test_a_reason_code_of_connack_is_told_with_the_brokers_own_text() -> None:
    text = b"not in this house"
    reason_string = b"\x1f" + len(text).to_bytes(2, "big") + text

    async def script(peer: Peer) -> None:
        await peer.accept(connack=connack(0x87, properties=reason_string))
        assert await peer.packet() is None

    async with open_fake_broker(script) as broker:
        with trio.fail_after(LIMIT), pytest.raises(RejectedByBroker) as caught:
            async with create(Settings(broker=broker.url, protocol="5")).connect(OPTIONS):
                raise AssertionError("it was refused")
        assert (caught.value.reason_code, caught.value.reason) == (0x87, "not in this house")


async def test_no_connack_in_time(mock_clock: trio.testing.MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.expect(CONNECT)
        mock_clock.jump(OPTIONS.connect_timeout)
        assert await peer.packet() is None

    async with open_fake_broker(script) as broker:
        with pytest.raises(ConnectFailed, match="no CONNACK in time"):
            async with create(Settings(broker=broker.url)).connect(OPTIONS):
                raise AssertionError("there was no CONNACK")


async def test_nobody_listens() -> None:
    settings = Settings(broker=f"mqtt://127.0.0.1:{free_port()}")
    with trio.fail_after(LIMIT), pytest.raises(ConnectFailed, match="refused"):
        async with create(settings).connect(OPTIONS):
            raise AssertionError("there is no broker")


async def test_the_broker_closes_instead_of_connack() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect(CONNECT)

    async with open_fake_broker(script) as broker:
        with trio.fail_after(LIMIT), pytest.raises(ConnectFailed, match="closed the connection"):
            async with create(Settings(broker=broker.url)).connect(OPTIONS):
                raise AssertionError("there was no CONNACK")


async def test_a_tls_handshake_that_never_ends(
    mock_clock: trio.testing.MockClock,
) -> None:
    closed = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.stream.receive_some()
        mock_clock.jump(OPTIONS.connect_timeout)
        while await peer.stream.receive_some():
            pass
        closed.set()

    async with open_fake_broker(script) as broker:
        settings = Settings(broker=f"mqtts://127.0.0.1:{broker.port}")
        with pytest.raises(ConnectFailed, match="in time"):
            async with create(settings).connect(OPTIONS):
                raise AssertionError("there was no TLS")
        await closed.wait()


async def test_what_connect_says() -> None:
    options = attrs.evolve(
        OPTIONS, keep_alive=17, will=Message("w", b"bye", qos=1, retain=True), session_expiry=0
    )
    async with open_fake_broker(polite) as broker:
        settings = Settings(broker=broker.url, username="user", password="pass")
        async with create(settings).connect(options):
            pass
        body = broker.peers[0].received[0].body
    # user name, password, retained will of QoS 1, clean session
    assert body[:10] == b"\x00\x04MQTT\x04" + bytes([0b1110_1110]) + b"\x00\x11"
    assert body[10:] == b"\x00\x06device\x00\x01w\x00\x03bye\x00\x04user\x00\x04pass"


async def test_what_connect_says_in_version_5() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(connack=V5_CONNACK)
        await peer.serve(v5=True)

    async with open_fake_broker(script) as broker:
        options = attrs.evolve(OPTIONS, session_expiry=3600, receive_maximum=77)
        transport = create(Settings(broker=broker.url, protocol="5"))
        async with transport.connect(options):
            pass
        async with transport.connect(attrs.evolve(options, clean_start=True)):
            pass
        bodies = [peer.received[0].body for peer in broker.peers]
    assert [body[7] for body in bodies] == [0, 2]  # clean start
    assert sorted([bodies[0][11:16], bodies[0][16:19]]) == sorted(
        [b"\x11\x00\x00\x0e\x10", b"\x21\x00\x4d"]
    )


# -- what the block raises


async def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    async with open_fake_broker(polite) as broker:
        with pytest.raises(ZeroDivisionError) as caught:
            async with create(Settings(broker=broker.url)).connect(OPTIONS):
                1 / 0  # noqa: B018
        assert caught.value.__context__ is None
        await trio.testing.wait_all_tasks_blocked()
        assert broker.peers[0].kinds() == [CONNECT, DISCONNECT]


async def test_the_loss_of_a_link_does_not_disturb_the_block() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(publish(1, b"1"), publish(2, b"2"))

    async with connected(script) as link:
        assert isinstance(link, AsyncioLink)
        with trio.fail_after(LIMIT):
            await link._ended.wait()
        await trio.lowlevel.checkpoint()
        arrived = await link.receive()  # what had come is still given out
        assert [each.payload for each in arrived] == [b"1", b"2"]
        arrived[0].ack()
        for _ in range(2):
            with pytest.raises(ConnectionLost) as caught:
                await link.receive()
            assert not caught.value.taken_over
        with pytest.raises(ConnectionLost):
            link.publish_nowait(Message("out", b""), lambda _: None)
        with pytest.raises(ConnectionLost):
            await link.wait_publishable()


async def test_a_session_that_was_taken_over() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(packet(14, b"\x8e\x00"), connack=V5_CONNACK)

    async with (
        open_fake_broker(script) as broker,
        create(Settings(broker=broker.url, protocol="5")).connect(OPTIONS) as link,
    ):
        with trio.fail_after(LIMIT), pytest.raises(ConnectionLost, match="taken over") as caught:
            await link.receive()
        assert caught.value.taken_over


async def test_a_loss_while_something_is_still_to_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """paho writes nothing once it has closed; a link that goes on trying spins without an end."""
    flushes = 0
    flush = Outgoing.flush

    def counting(outgoing: Outgoing) -> None:
        nonlocal flushes
        flushes += 1
        if flushes > 100:
            raise RuntimeError("the writing task spins")  # which ends this test
        flush(outgoing)

    async def script(peer: Peer) -> None:
        await peer.accept(publish(1, v5=True), connack=V5_CONNACK)
        await acknowledging.wait()
        await peer.send(packet(14, b"\x8b\x00"))
        await peer.packet()

    acknowledging = trio.Event()
    async with (
        open_fake_broker(script) as broker,
        create(Settings(broker=broker.url, protocol="5")).connect(OPTIONS) as link,
    ):
        assert isinstance(link, AsyncioLink)
        (delivery,) = await link.receive()
        on_end = link.on_end

        def acknowledge_at_the_end(reason: str, *, reason_code: int | None) -> None:
            delivery.ack()  # as the runtime may have, in the same wake-up
            on_end(reason, reason_code=reason_code)

        monkeypatch.setattr(Outgoing, "flush", counting)
        monkeypatch.setattr(link, "on_end", acknowledge_at_the_end)
        acknowledging.set()
        with trio.fail_after(LIMIT), pytest.raises(ConnectionLost, match="shutting down"):
            await link.receive()
    assert flushes <= 1


@pytest.mark.parametrize(
    "rubbish", [b"\xf0\x00", b"\x30\x01x", b"\x90\x00", b"\x30\xff\xff\xff\xff\x01"]
)
async def test_rubbish_ends_the_link_and_nothing_else(rubbish: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(rubbish)
        await peer.drain()

    async with connected(script) as link:
        with trio.fail_after(LIMIT), pytest.raises(ConnectionLost):
            await link.receive()


@pytest.mark.parametrize("topic", [b"\xff", b"\xed\xa0\x80"])
async def test_a_topic_that_is_not_utf_8_breaks_the_protocol(
    topic: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(publish(1, b"before"), publish(2, topic=topic), publish(3, b"after"))
        await peer.drain()

    async with connected(script) as link:
        with trio.fail_after(LIMIT):
            [before] = await link.receive()
            assert before.payload == b"before"
            with pytest.raises(ConnectionLost, match="a topic that is not UTF-8"):
                await link.receive()
    assert caplog.text == ""


# -- subscribing


async def test_a_refused_filter_is_named() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        found = await peer.expect(SUBSCRIBE)
        await peer.send(answer(SUBACK, found, b"\x01\x80"))
        await peer.serve()

    async with connected(script) as link:
        with trio.fail_after(LIMIT), pytest.raises(RejectedByBroker, match="'b'") as caught:
            await link.subscribe([TopicFilter("a"), TopicFilter("b")])
        assert caught.value.reason_code == 0x80


async def test_many_filters_go_in_packets_of_eight() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        for count in (8, 2):
            found = await peer.expect(SUBSCRIBE)
            await peer.send(answer(SUBACK, found, b"\x01" * count))
        await peer.serve()

    async with connected(script) as link:
        with trio.fail_after(LIMIT):
            await link.subscribe([TopicFilter(f"t/{n}") for n in range(10)])


async def test_no_suback_in_time(mock_clock: trio.testing.MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(SUBSCRIBE)
        mock_clock.jump(OPTIONS.subscribe_timeout)
        assert await peer.packet() is None

    async with connected(script) as link:
        with pytest.raises(ConnectionLost, match="no SUBACK"):
            await link.subscribe([TopicFilter("t")])


async def test_a_suback_behind_a_replayed_session_is_found() -> None:
    """Take out `WAITING_FACTOR`: reading stops before the SUBACK, and nobody receives yet."""
    total = 3 * BUFFER_MESSAGES

    async def script(peer: Peer) -> None:
        await peer.accept(*[publish(n, b"%d" % n) for n in range(1, total + 1)])
        await peer.serve()

    async with connected(script) as link:
        with trio.fail_after(LIMIT):
            await trio.testing.wait_all_tasks_blocked()
            await link.subscribe([TopicFilter("t")])
            found: list[Delivery] = []
            while len(found) < total:
                found += await link.receive()
        assert [int(each.payload) for each in found] == list(range(1, total + 1))


# -- receiving


async def test_while_nobody_receives_reading_stops_with_a_bound() -> None:
    """Take out the wait for room in `_read`: everything is read into memory."""
    total, size = 20 * BUFFER_MESSAGES, 2000

    async def script(peer: Peer) -> None:
        await peer.accept(*[publish(0, b"%0*d" % (size, n)) for n in range(total)])
        await peer.serve()

    async with connected(script) as link:
        await trio.testing.wait_all_tasks_blocked()
        found: list[Delivery] = []
        with trio.fail_after(LIMIT):
            while len(found) < total:
                batch = await link.receive()
                assert len(batch) <= BUFFER_MESSAGES + READ_SIZE // size
                found += batch
        assert [int(each.payload) for each in found] == list(range(total))


async def test_all_of_one_read_is_handed_over_together() -> None:
    """The last may be urgent. Stop parsing at a full inbox: it stays on the wire."""
    total = 3 * BUFFER_MESSAGES
    got: list[Delivery] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.send(*[publish(0, b"%d" % n) for n in range(total)])
        await peer.serve()

    def stop_at_once(batch: Sequence[Delivery]) -> bool:
        got.extend(batch)
        return False

    async with (
        open_fake_broker(script) as broker,
        create(Settings(broker=broker.url)).connect(OPTIONS) as link,
    ):
        with trio.fail_after(LIMIT):
            await link.deliver(stop_at_once)
        assert isinstance(link, AsyncioLink)
        assert link._wire.unread == 0
        assert [int(each.payload) for each in got] == list(range(len(got)))


async def test_a_loss_in_the_wake_up_in_which_reading_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Let `_read` go on while the link is lost: it parses nothing, and spins without an end."""
    parses = 0
    parse = AsyncioLink._parse

    def counting(link: AsyncioLink) -> None:
        nonlocal parses
        parses += 1
        if parses > 100:
            raise RuntimeError("the reading task spins")  # which ends this test
        parse(link)

    async def script(peer: Peer) -> None:
        await peer.accept(*[publish(0, b"") for _ in range(3 * BUFFER_MESSAGES)])
        await peer.serve()

    async with connected(script) as link:
        assert isinstance(link, AsyncioLink)
        await trio.testing.wait_all_tasks_blocked()
        monkeypatch.setattr(AsyncioLink, "_parse", counting)
        await link.receive()  # makes room, so that the reading task is about to wake up
        link._lose("writing failed in the same wake-up")
        with trio.fail_after(LIMIT), pytest.raises(ConnectionLost, match="writing failed"):
            await link.receive()
    assert parses <= 1


async def test_large_messages_are_bounded_by_their_bytes() -> None:
    payload = bytes(300_000)

    async def script(peer: Peer) -> None:
        await peer.accept(*[publish(0, payload)] * 10)
        await peer.serve()

    async with connected(script) as link:
        count = 0
        with trio.fail_after(LIMIT):
            while count < 10:
                batch = await link.receive()
                assert sum(len(each.payload) for each in batch) < BUFFER_BYTES + 300_000
                count += len(batch)


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_message_without_measure_is_read_over_and_refused(qos: int) -> None:
    """Take out `keep_head_of_long`: all of it is in memory."""
    limit = bounded_inbox.PACKET_BYTES_MIN

    async def script(peer: Peer) -> None:
        await peer.accept(publish(qos, bytes(5 * limit)), publish(0, b"after"))
        await peer.serve()

    async with open_fake_broker(script) as broker:
        async with create(Settings(broker=broker.url)).connect(OPTIONS) as link:
            found: list[Delivery] = []
            with trio.fail_after(LIMIT):
                while len(found) < 2:
                    found += await link.receive()
            for delivery in found:
                delivery.ack()
        fault = found[0].fault
        assert fault is not None
        assert fault.too_large
        assert (found[0].topic, found[0].payload) == ("t", b"")
        assert found[1].payload == b"after"
        assert len(broker.peers[0].of(PUBACK)) == qos


async def test_two_receivers_are_one_too_many() -> None:
    async with (
        open_fake_broker(polite) as broker,
        create(Settings(broker=broker.url)).connect(OPTIONS) as link,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(link.receive)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await link.receive()
        nursery.cancel_scope.cancel()


async def test_a_cancelled_receive_loses_nothing() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(publish(1, b"1"))
        await peer.serve()

    async with connected(script) as link:
        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await link.receive()
        assert scope.cancelled_caught
        with trio.fail_after(LIMIT):
            (delivery,) = await link.receive()
        assert delivery.payload == b"1"


# -- publishing


async def test_what_is_published_together_leaves_together() -> None:
    sends: list[int] = []

    class Counted(AsyncioLink):
        def _send(self) -> bool:
            if self._wire.outgoing:
                sends.append(len(self._wire.outgoing))
            return super()._send()

    async def script(peer: Peer) -> None:
        await peer.accept(*[publish(n, b"x") for n in range(1, 11)])
        await peer.serve()

    async with open_fake_broker(script) as broker:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("petalkit.transports.asyncio_mqtt._transport.AsyncioLink", Counted)
            async with create(Settings(broker=broker.url)).connect(OPTIONS) as link:
                sends.clear()
                answered = trio.Event()
                outcomes: list[TransportError | None] = []

                def on_done(error: TransportError | None) -> None:
                    outcomes.append(error)
                    if len(outcomes) == 10:
                        answered.set()

                batch: list[Delivery] = []
                while len(batch) < 10:
                    batch += await link.receive()
                for delivery in batch:
                    link.publish_nowait(Message("out", delivery.payload), on_done)
                    delivery.ack()
                assert outcomes == []
                with trio.fail_after(LIMIT):
                    await answered.wait()
                assert outcomes == [None] * 10
                assert len(sends) == 1
        assert len(broker.peers[0].of(PUBACK)) == len(broker.peers[0].of(PUBLISH)) == 10


async def test_as_many_in_flight_as_the_broker_allows() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(connack=connack(properties=b"\x21\x00\x02"))  # Receive Maximum 2
        first = await peer.expect(PUBLISH)
        await peer.expect(PUBLISH)
        await full.wait()
        await peer.send(answer(PUBACK, first))
        await peer.serve(v5=True)

    full = trio.Event()
    done = trio.Event()
    outcomes: list[TransportError | None] = []
    async with (
        open_fake_broker(script) as broker,
        create(Settings(broker=broker.url, protocol="5")).connect(OPTIONS) as link,
    ):
        on_done: object = keeping(outcomes, done)
        assert callable(on_done)
        for _ in range(2):
            await link.wait_publishable()
            link.publish_nowait(Message("out", b""), on_done)
        with pytest.raises(trio.WouldBlock):
            link.publish_nowait(Message("out", b""), on_done)
        full.set()
        with trio.fail_after(LIMIT):
            await link.wait_publishable()
        assert outcomes == [None]
        link.publish_nowait(Message("out", b""), on_done)


async def refused(link: Link, message: Message) -> RejectedByBroker:
    with trio.fail_after(LIMIT), pytest.raises(RejectedByBroker) as caught:
        await link.publish(message)
    return caught.value


async def test_messages_that_are_refused_do_not_hurt_the_link() -> None:
    async def script(peer: Peer) -> None:
        # Maximum Packet Size 1000
        await peer.accept(connack=connack(properties=b"\x27\x00\x00\x03\xe8"))
        found = await peer.expect(PUBLISH)
        await peer.send(answer(PUBACK, found, b"\x87\x00"))
        found = await peer.expect(PUBLISH)
        await peer.send(answer(PUBACK, found, b"\x10\x00"))  # no matching subscribers: no error
        await peer.serve(v5=True)

    options = attrs.evolve(OPTIONS, payload_max=500)
    async with (
        open_fake_broker(script) as broker,
        create(Settings(broker=broker.url, protocol="5")).connect(options) as link,
    ):
        assert (await refused(link, Message("out", b""))).reason_code == 0x87
        await link.publish(Message("out", b""))
        for qos in (0, 1):
            assert (await refused(link, Message("out", bytes(501), qos))).reason_code == 0x95
            assert (await refused(link, Message("a/#", b"", qos))).reason_code == 0x90
        assert (await refused(link, Message("o" * 600, bytes(450)))).reason_code == 0x95
        await link.publish(Message("out", b"", qos=0))
        await link.publish(Message("out", bytes(500)))
        assert isinstance(link, AsyncioLink)
        assert link._outgoing.in_flight == 0


async def test_what_is_unanswered_when_the_link_ends_is_told_once() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(PUBLISH)
        await peer.expect(DISCONNECT)

    outcomes: list[TransportError | None] = []
    async with connected(script) as link:
        link.publish_nowait(Message("out", b"last words"), outcomes.append)
        link.publish_nowait(Message("out", b"of QoS 0", qos=0), outcomes.append)
    assert [type(each) for each in outcomes] == [type(None), ConnectionLost]
    assert str(outcomes[1]) == "the link was left"


async def test_a_full_socket_is_waited_for() -> None:
    """Let `_send` say True when the socket is full: the writer spins and nobody else runs."""
    payload = bytes(100_000)

    async def script(peer: Peer) -> None:
        await peer.accept()
        await go_on.wait()
        await peer.serve()

    go_on = trio.Event()
    outcomes: list[TransportError | None] = []
    all_done = trio.Event()

    def on_done(error: TransportError | None) -> None:
        outcomes.append(error)
        if len(outcomes) == 100:
            all_done.set()

    async with open_fake_broker(script) as broker:
        async with create(Settings(broker=broker.url)).connect(OPTIONS) as link:
            with trio.fail_after(LIMIT):
                for number in range(100):
                    try:
                        link.publish_nowait(Message("out", payload), on_done)
                    except trio.WouldBlock:
                        go_on.set()
                        await link.wait_publishable()
                        link.publish_nowait(Message("out", payload), on_done)
                    if number % 5 == 0:
                        await trio.testing.wait_all_tasks_blocked()
                await all_done.wait()
        assert outcomes == [None] * 100
        assert {len(each.body) for each in broker.peers[0].of(PUBLISH)} == {100_007}


# -- leaving


async def test_leaving_with_unread_bytes_still_says_goodbye() -> None:
    """Take out the reading in `leave`: the kernel's reset overtakes the DISCONNECT."""
    total = 20 * BUFFER_MESSAGES
    goodbye = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept(*[publish(0, bytes(5000)) for _ in range(total)])
        await peer.expect(DISCONNECT)
        assert await peer.packet() is None
        goodbye.set()

    async with open_fake_broker(script) as broker:
        async with create(Settings(broker=broker.url)).connect(OPTIONS) as link:
            await link.receive()
        with trio.fail_after(LIMIT):
            await goodbye.wait()


async def test_leaving_is_bounded(mock_clock: trio.testing.MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(DISCONNECT)
        mock_clock.jump(OPTIONS.disconnect_timeout)
        await trio.sleep_forever()  # never closes

    async with (
        open_fake_broker(script) as broker,
        create(Settings(broker=broker.url)).connect(OPTIONS),
    ):
        pass
    assert mock_clock.current_time() == OPTIONS.disconnect_timeout


async def test_an_acknowledgement_given_last_still_leaves() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(publish(9, b"9"))
        await peer.serve()

    async with open_fake_broker(script) as broker:
        async with create(Settings(broker=broker.url)).connect(OPTIONS) as link:
            (delivery,) = await link.receive()
            delivery.ack()
        await trio.testing.wait_all_tasks_blocked()
        assert broker.peers[0].kinds() == [CONNECT, PUBACK, DISCONNECT]


async def test_a_pingreq_leaves_behind_what_was_published_before_it() -> None:
    """Its PINGRESP says nothing of that otherwise."""
    async with (
        open_fake_broker(polite) as broker,
        create(Settings(broker=broker.url)).connect(OPTIONS) as link,
    ):
        link.publish_nowait(Message("t", b"x", qos=1), lambda _: None)
        link.echo(ask=True)
        with trio.fail_after(LIMIT):
            while link.echo()[0] < 0:
                await trio.sleep(0.01)
        (peer,) = broker.peers
        kinds = [kind for kind in peer.kinds() if kind in (PUBLISH, PINGREQ)]
        assert kinds == [PUBLISH, PINGREQ]


async def test_what_was_read_at_once_is_given_to_the_sink_at_once() -> None:
    """Also when it wants no more: nothing that has left the socket waits for that."""
    total = 3 * BUFFER_MESSAGES
    more = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept(*[publish(0, b"%d" % n) for n in range(total)])
        await more.wait()
        await peer.send(publish(0, b"%d" % total))
        await peer.serve()

    async with connected(script) as link:
        taken: list[Delivery] = []

        def sink(batch: Sequence[Delivery]) -> bool:
            taken.extend(batch)
            return len(taken) < total - BUFFER_MESSAGES

        with trio.fail_after(LIMIT):
            await link.deliver(sink)
            assert isinstance(link, AsyncioLink)
            assert len(taken) + link._wire.unread + len(link._inbox.deliveries) == len(taken)
            more.set()
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert not link._inbox.deliveries  # nor is more read
            assert not link._wire.unread
            while len(taken) <= total:
                await link.deliver(sink)
        assert [int(each.payload) for each in taken] == list(range(total + 1))
