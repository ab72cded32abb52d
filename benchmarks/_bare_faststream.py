"""A peer of broker.py: FastStream's MQTT broker, the nearest framework; zmqtt underneath, MQTT 5.

Style: `@broker.subscriber` and `@broker.publisher` as its documentation shows them; FastStream
decodes the JSON (with orjson, since that is installed) and publishes what the handler returns. Its
`max_workers` is 64, as many as the load has under way. TCP_NODELAY comes from asyncio.
Validation by FastDepends is off (`apply_types=False`), as no other peer has one, and so is its
access log: both would only make it dearer.

It does not survive a flood. zmqtt's reader blocks on its full queue, and never reads the PUBACK
that the handlers wait for; with `receive_maximum` it closes the link instead, since mosquitto
2.0.11 sends more than that while it empties a queue.
"""

from __future__ import annotations

import asyncio
from typing import Any

from faststream.mqtt import MQTTBroker
from zmqtt import QoS

from _bare_work import KEEP_ALIVE, ONLINE, Answers, Place

WORKERS = 64


async def main() -> None:
    place = Place()
    answers = Answers()
    broker = MQTTBroker(
        "mqtt://127.0.0.1",
        place.port,
        client_id=place.client_id,
        keepalive=KEEP_ALIVE,
        apply_types=False,
        logger=None,
    )
    respond = broker.publisher(place.response, qos=QoS.AT_LEAST_ONCE)

    async def handle(command: dict[str, Any]) -> bytes | None:
        return await answers.answer_decoded(command)

    for topic in place.commands:
        subscriber = broker.subscriber(topic, qos=QoS.AT_LEAST_ONCE, max_workers=WORKERS)
        subscriber(respond(handle))
    async with broker:
        await broker.start()
        await broker.publish(ONLINE, place.status, qos=QoS.AT_LEAST_ONCE, retain=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
