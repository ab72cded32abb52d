"""A peer of broker.py, and the one that the aims speak of: a bare Trio loop, no framework.

Style: the mqtt5 codec over a Trio stream; a reader that starts one nursery task for each command,
and a writer that sends in one `send_all` what reader and tasks have made in one wake-up. It is
written as somebody who knows Trio writes it for one program: TCP_NODELAY comes with Trio's stream,
and the server's Receive Maximum is kept, since MQTT 5 demands it (section 4.9). There is no
reconnecting, no bound on tasks but the one we ask of the broker, no order, no supervision.
"""

from __future__ import annotations

from collections import deque

import mqtt5
import trio

from _bare_work import KEEP_ALIVE, ONLINE, RECEIVE_MAXIMUM, Answers, Place

CHUNK = 65_536  # bytes read at once, at most


class Program:
    def __init__(self, stream: trio.SocketStream, place: Place) -> None:
        self.stream = stream
        self.place = place
        self.answers = Answers()
        self.outgoing: list[bytes] = []
        self.flush = trio.Event()
        self.credit = 0  # PUBLISHes that the server still takes; known from its CONNACK
        self.waiting: deque[bytes] = deque()  # responses for which there was no credit
        self.packet_id = 0

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        self.packet_id = self.packet_id % 65_535 + 1
        packet = mqtt5.PublishPacket(
            topic,
            payload,
            qos=mqtt5.QoS.AT_LEAST_ONCE,
            packet_id=self.packet_id,
            retain=retain,
        ).write()
        if self.credit:
            self.credit -= 1
            self.outgoing.append(packet)
        else:
            self.waiting.append(packet)

    async def handle(self, payload: bytes) -> None:
        response = await self.answers.answer_async(payload)
        if response is not None:
            self.publish(self.place.response, response)
        self.flush.set()

    async def write(self) -> None:
        while True:
            await self.flush.wait()
            self.flush = trio.Event()
            data = b"".join(self.outgoing)
            self.outgoing.clear()
            await self.stream.send_all(data)

    async def ping(self) -> None:
        while True:
            await trio.sleep(KEEP_ALIVE / 2)
            self.outgoing.append(mqtt5.PingReqPacket().write())
            self.flush.set()

    def connected(self, packet: mqtt5.ConnAckPacket) -> None:
        self.credit = packet.receive_max
        filters = [
            mqtt5.TopicFilter(topic, max_qos=mqtt5.QoS.AT_LEAST_ONCE)
            for topic in self.place.commands
        ]
        self.outgoing.append(mqtt5.SubscribePacket(1, filters).write())
        self.flush.set()

    async def run(self) -> None:
        connect = mqtt5.ConnectPacket(
            self.place.client_id,
            clean_start=True,
            keep_alive=KEEP_ALIVE,
            receive_max=RECEIVE_MAXIMUM,
        )
        await self.stream.send_all(connect.write())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.write)
            nursery.start_soon(self.ping)
            rest = b""
            while data := await self.stream.receive_some(CHUNK):
                view = memoryview(rest + data)
                at = 0
                while at < len(view):
                    try:
                        packet, size = mqtt5.read(view[at:])
                    except IndexError:  # not whole yet
                        break
                    at += size
                    if isinstance(packet, mqtt5.PublishPacket):
                        if packet.packet_id is not None:
                            self.outgoing.append(mqtt5.PubAckPacket(packet.packet_id).write())
                        nursery.start_soon(self.handle, packet.payload)
                    elif isinstance(packet, mqtt5.PubAckPacket):
                        self.credit += 1
                        if self.waiting:
                            self.credit -= 1
                            self.outgoing.append(self.waiting.popleft())
                            self.flush.set()
                    elif isinstance(packet, mqtt5.ConnAckPacket):
                        self.connected(packet)
                    elif isinstance(packet, mqtt5.SubAckPacket):
                        self.publish(self.place.status, ONLINE, retain=True)
                        self.flush.set()
                rest = bytes(view[at:])
            nursery.cancel_scope.cancel()  # the broker has closed


async def main() -> None:
    place = Place()
    stream = await trio.open_tcp_stream("127.0.0.1", place.port)
    async with stream:
        await Program(stream, place).run()


if __name__ == "__main__":
    trio.run(main)
