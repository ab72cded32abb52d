"""The doctor with brokers that say no, in each way that brokers do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from petalkit import Settings
from petalkit._values.messages import Identity, Message
from petalkit._values.topics import TopicFilter
from petalkit.cli._checks import plan as _plan
from petalkit.cli._checks.broker import broker as _broker
from petalkit.cli._checks.broker import device as _device
from petalkit.cli._checks.broker import mqtt as _mqtt
from petalkit.cli._checks.broker import rights as _rights
from petalkit.cli._checks.broker.broker import Visit, check_connect
from petalkit.cli._checks.case import Call, Case
from petalkit.cli._checks.plan import examine
from petalkit.cli._checks.values import Check, ok
from petalkit.client import open_client
from petalkit.transports import ConnectOptions, Link
from petalkit.transports._connecting.tls import Address
from petalkit.transports.memory import MemoryBroker, MemoryTransport

from ...transports import fake_broker
from ...transports.fake_broker import Peer, connack, open_fake_broker

pytestmark = pytest.mark.trio

IDENTITY = Identity("acme", "Instance-1")
Script = Callable[[Peer], Awaitable[None]]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over loopback an answer is there at once, or does not come."""
    for module, name in (
        (_broker, "RETAINED_WAIT"),
        (_device, "RETAINED_WAIT"),
        (_rights, "RETAINED_WAIT"),
        (_rights, "ECHO_WAIT"),
        (_mqtt, "PROBE_TIMEOUT"),
    ):
        monkeypatch.setattr(module, name, 0.2)


def topic_of(packet: fake_broker.Packet, *, v5: bool) -> str:
    """The filter of a SUBSCRIBE with one."""
    start = 2 + v5
    size = int.from_bytes(packet.body[start : start + 2], "big")
    return packet.body[start + 2 : start + 2 + size].decode()


def broker(
    *,
    v5: bool = False,
    accept: bytes | None = None,
    refused: str = "",
    at_most_once: str = "",
    version: str = "",
    closes_at: int = 0,
    silent_at: int = 0,
) -> Script:
    """A broker that answers everything, except what is said here."""

    async def script(peer: Peer) -> None:
        while (packet := await peer.packet()) is not None:
            kind = packet.kind
            if kind == closes_at:
                return
            if kind == silent_at:
                continue
            if kind == fake_broker.CONNECT:
                await peer.send(accept or connack(properties=b"" if v5 else None))
            elif kind == fake_broker.SUBSCRIBE:
                topic = topic_of(packet, v5=v5)
                no = refused and topic.endswith(refused)
                code = (b"\x87" if v5 else b"\x80") if no else b"\x01"
                if at_most_once and topic.endswith(at_most_once):
                    code = b"\x00"
                await peer.send(fake_broker.answer(fake_broker.SUBACK, packet, b"\0" * v5 + code))
                if version and topic == "$SYS/broker/version":
                    said = fake_broker.publish(0, version.encode(), topic.encode(), v5=v5)
                    await peer.send(said)
            elif kind == fake_broker.PUBLISH:
                await peer.send(fake_broker.answer(fake_broker.PUBACK, packet))
            elif kind == fake_broker.DISCONNECT:
                return

    return script


async def run(
    script: Script, *, as_device: bool = False, identity: Identity = IDENTITY, **settings: Any
) -> dict[str, Check]:
    """What the doctor finds, by check."""
    checks: list[Check] = []
    limits = {"connect_timeout": 0.5, "subscribe_timeout": 0.5}
    with trio.fail_after(30):
        async with open_fake_broker(script) as fake:
            made = Settings(broker=fake.url, **{**limits, **settings})
            case = Case(settings=made, identity=identity, as_device=as_device, timeout=0.2)
            await examine(case, checks.append, certificates_failed=False)
    return {check.id: check for check in checks}


WIRES = pytest.mark.parametrize(
    "wire",
    [{}, {"protocol": "5"}, {"transport": "native"}],
    ids=["3.1.1", "5", "native"],
)


@WIRES
async def test_a_command_topic_is_refused(wire: dict[str, Any]) -> None:
    checks = await run(broker(v5=bool(wire), refused="command/edge"), **wire)
    check = checks["subscribe"]
    assert check.verdict == "failed"
    first, second = check.found.split("; ")
    assert first.startswith("org/acme/device/Instance-1/command/edge: the broker said ")
    assert ("0x87" if wire else "0x80") in first
    assert second == "granted: org/acme/device/Instance-1/command"
    assert "topic read" in check.todo[0]
    assert "--as-device" in check.todo[1]


@WIRES
async def test_a_broker_that_closes_at_what_is_not_allowed(wire: dict[str, Any]) -> None:
    v5 = bool(wire)
    checks = await run(broker(v5=v5, closes_at=fake_broker.SUBSCRIBE), **wire)
    assert checks["subscribe"].verdict == "failed"
    assert "AWS IoT Core does" in checks["subscribe"].todo[0]
    assert checks["queue"].verdict == "skipped"
    # Nobody can listen, which is not the device's trouble.
    assert checks["ping"].verdict == "warning"
    assert "nobody could listen" in checks["ping"].found

    checks = await run(broker(v5=v5, closes_at=fake_broker.PUBLISH), **wire)
    assert checks["subscribe"].verdict == "ok"
    assert checks["publish"].verdict == "failed"
    assert "the link ended at a message on" in checks["publish"].found


async def test_a_broker_that_acknowledges_nothing() -> None:
    checks = await run(broker(silent_at=fake_broker.PUBLISH))
    assert "no PUBACK" in checks["publish"].found
    checks = await run(broker(silent_at=fake_broker.SUBSCRIBE))
    assert "no SUBACK in time" in checks["subscribe"].found


async def test_with_mqtt_5_a_puback_is_enough_where_nobody_can_listen() -> None:
    checks = await run(broker(v5=True, refused="debug"), protocol="5")
    assert checks["publish"].verdict == "ok"
    checks = await run(broker(refused="debug"))
    assert checks["publish"].verdict == "warning"
    assert "nobody could listen there" in checks["publish"].found


async def test_the_protocol_is_not_spoken() -> None:
    checks = await run(broker(accept=connack(1)))
    assert "unacceptable protocol version (0x01)" in checks["connect"].found
    assert "--protocol 5" in checks["connect"].todo[0]


@WIRES
async def test_a_broker_that_closes_at_connect(wire: dict[str, Any]) -> None:
    checks = await run(broker(closes_at=fake_broker.CONNECT), **wire)
    assert checks["connect"].verdict == "failed"
    assert "its log says why" in checks["connect"].todo[0]
    assert "--as-device" in checks["connect"].todo[1]
    checks = await run(broker(closes_at=fake_broker.CONNECT), as_device=True, **wire)
    assert checks["client"].verdict == "ok"
    assert not any("--as-device" in todo for todo in checks["connect"].todo)


async def test_a_broker_of_3_1_1_that_is_silent_to_mqtt_5() -> None:
    async def script(peer: Peer) -> None:
        packet = await peer.packet()
        if packet is not None and packet.body[6] == 4:
            await peer.send(connack())
        await peer.packet()

    checks = await run(script, transport="native")
    assert "--protocol 3.1.1" in checks["connect"].todo[0]


@pytest.mark.parametrize(
    ("greeting", "text"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "speaks HTTP"), (b"SSH-2.0-x\r\n", "is not MQTT")],
)
async def test_something_else_listens(greeting: bytes, text: str) -> None:
    async def script(peer: Peer) -> None:
        if await peer.stream.receive_some(1):
            await peer.send(greeting)

    checks = await run(script)
    assert text in checks["connect"].found


@pytest.mark.parametrize("as_device", [False, True], ids=["", "as device"])
async def test_a_session_that_is_shortened_is_told(as_device: bool) -> None:
    # What ejabberd says: its own 300 s, and the keep alive that it was asked for.
    granted = connack(properties=b"\x11\x00\x00\x01\x2c\x13\x00\x14")
    script = broker(v5=True, accept=granted)
    checks = await run(script, transport="native", as_device=as_device)
    found = "Session Expiry Interval 300 s, and session_expiry is 3600"
    assert checks["limits"].found == found
    assert checks["limits"].verdict == "warning"
    if as_device:
        assert "is asked for 3600 s" in checks["client"].found


@pytest.mark.parametrize("transport", ["asyncio-mqtt", "native"])
async def test_a_session_that_is_asked_for_to_see_for_how_long_is_ended_again(
    transport: str,
) -> None:
    connects: dict[bytes, list[tuple[int, bytes]]] = {}
    polite = broker(v5=True)

    async def script(peer: Peer) -> None:
        await polite(peer)
        for packet in peer.of(fake_broker.CONNECT):
            clean, start = packet.body[7] & 2, 11 + packet.body[10]
            properties = packet.body[11:start]
            size = int.from_bytes(packet.body[start : start + 2], "big")
            client_id = packet.body[start + 2 : start + 2 + size]
            found = properties.find(b"\x11")
            expiry = properties[found + 1 : found + 5] if found >= 0 else bytes(4)
            connects.setdefault(client_id, []).append((clean, expiry))

    await run(script, protocol="5", transport=transport)
    kept = [seen for seen in connects.values() if seen[0][1] != bytes(4)]
    assert kept == [[(2, (3600).to_bytes(4, "big")), (2, bytes(4))]]


@WIRES
async def test_a_topic_that_is_granted_less_than_asked_is_not_ok(wire: dict[str, Any]) -> None:
    checks = await run(broker(v5=bool(wire), at_most_once="command/edge"), **wire)
    check = checks["subscribe"]
    assert check.verdict == "warning"
    first, second = check.found.split("; ")
    assert first == "granted with QoS 0 only: org/acme/device/Instance-1/command/edge"
    assert second == "granted: org/acme/device/Instance-1/command"
    assert "is not sent again" in check.todo[0]


@pytest.mark.parametrize("interval", [0.0, 60.0])
async def test_the_probe_topic_is_tried_where_the_device_uses_it(interval: float) -> None:
    """The broker does not allow it, says so at SUBSCRIBE, and drops what is published there."""
    checks = await run(broker(refused="/probe"), probe_interval=interval)
    subscribed, published = checks["subscribe"], checks["publish"]
    assert ("/probe: the broker said" in subscribed.found) == (interval > 0)
    assert subscribed.verdict == ("failed" if interval else "ok")
    assert ("Instance-1/probe" in published.found) == (interval > 0)
    assert any("publish on" in todo and "/probe" in todo for todo in published.todo) == (
        interval > 0
    )


@WIRES
async def test_a_message_that_comes_back_on_another_topic(wire: dict[str, Any]) -> None:
    v5 = bool(wire)
    listeners: list[Peer] = []

    async def rabbitmq(peer: Peer) -> None:
        """A broker for which a dot is a slash."""
        while (packet := await peer.packet()) is not None:
            kind = packet.kind
            if kind == fake_broker.CONNECT:
                await peer.send(connack(properties=b"" if v5 else None))
            elif kind == fake_broker.SUBSCRIBE:
                if topic_of(packet, v5=v5).endswith("/debug"):
                    listeners.append(peer)
                await peer.send(
                    fake_broker.answer(fake_broker.SUBACK, packet, b"\0" * v5 + b"\x01")
                )
            elif kind == fake_broker.PUBLISH:
                await peer.send(fake_broker.answer(fake_broker.PUBACK, packet))
                size = int.from_bytes(packet.body[:2], "big")
                topic, payload = packet.body[2 : 2 + size], packet.body[4 + size + v5 :]
                if topic.endswith(b"/debug"):
                    swapped = topic.replace(b".", b"/")
                    await listeners[-1].send(fake_broker.publish(0, payload, swapped, v5=v5))
            elif kind == fake_broker.DISCONNECT:
                return

    checks = await run(rabbitmq, identity=Identity("acme", "drone-1.2"), **wire)
    check = checks["publish"]
    assert check.verdict == "failed"
    sent, back = "org/acme/device/drone-1.2/debug", "org/acme/device/drone-1/2/debug"
    assert check.found.startswith(f"a message on {sent} came back on {back}")
    assert "no dot" in check.todo[0]
    checks = await run(rabbitmq, **wire)
    assert checks["publish"].verdict == "ok"


@pytest.mark.parametrize(
    ("wire", "last"), [({}, "20th"), ({"transport": "native", "receive_maximum": 50}, "50th")]
)
async def test_what_handled_holds_up_is_said(wire: dict[str, Any], last: str) -> None:
    checks = await run(broker(v5=bool(wire)), acknowledge="handled", **wire)
    check = checks["queue"]
    assert check.verdict == "warning"
    assert (
        f"first on with ejabberd, the 10th with RabbitMQ, the {last} with mosquitto" in check.found
    )
    assert "acknowledge to accepted" in check.todo[0]
    checks = await run(broker(v5=bool(wire)), **wire)
    assert checks["queue"].verdict == "skipped"


@pytest.mark.parametrize(
    ("version", "packet_maximum", "verdict"),
    [
        ("mosquitto version 2.0.11", 200_000, "warning"),
        ("mosquitto version 2.0.12", 200_000, "warning"),
        ("mosquitto version 2.0.13", 200_000, "ok"),
        ("mosquitto version 2.1.2", 200_000, "ok"),
        ("mosquitto version of my own", 200_000, "ok"),
        ("mosquitto version 2.0.11", 0, "ok"),
    ],
)
@pytest.mark.parametrize("wire", [{"protocol": "5"}, {"transport": "native"}])
async def test_a_mosquitto_that_may_stop_to_deliver_is_warned_of(
    version: str, packet_maximum: int, verdict: str, wire: dict[str, Any]
) -> None:
    said = broker(v5=True, version=version)
    check = (await run(said, packet_maximum=packet_maximum, **wire))["queue"]
    assert check.verdict == verdict
    assert ("mosquitto before 2.0.13 can" in check.found) == (verdict == "warning")
    assert any("probe_interval" in todo for todo in check.todo) == (verdict == "warning")


# -- cut short


@pytest.mark.parametrize("moment", ["connect", "subscribe", "publish"])
async def test_a_session_that_was_not_there_is_ended_also_when_it_is_cut_short(
    moment: str, monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    memory = MemoryBroker()
    for module in (_broker, _rights):
        monkeypatch.setattr(module, "create_transport", lambda _: MemoryTransport(memory))

    async def reached(_: Settings) -> tuple[Address, Check]:
        return Address("localhost", 1883, tls=False), ok("network", "")

    async def nobody(*_: Any) -> bool:
        return False

    monkeypatch.setattr(_plan, "check_network", reached)
    monkeypatch.setattr(_plan, "answers", nobody)
    case = Case(settings=Settings(), identity=IDENTITY, as_device=True)
    with trio.CancelScope() as scope:

        def show(check: Check) -> None:
            if check.id == moment:
                assert memory.sessions
                scope.cancel()

        await examine(case, show, certificates_failed=False)
    assert scope.cancelled_caught
    assert not memory.sessions


async def test_what_a_connect_has_made_is_known_also_when_it_is_cut_short(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    memory = MemoryBroker()

    @asynccontextmanager
    async def slow_to_leave(options: ConnectOptions) -> AsyncIterator[Link]:
        async with MemoryTransport(memory).connect(options) as link:
            yield link
        if options.session_expiry:
            await trio.sleep_forever()

    class Slow:
        connect = staticmethod(slow_to_leave)

    monkeypatch.setattr(_broker, "create_transport", lambda _: Slow())
    visit = Visit()
    case = Case(settings=Settings(), identity=IDENTITY, as_device=True)
    with trio.move_on_after(1):
        await check_connect(case, Address("localhost", 1883, tls=False), visit)
    assert visit.accepted is not None
    assert memory.sessions


# -- what a device may answer


@asynccontextmanager
async def open_device(memory: MemoryBroker, fields: dict[str, Any]) -> AsyncIterator[None]:
    """A device that answers everything with these fields."""

    async def serve(link: Link) -> None:
        while True:
            for delivery in await link.receive():
                delivery.ack()
                message_id = json.loads(delivery.payload)["messageId"]
                answer = json.dumps({"messageId": message_id, **fields}).encode()
                await link.publish(Message(IDENTITY.topic("response"), answer))

    async with (
        MemoryTransport(memory).connect(ConnectOptions(client_id="device")) as link,
        trio.open_nursery() as nursery,
    ):
        await link.subscribe([TopicFilter(IDENTITY.topic("command"))])
        nursery.start_soon(serve, link)
        yield
        nursery.cancel_scope.cancel()


async def ask(fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[Check]:
    memory = MemoryBroker()
    monkeypatch.setattr(
        _device,
        "open_client",
        lambda settings, identity, **how: open_client(
            settings, identity=identity, transport=MemoryTransport(memory), **how
        ),
    )
    case = Case(
        settings=Settings(), identity=IDENTITY, timeout=5, call=Call(command="a/x", data={})
    )
    checks: list[Check] = []
    async with open_device(memory, fields):
        await _device.check_device(case, IDENTITY, checks.append)
    return checks


async def test_another_host_answers(monkeypatch: pytest.MonkeyPatch, autojump_clock: Any) -> None:
    fields = {"success": False, "error_code": "UNKNOWN_COMMAND", "error": "\x1b[0m"}
    ping, *rest = await ask(fields, monkeypatch)
    assert "another host answers" in ping.found
    assert ping.verdict == "warning"
    assert [check.verdict for check in rest] == ["skipped", "failed"]


async def test_a_device_says_no(monkeypatch: pytest.MonkeyPatch, autojump_clock: Any) -> None:
    ping, *_ = await ask({"success": False, "error_code": "BUSY"}, monkeypatch)
    assert "answered BUSY" in ping.found


async def test_a_device_that_answers_without_sense(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    secret = "payload-of-the-device"
    fields = {"success": True, "petals": 5, "commands": {"x": secret}, "result": secret}
    checks = await ask(fields, monkeypatch)
    assert [check.verdict for check in checks] == ["ok", "ok", "ok"]
    assert secret not in str(checks)
