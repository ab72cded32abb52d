"""The asyncio-mqtt transport with real brokers: mosquitto in both versions."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from petalkit._values.errors import ConnectFailed, ConnectionLost, RejectedByBroker
from petalkit._values.messages import Message
from petalkit._values.settings.settings import Settings
from petalkit._values.topics import TopicFilter
from petalkit.transports import ConnectOptions, Link
from petalkit.transports.asyncio_mqtt import create
from petalkit.transports.asyncio_mqtt._link import AsyncioLink

from ...brokers import Certificates, Mosquitto
from ..links import LIMIT, OPTIONS, cancel_soon, collect, numbers

pytestmark = pytest.mark.trio

BOTH = pytest.mark.parametrize("protocol", ["3.1.1", "5"])


def options(name: str, **changes: object) -> ConnectOptions:
    return attrs.evolve(OPTIONS, client_id=name, **changes)


@asynccontextmanager
async def linked(
    broker: Mosquitto, name: str = "device", protocol: str = "3.1.1", **changes: object
) -> AsyncGenerator[Link]:
    settings = Settings(broker=broker.url, protocol=protocol)  # type: ignore[arg-type]
    async with create(settings).connect(options(name, **changes)) as link:
        yield link


async def send_numbers(link: Link, topic: str, count: int) -> None:
    for number in range(count):
        await link.publish(Message(topic, b"%d" % number))


@BOTH
async def test_messages_go_round(mosquitto: Mosquitto, protocol: str) -> None:
    async with linked(mosquitto, protocol=protocol) as link:
        await link.subscribe([TopicFilter("a/#"), TopicFilter("b")])
        await link.publish(Message("a/1", b"one"))
        await link.publish(Message("b", b"two", qos=0))
        found = await collect(link, 2)
        assert [(each.topic, each.payload, each.qos) for each in found] == [
            ("a/1", b"one", 1),
            ("b", b"two", 0),
        ]
        await link.unsubscribe([TopicFilter("a/#")])
        await link.publish(Message("a/1", b"three"))
        await link.publish(Message("b", b"four"))
        assert [each.payload for each in await collect(link, 1)] == [b"four"]


@BOTH
@pytest.mark.parametrize("mutual", [False, True])
async def test_over_tls(
    start_mosquitto: Callable[..., Mosquitto],
    certificates: Certificates,
    protocol: str,
    *,
    mutual: bool,
) -> None:
    broker = start_mosquitto(certificates=certificates, require_client_certificate=mutual)
    settings = Settings(
        broker=broker.url,
        protocol=protocol,  # type: ignore[arg-type]
        ca_file=certificates.ca,
        cert_file=certificates.client_cert if mutual else None,
        key_file=certificates.client_key if mutual else None,
        alpn=("mqtt",),
    )
    async with create(settings).connect(OPTIONS) as link:
        await link.subscribe([TopicFilter("t")])
        await send_numbers(link, "t", 50)
        assert numbers(await collect(link, 50)) == list(range(50))


async def test_a_client_certificate_that_is_missing(
    start_mosquitto: Callable[..., Mosquitto], certificates: Certificates
) -> None:
    broker = start_mosquitto(certificates=certificates, require_client_certificate=True)
    settings = Settings(broker=broker.url, ca_file=certificates.ca)
    with trio.fail_after(LIMIT), pytest.raises(ConnectFailed):
        async with create(settings).connect(OPTIONS):
            raise AssertionError("no certificate was shown")


async def test_a_broker_of_another_ca_or_name_is_not_trusted(
    start_mosquitto: Callable[..., Mosquitto], certificates: Certificates, tmp_path: Path
) -> None:
    broker = start_mosquitto(certificates=certificates)
    stranger = Certificates.make(tmp_path / "stranger")
    elsewhere = Certificates.make(tmp_path / "elsewhere", "broker.example.org")
    misnamed = start_mosquitto(certificates=elsewhere)
    for settings in (
        Settings(broker=broker.url, ca_file=stranger.ca),
        Settings(broker=broker.url),
        Settings(broker=misnamed.url, ca_file=elsewhere.ca),
    ):
        with trio.fail_after(LIMIT), pytest.raises(ConnectFailed, match="certificate verify"):
            async with create(settings).connect(OPTIONS):
                raise AssertionError("it was trusted")


@BOTH
async def test_a_wrong_password(start_mosquitto: Callable[..., Mosquitto], protocol: str) -> None:
    broker = start_mosquitto(users={"device": "right"})
    base = Settings(broker=broker.url, protocol=protocol, username="device")  # type: ignore[arg-type]
    async with create(attrs.evolve(base, password="right")).connect(OPTIONS):
        pass
    for settings in (attrs.evolve(base, password="wrong"), attrs.evolve(base, username=None)):
        with trio.fail_after(LIMIT), pytest.raises(RejectedByBroker) as caught:
            async with create(settings).connect(OPTIONS):
                raise AssertionError("it was let in")
        assert caught.value.reason_code == (0x87 if protocol == "5" else 5)


@BOTH
async def test_s04_what_was_sent_while_away_is_delivered(
    mosquitto: Mosquitto, protocol: str
) -> None:
    """Take out `HardenedClient._on_message`: acknowledged or not, nobody sees them."""
    async with linked(mosquitto, protocol=protocol) as link:
        assert not link.session_present
        await link.subscribe([TopicFilter("t")])
    async with linked(mosquitto, "sender") as sender:
        await send_numbers(sender, "t", 100)
    async with linked(mosquitto, protocol=protocol) as link:
        assert link.session_present
        assert numbers(await collect(link, 100)) == list(range(100))
    async with linked(mosquitto, protocol=protocol, clean_start=True) as link:
        assert not link.session_present
    async with linked(mosquitto, protocol=protocol, session_expiry=0, clean_start=True) as link:
        assert not link.session_present
        await link.subscribe([TopicFilter("t")])
    async with linked(mosquitto, protocol=protocol) as link:
        assert not link.session_present


@pytest.mark.parametrize(("protocol", "window"), [("3.1.1", 20), ("5", 33)])
async def test_s05_the_brokers_window_is_the_back_pressure(
    mosquitto: Mosquitto, protocol: str, window: int
) -> None:
    """Take out `manual_ack=True`: all of them come without one acknowledgement."""
    async with linked(mosquitto, "sender") as sender:
        async with linked(mosquitto, protocol=protocol, receive_maximum=33) as link:
            await link.subscribe([TopicFilter("t")])
            await send_numbers(sender, "t", 200)
            held = await collect(link, window, ack=False)
            assert numbers(held) == list(range(window))
            await send_numbers(sender, "elsewhere", 10)
            with trio.move_on_after(0.2):
                raise AssertionError(f"more than {window}: {await link.receive()}")
            held[0].ack()
            more = await collect(link, 1, ack=False)
            assert numbers(more)[0] == window  # and mosquitto 2.0.11 some more at once
        # All but the one come again, in order.
        async with linked(mosquitto, protocol=protocol, receive_maximum=33) as link:
            found = await collect(link, 199)
            assert numbers(found) == list(range(1, 200))
            assert found[0].dup


async def test_s14_what_mosquitto_drops_for_an_absent_client_is_its_own(
    start_mosquitto: Callable[..., Mosquitto],
) -> None:
    """Not ours to mend: the sender has its PUBACK, and the rest is not in the session."""
    broker = start_mosquitto(max_queued_messages=30)
    async with linked(broker) as link:
        await link.subscribe([TopicFilter("t")])
    async with linked(broker, "sender") as sender:
        await send_numbers(sender, "t", 100)
        async with linked(broker) as link:
            found = await collect(link, 30)
            await sender.publish(Message("t", b"999"))
            found += await collect(link, 1)
    assert numbers(found) == [*numbers(found)[:-1], 999]
    assert numbers(found) == sorted(numbers(found))
    assert len(found) <= 30 + 20 + 1


async def test_s15_the_will_is_for_a_link_that_dies(mosquitto: Mosquitto) -> None:
    """Take out `shield=True` in `connect`: a cancelled block leaves a will behind."""
    will = Message("will", b"dead", qos=1)
    async with linked(mosquitto, "watcher") as watcher:
        await watcher.subscribe([TopicFilter("will")])
        with trio.CancelScope() as scope:
            async with linked(mosquitto, will=will):
                scope.cancel()
                await trio.sleep_forever()
        await watcher.publish(Message("will", b"no will"))
        assert [each.payload for each in await collect(watcher, 1)] == [b"no will"]
        async with linked(mosquitto, will=will) as link:
            assert isinstance(link, AsyncioLink)
            link._sock.raw.shutdown(socket.SHUT_RDWR)
            with trio.fail_after(LIMIT), pytest.raises(ConnectionLost):
                await link.receive()
        assert [each.payload for each in await collect(watcher, 1)] == [b"dead"]


async def test_a_session_taken_over_ends_the_first_link(mosquitto: Mosquitto) -> None:
    """mosquitto 2.0.11 closes without a word, in version 5 too: `taken_over` stays False."""
    async with linked(mosquitto, protocol="5") as first, linked(mosquitto, protocol="5") as second:
        with trio.fail_after(LIMIT), pytest.raises(ConnectionLost):
            await first.receive()
        assert second.session_present
        await second.publish(Message("t", b""))


@BOTH
async def test_s20_a_retained_message_comes_once_per_subscription(
    mosquitto: Mosquitto, protocol: str
) -> None:
    """Take out `retainHandling=1`: on MQTT 5 it comes again."""
    async with linked(mosquitto, "sender") as sender:
        await sender.publish(Message("t", b"kept", retain=True))
    async with linked(mosquitto, protocol=protocol) as link:
        await link.subscribe([TopicFilter("t")])
        (first,) = await collect(link, 1)
        assert first.retain
    async with linked(mosquitto, protocol=protocol) as link:
        await link.subscribe([TopicFilter("t")])
        await link.publish(Message("t", b"live"))
        expected = [b"live"] if protocol == "5" else [b"kept", b"live"]
        assert [each.payload for each in await collect(link, len(expected))] == expected


@BOTH
async def test_a_broker_that_is_killed_and_comes_back(mosquitto: Mosquitto, protocol: str) -> None:
    outcomes: list[object] = []
    async with linked(mosquitto, protocol=protocol) as link:
        await link.subscribe([TopicFilter("t")])
        mosquitto.kill()
        with trio.fail_after(LIMIT), pytest.raises(ConnectionLost):
            await link.receive()
        with pytest.raises(ConnectionLost):
            link.publish_nowait(Message("t", b""), outcomes.append)
    mosquitto.start()
    async with linked(mosquitto, protocol=protocol) as link:
        assert not link.session_present
        await link.subscribe([TopicFilter("t")])
        await link.publish(Message("t", b"1"))
        assert numbers(await collect(link, 1)) == [1]
    assert outcomes == []


@BOTH
async def test_a_flood_arrives_whole_and_in_order(mosquitto: Mosquitto, protocol: str) -> None:
    total = 3000
    async with linked(mosquitto, protocol=protocol) as link, trio.open_nursery() as nursery:
        await link.subscribe([TopicFilter("t")])

        async def flood() -> None:
            for number in range(total):
                while True:
                    try:
                        link.publish_nowait(Message("t", b"%d" % number), answered.append)
                        break
                    except trio.WouldBlock:
                        await link.wait_publishable()

        answered: list[object] = []
        nursery.start_soon(flood)
        assert numbers(await collect(link, total)) == list(range(total))
        with trio.fail_after(10):
            while len(answered) < total:  # mosquitto delivers before it acknowledges
                await trio.sleep(0.01)
    assert [each for each in answered if each is not None] == []


async def test_cancelled_in_the_middle_of_everything(mosquitto: Mosquitto) -> None:
    """At every wait in turn: the cancellation travels, and the broker sees a DISCONNECT."""
    for steps in range(60):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                cancel_soon(nursery, scope, steps)
                async with linked(mosquitto) as link:
                    await link.subscribe([TopicFilter("t")])
                    while True:
                        await link.publish(Message("t", b""))
                        for delivery in await link.receive():
                            delivery.ack()
        assert scope.cancelled_caught
