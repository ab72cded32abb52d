"""A broker and clients of it without a socket: bytes in, packets out, and a clock that is set."""

from __future__ import annotations

from typing import Any

import mqtt5

from petalkit.transports._broker.core.bounds import Bounds
from petalkit.transports._broker.core.broker import Broker
from petalkit.transports._broker.core.policy import Policy
from petalkit.transports._broker.protocol.client import ClientConnection

QOS = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE, mqtt5.QoS.EXACTLY_ONCE)


class Bench:
    """See the module."""

    def __init__(self, **bounds: Any) -> None:
        self.now = 1000.0
        self.broker = Broker(Bounds(**bounds), lambda: self.now, Policy())

    def client(self, client_id: str = "c", *, v5: bool = True, **given: Any) -> BenchClient:
        """One that has connected."""
        client = BenchClient(self)
        client.connect(client_id, v5=v5, **given)
        return client

    def later(self, seconds: float) -> None:
        """Let time pass, as the server does."""
        self.now += seconds
        self.broker.run_due()


class BenchClient:
    """One connection."""

    def __init__(self, bench: Bench) -> None:
        self.link = ClientConnection(bench.broker, "bench", lambda: None)
        self.v5 = True

    def connect(self, client_id: str, *, v5: bool = True, **given: Any) -> None:
        self.v5 = v5
        given.setdefault("clean_start", True)
        data = mqtt5.ConnectPacket(client_id, **given).write()
        self.feed(data if v5 else as_311(data))

    def feed(self, data: bytes) -> None:
        self.link.receive(data)

    def send(self, packet: Any) -> list[Any]:
        """Send a packet (to a client of MQTT 5); what comes back."""
        self.feed(packet.write())
        return self.take()

    def subscribe(self, pattern: str, qos: int = 2, **given: Any) -> list[Any]:
        identifier = given.pop("identifier", None)
        given.setdefault("retain_as_published", False)
        one = mqtt5.TopicFilter(pattern, max_qos=QOS[qos], **given)
        return self.send(mqtt5.SubscribePacket(1, [one], subscription_id=identifier))

    def publish(self, topic: str, payload: bytes = b"p", qos: int = 0, **given: Any) -> list[Any]:
        if qos:
            given.setdefault("packet_id", 9)
        return self.send(mqtt5.PublishPacket(topic, payload, qos=QOS[qos], **given))

    def bytes(self) -> bytes:
        """What is to be sent."""
        data = b""
        while self.link.output.size:
            data += self.link.output.take()
        return data

    def take(self) -> list[Any]:
        """The same, as packets."""
        view, found = memoryview(self.bytes()), []
        while view:
            packet, size = mqtt5.read(view)
            found.append(packet)
            view = view[size:]
        self.link.sent()
        if self.link.output.size:
            found += self.take()
        return found

    def payloads(self) -> list[bytes]:
        return [one.payload for one in self.take() if isinstance(one, mqtt5.PublishPacket)]


def as_311(data: bytes) -> bytes:
    """A CONNECT of MQTT 5 without properties (and without a will), as 3.1.1 has it."""
    at = data.index(b"MQTT") + 4
    end = at + 4  # behind level, flags and keep alive
    length = data[end]
    rest = data[end + 1 + length :]
    body = data[at - 6 : at] + b"\4" + data[at + 1 : end] + rest
    return bytes((0x10, len(body))) + body
