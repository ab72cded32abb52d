"""A peer of broker.py: gmqtt, an asyncio client; here with MQTT 3.1.1.

Style: everything inside its `on_message` callback, a plain function; `Client.publish` does not wait
either. That is its cheapest way: an async callback gets a task for each message. It acknowledges a
command before it calls back (its default). TCP_NODELAY comes from asyncio.

With MQTT 5, its default, it cannot do this work by itself: when the server's Receive Maximum is
used up (20 with mosquitto) `publish` raises OverflowError, and nothing tells when to try again. So
it is given 3.1.1, which has no such limit, and has no properties to parse.
"""

from __future__ import annotations

import asyncio
from typing import Any

from gmqtt import Client, Subscription
from gmqtt.mqtt.constants import MQTTv311

from _bare_work import KEEP_ALIVE, ONLINE, Answers, Place


async def main() -> None:
    place = Place()
    answers = Answers()
    subscribed = asyncio.Event()

    def on_message(client: Client, topic: str, payload: bytes, qos: int, properties: Any) -> None:
        response = answers.answer(payload)
        if response is not None:
            client.publish(place.response, response, qos=1)

    client = Client(place.client_id)
    client.on_message = on_message
    client.on_subscribe = lambda *_: subscribed.set()
    await client.connect("127.0.0.1", place.port, keepalive=KEEP_ALIVE, version=MQTTv311)
    client.subscribe([Subscription(topic, qos=1) for topic in place.commands])
    await subscribed.wait()
    client.publish(place.status, ONLINE, qos=1, retain=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
