"""A peer of broker.py: paho-mqtt 2 alone; MQTT 3.1.1, its default.

Style: `loop_forever` in the main thread, everything inside its `on_message` callback, no asyncio.
`publish` sends from there without waiting; paho acknowledges the command when the callback is done.
TCP_NODELAY is set here on its socket; it does not come by itself.
"""

from __future__ import annotations

import socket
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from _bare_work import KEEP_ALIVE, ONLINE, Answers, Place


def main() -> None:
    place = Place()
    answers = Answers()

    def on_connect(client: Client, *_: Any) -> None:
        client.subscribe([(topic, 1) for topic in place.commands])

    def on_subscribe(client: Client, *_: Any) -> None:
        client.publish(place.status, ONLINE, qos=1, retain=True)

    def on_message(client: Client, _: Any, message: MQTTMessage) -> None:
        response = answers.answer(message.payload)
        if response is not None:
            client.publish(place.response, response, qos=1)

    client = Client(CallbackAPIVersion.VERSION2, client_id=place.client_id)
    client.on_connect = on_connect
    client.on_subscribe = on_subscribe
    client.on_message = on_message
    client.on_socket_open = lambda _client, _userdata, sock: sock.setsockopt(
        socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
    )
    client.connect("127.0.0.1", place.port, keepalive=KEEP_ALIVE)
    client.loop_forever()


if __name__ == "__main__":
    main()
