"""A peer of broker.py: the mqtt5 codec on a blocking socket; the least that Python can do it for.

Style: one thread, `recv`, answer everything that came, one `sendall` for all of it. Nothing else
can happen meanwhile: no handler can wait, no timer but the one of the keep alive runs. TCP_NODELAY
is set here, and the server's Receive Maximum is kept, as MQTT 5 demands (section 4.9).
"""

from __future__ import annotations

import socket
from collections import deque

import mqtt5

from _bare_work import KEEP_ALIVE, ONLINE, RECEIVE_MAXIMUM, Answers, Place

CHUNK = 65_536  # bytes read at once, at most


def serve(sock: socket.socket, place: Place) -> None:
    answers = Answers()
    outgoing = [
        mqtt5.ConnectPacket(
            place.client_id,
            clean_start=True,
            keep_alive=KEEP_ALIVE,
            receive_max=RECEIVE_MAXIMUM,
        ).write()
    ]
    waiting: deque[bytes] = deque()  # responses for which there was no credit
    credit = packet_id = 0

    def publish(topic: str, payload: bytes, retain: bool = False) -> None:
        nonlocal credit, packet_id
        packet_id = packet_id % 65_535 + 1
        packet = mqtt5.PublishPacket(
            topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id, retain=retain
        ).write()
        if credit:
            credit -= 1
            outgoing.append(packet)
        else:
            waiting.append(packet)

    rest = b""
    sock.settimeout(KEEP_ALIVE / 2)
    while True:
        if outgoing:
            sock.sendall(b"".join(outgoing))
            outgoing.clear()
        try:
            data = sock.recv(CHUNK)
        except TimeoutError:
            outgoing.append(mqtt5.PingReqPacket().write())
            continue
        if not data:
            return
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
                    outgoing.append(mqtt5.PubAckPacket(packet.packet_id).write())
                response = answers.answer(packet.payload)
                if response is not None:
                    publish(place.response, response)
            elif isinstance(packet, mqtt5.PubAckPacket):
                credit += 1
                if waiting:
                    credit -= 1
                    outgoing.append(waiting.popleft())
            elif isinstance(packet, mqtt5.ConnAckPacket):
                credit = packet.receive_max
                filters = [
                    mqtt5.TopicFilter(topic, max_qos=mqtt5.QoS.AT_LEAST_ONCE)
                    for topic in place.commands
                ]
                outgoing.append(mqtt5.SubscribePacket(1, filters).write())
            elif isinstance(packet, mqtt5.SubAckPacket):
                publish(place.status, ONLINE, retain=True)
        rest = bytes(view[at:])


def main() -> None:
    place = Place()
    with socket.create_connection(("127.0.0.1", place.port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        serve(sock, place)


if __name__ == "__main__":
    main()
