"""What one sender can do through a real broker, and the next good command, which is answered."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
import trio

from petalkit import Petal, Settings, command, open_client, open_runtime

from ..brokers import Mosquitto
from ..transports.poison import publish, sized

pytestmark = [pytest.mark.trio, pytest.mark.broker]

LIMIT = 30.0  # seconds of real time, against a hang
TOPIC = b"org/acme/device/d/command"
WAYS = pytest.mark.parametrize("transport", ["asyncio-mqtt", "native"])


class Echo(Petal):
    name = "echo"

    @command("say")
    async def say(self, text: str) -> dict[str, str]:
        return {"text": text}


class Sender:
    """A sender who keeps to no rule: bytes to a real broker, as MQTT 5."""

    def __init__(self, broker: Mosquitto) -> None:
        self.socket = socket.create_connection(("127.0.0.1", broker.port), timeout=LIMIT)
        self.socket.sendall(b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x06sender")
        assert self._read(2)[0] == 0x20

    def _read(self, size: int) -> bytes:
        data = self.socket.recv(65_536)
        assert len(data) >= size
        return data

    def publish(self, data: bytes) -> None:
        """Send one at QoS 1 and wait for its PUBACK."""
        self.socket.sendall(data)
        assert self._read(4)[0] == 0x40


def settings_for(broker: Mosquitto, transport: str, **changes: object) -> Settings:
    return Settings(
        broker=broker.url,
        organization_id="acme",
        device_id="d",
        transport=transport,
        protocol="5",
        reconnect_delay_max=0.5,
        **changes,  # type: ignore[arg-type]
    )


@WAYS
async def test_a_packet_that_mosquitto_counts_one_byte_too_few_of(
    start_mosquitto: Callable[..., Mosquitto], transport: str
) -> None:
    """1 048 577 bytes to a client whose Maximum Packet Size is 1 048 576: it is sent."""
    broker = start_mosquitto()
    settings = settings_for(broker, transport, packet_maximum=1_048_576)
    head = len(publish(b"\0", topic=TOPIC, payload=b"")) + 2  # its Remaining Length is 3 bytes
    big = publish(b"\0", topic=TOPIC, payload=bytes(1_048_577 - head))
    assert len(big) == 1_048_577
    with trio.fail_after(LIMIT):
        async with open_runtime([Echo()], settings) as runtime:
            await runtime.wait_connected()
            sender = Sender(broker)
            await trio.to_thread.run_sync(sender.publish, big)
            async with open_client(settings) as client:
                assert (await client.call("echo/say", {"text": "hello"})).success
            statistics = runtime.statistics()
            assert statistics.refused == {"TOO_LARGE": 1}
            assert (statistics.links, statistics.links_lost) == (1, 0)
            sender.socket.close()


@WAYS
async def test_a_payload_format_that_is_none(
    start_mosquitto: Callable[..., Mosquitto], transport: str
) -> None:
    """mosquitto passes on a Payload Format Indicator of 2, and delivers it on each link."""
    broker = start_mosquitto()
    settings = settings_for(broker, transport)
    bad = publish(sized(b"\x01\x02"), topic=TOPIC, payload=b"{}")
    with trio.fail_after(LIMIT):
        async with open_runtime([Echo()], settings) as runtime:
            await runtime.wait_connected()
            sender = Sender(broker)
            for _ in range(5):
                await trio.to_thread.run_sync(sender.publish, bad)
            while runtime.statistics().malformed < 5:
                await trio.sleep(0.05)
            async with open_client(settings) as client:
                assert (await client.call("echo/say", {"text": "hello"})).success
            statistics = runtime.statistics()
            assert (statistics.links, statistics.links_lost) == (2, 1)
            assert statistics.malformed == 5
            sender.socket.close()
