"""The native transport with real brokers, and over real sockets: TLS, Unix sockets, floods."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from petalkit._values.errors import ConnectFailed, ConnectionLost, RejectedByBroker
from petalkit._values.messages import Message
from petalkit._values.settings.settings import Settings
from petalkit._values.topics import TopicFilter
from petalkit.transports import ConnectOptions, Link, create_transport
from petalkit.transports._base_link import READ_SIZE
from petalkit.transports._connecting.sockets import PlainStream
from petalkit.transports.native import _link as link_module
from petalkit.transports.native._link import NativeLink

from ...brokers import Certificates, Mosquitto, free_port
from ..fake_broker import PUBLISH, Peer, connack, open_fake_broker, publish
from ..links import LIMIT, OPTIONS, cancel_soon, collect, numbers

pytestmark = pytest.mark.trio

StartMosquitto = Callable[..., Mosquitto]

T = TopicFilter("t")
V5_CONNACK = connack(properties=b"")


def native(url: str, **changes: Any) -> Settings:
    return Settings(broker=url, transport="native", **changes)


@asynccontextmanager
async def linked(settings: Settings, name: str = "device", **changes: Any) -> AsyncGenerator[Link]:
    options = attrs.evolve(OPTIONS, client_id=name, **changes)
    async with create_transport(settings).connect(options) as link:
        yield link


async def flood(link: Link, count: int) -> None:
    """Publish so many, as fast as the link takes them, and wait for the last PUBACK."""
    done = trio.Event()
    left = count

    def on_done(error: object) -> None:
        nonlocal left
        assert error is None
        left -= 1
        if not left:
            done.set()

    for number in range(count):
        while True:
            try:
                link.publish_nowait(Message("t", b"%d" % number), on_done)
                break
            except trio.WouldBlock:
                await link.wait_publishable()
    await done.wait()


async def round_trip(link: Link, count: int) -> None:
    """Everything comes back, whole and in order."""
    with trio.fail_after(2 * LIMIT):
        await link.subscribe([T])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood, link, count)
            assert numbers(await collect(link, count)) == list(range(count))


async def refused(settings: Settings, text: str, options: ConnectOptions = OPTIONS) -> None:
    with trio.fail_after(LIMIT), pytest.raises(ConnectFailed, match=text):
        async with create_transport(settings).connect(options):
            raise AssertionError("it was connected")


async def test_a_flood_arrives_whole_and_in_order(mosquitto: Mosquitto) -> None:
    async with linked(native(mosquitto.url)) as link:
        await round_trip(link, 5000)


# -- TLS


@pytest.mark.parametrize("mutual", [False, True])
async def test_over_tls(
    start_mosquitto: StartMosquitto, certificates: Certificates, *, mutual: bool
) -> None:
    broker = start_mosquitto(certificates=certificates, require_client_certificate=mutual)
    settings = native(
        broker.url,
        ca_file=certificates.ca,
        cert_file=certificates.client_cert if mutual else None,
        key_file=certificates.client_key if mutual else None,
        alpn=("mqtt",),  # which this broker does not know, and does not mind
    )
    async with linked(settings) as link:
        await round_trip(link, 3000)
    assert "Client device disconnected." in broker.log  # in order, and without an error


async def test_a_client_certificate_that_is_missing(
    start_mosquitto: StartMosquitto, certificates: Certificates
) -> None:
    """TLS 1.3 tells of it only after the handshake: maybe while waiting for the CONNACK."""
    broker = start_mosquitto(certificates=certificates, require_client_certificate=True)
    await refused(native(broker.url, ca_file=certificates.ca), "(?i)certificate")


async def test_a_broker_of_another_ca_or_name_is_not_trusted(
    start_mosquitto: StartMosquitto, certificates: Certificates, tmp_path: Path
) -> None:
    broker = start_mosquitto(certificates=certificates)
    stranger = Certificates.make(tmp_path / "stranger")
    elsewhere = Certificates.make(tmp_path / "elsewhere", "broker.example.org")
    misnamed = start_mosquitto(certificates=elsewhere)
    for settings in (
        native(broker.url, ca_file=stranger.ca),
        native(broker.url),
        native(misnamed.url, ca_file=elsewhere.ca),
    ):
        await refused(settings, "no TLS with .*certificate verify failed")


async def test_no_tls_where_it_was_asked_for(
    mosquitto: Mosquitto, certificates: Certificates
) -> None:
    settings = native(mosquitto.url.replace("mqtt:", "mqtts:"), ca_file=certificates.ca)
    await refused(settings, "no TLS with")


@attrs.frozen
class Choosy(Certificates):
    """Of a server that speaks one protocol by name, as AWS IoT Core on port 443 does."""

    def server_context(self) -> ssl.SSLContext:
        context = super().server_context()
        context.set_alpn_protocols(["x-amzn-mqtt-ca"])
        return context


@pytest.mark.parametrize("alpn", [(), ("x-amzn-mqtt-ca",), ("mqtt", "x-amzn-mqtt-ca")])
async def test_alpn(certificates: Certificates, alpn: tuple[str, ...]) -> None:
    chosen: list[str | None] = []

    async def script(peer: Peer) -> None:
        await peer.accept(connack=V5_CONNACK)
        assert isinstance(peer.stream, trio.SSLStream)
        chosen.append(peer.stream.selected_alpn_protocol())
        await peer.serve(v5=True)

    server = Choosy(**attrs.asdict(certificates))
    async with (
        open_fake_broker(script, server) as broker,
        linked(native(broker.url, ca_file=certificates.ca, alpn=alpn)),
    ):
        pass
    assert chosen == ["x-amzn-mqtt-ca" if alpn else None]


@pytest.mark.parametrize("read_size", [16, READ_SIZE])
async def test_packets_in_one_tls_record_are_all_read(
    certificates: Certificates, read_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What OpenSSL has taken already never makes the socket readable again."""
    monkeypatch.setattr(link_module, "READ_SIZE", read_size)

    async def script(peer: Peer) -> None:
        await peer.accept(connack=V5_CONNACK)
        await peer.expect(PUBLISH)
        await peer.send(*[publish(n, b"%d" % n, v5=True) for n in range(1, 11)])
        await trio.sleep_forever()

    async with (
        open_fake_broker(script, certificates) as broker,
        linked(native(broker.url, ca_file=certificates.ca), disconnect_timeout=0) as link,
    ):
        await link.publish(Message("go", b"", qos=0))
        assert numbers(await collect(link, 10)) == list(range(1, 11))


async def test_a_tls_handshake_that_never_ends_leaves_no_socket(certificates: Certificates) -> None:
    closed = trio.Event()

    async def script(peer: Peer) -> None:
        stream = peer.stream
        while await stream.receive_some():
            pass
        closed.set()

    async with open_fake_broker(script) as broker:
        settings = native(f"mqtts://127.0.0.1:{broker.port}", ca_file=certificates.ca)
        options = attrs.evolve(OPTIONS, connect_timeout=0.1)
        await refused(settings, "in time", options)
        with trio.fail_after(LIMIT):
            await closed.wait()


# -- Unix sockets


@pytest.mark.parametrize("transport", ["asyncio-mqtt", "native"])
async def test_over_a_unix_socket(
    start_mosquitto: StartMosquitto, tmp_path: Path, transport: str
) -> None:
    path = tmp_path / "mqtt"
    start_mosquitto(options={"listener": f"0 {path}"})
    settings = Settings(broker=f"unix://{path}", transport=transport)
    async with linked(settings) as link:
        await round_trip(link, 500)
    nobody = attrs.evolve(settings, broker=f"unix://{tmp_path}/nobody")
    await refused(nobody, f"no connection to unix://{tmp_path}/nobody: .*No such file")


# -- refusals


async def test_nobody_listens() -> None:
    await refused(native(f"mqtt://127.0.0.1:{free_port()}"), "no connection to .*refused")


async def test_a_wrong_password(start_mosquitto: StartMosquitto) -> None:
    broker = start_mosquitto(users={"device": "right"})
    base = native(broker.url, username="device")
    async with linked(attrs.evolve(base, password="right")):
        pass
    for settings in (attrs.evolve(base, password="wrong"), attrs.evolve(base, username=None)):
        with trio.fail_after(LIMIT), pytest.raises(RejectedByBroker) as caught:
            async with linked(settings):
                raise AssertionError("it was let in")
        assert caught.value.reason_code == 0x87


async def test_a_broker_that_refuses_mqtt_5_in_the_words_of_3_1_1() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(connack=connack(1))  # unacceptable protocol version
        assert await peer.packet() is None

    async with open_fake_broker(script) as broker:
        await refused(native(broker.url), "it answers as MQTT 3.1.1 does, and not as MQTT 5")


# -- wills, deaths, and coming back


async def test_the_will_is_for_a_link_that_dies(mosquitto: Mosquitto) -> None:
    will = Message("will", b"dead", qos=1)
    settings = native(mosquitto.url)
    async with linked(settings, "watcher") as watcher:
        await watcher.subscribe([TopicFilter("will")])
        async with linked(settings, will=will):
            pass
        with trio.CancelScope() as scope:
            async with linked(settings, will=will):
                scope.cancel()
                await trio.sleep_forever()
        await watcher.publish(Message("will", b"no will"))
        assert [each.payload for each in await collect(watcher, 1)] == [b"no will"]
        async with linked(settings, will=will) as link:
            assert isinstance(link, NativeLink)
            assert isinstance(link._stream, PlainStream)
            link._stream._sock.shutdown(socket.SHUT_RDWR)
            with trio.fail_after(LIMIT), pytest.raises(ConnectionLost):
                await link.receive()
        assert [each.payload for each in await collect(watcher, 1)] == [b"dead"]


async def test_leaving_with_unread_bytes_still_says_goodbye(mosquitto: Mosquitto) -> None:
    """Close without reading to the end: the kernel's reset overtakes the DISCONNECT."""
    settings = native(mosquitto.url)
    async with linked(settings, "watcher") as watcher:
        await watcher.subscribe([TopicFilter("will")])
        for _ in range(5):
            async with linked(settings, will=Message("will", b"dead", qos=1)) as link:
                await link.subscribe([T])
                for _ in range(300):
                    await watcher.publish(Message("t", bytes(10_000), qos=0))
                await watcher.publish(Message("t", b""))
        await watcher.publish(Message("will", b"no will"))
        assert [each.payload for each in await collect(watcher, 1)] == [b"no will"]


async def test_a_broker_that_is_killed_and_comes_back(mosquitto: Mosquitto) -> None:
    transport = create_transport(native(mosquitto.url))
    told: list[object] = []
    message = Message("t", b"7")
    async with transport.connect(OPTIONS) as link:
        await link.subscribe([T])
        link.publish_nowait(message, told.append)
        mosquitto.kill()
        with trio.fail_after(LIMIT), pytest.raises(ConnectionLost):
            while True:
                await link.receive()
        with pytest.raises(ConnectionLost):
            link.publish_nowait(message, told.append)
        assert len(told) == 1
    mosquitto.start()
    async with transport.connect(OPTIONS) as link:
        assert not link.session_present
        await link.subscribe([T])
        await link.publish(message)
        assert numbers(await collect(link, 1)) == [7]
        await round_trip(link, 100)


async def test_what_was_sent_while_away_is_delivered(mosquitto: Mosquitto) -> None:
    settings = native(mosquitto.url)
    async with linked(settings) as link:
        await link.subscribe([T])
    async with linked(settings, "sender") as sender:
        await flood(sender, 500)
    async with linked(settings) as link:
        assert link.session_present
        await link.subscribe([T])  # its SUBACK stands behind some of them
        assert numbers(await collect(link, 500)) == list(range(500))


async def test_cancelled_in_the_middle_of_everything(mosquitto: Mosquitto) -> None:
    """At every wait in turn: the cancellation travels, and no link holds it up."""
    for steps in range(60):
        with trio.fail_after(LIMIT), trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                cancel_soon(nursery, scope, steps)
                async with linked(native(mosquitto.url)) as link:
                    await link.subscribe([T])
                    while True:
                        await link.publish(Message("t", b""))
                        for delivery in await link.receive():
                            delivery.ack()
        assert scope.cancelled_caught
