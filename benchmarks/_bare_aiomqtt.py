"""A peer of broker.py: aiomqtt 2, asyncio around paho-mqtt; MQTT 3.1.1, its default.

Style: `async for message in client.messages`, and a task of a TaskGroup for each command, since
`publish` waits for the PUBACK; `--style sequential` awaits one command after the other instead.
TCP_NODELAY is given with `socket_options`; it does not come by itself. paho acknowledges.
"""

from __future__ import annotations

import asyncio
import logging
import socket

import aiomqtt

from _bare_work import KEEP_ALIVE, ONLINE, Answers, Place


async def main() -> None:
    place = Place()
    answers = Answers()

    async def handle(payload: bytes) -> None:
        response = await answers.answer_async(payload)
        if response is not None:
            await client.publish(place.response, response, qos=1, timeout=60)

    logger = logging.getLogger("aiomqtt")
    logger.setLevel(logging.ERROR)  # it warns of many publishes under way
    client = aiomqtt.Client(
        "127.0.0.1",
        place.port,
        logger=logger,
        identifier=place.client_id,
        keepalive=KEEP_ALIVE,
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    )
    async with client, asyncio.TaskGroup() as tasks:
        await client.subscribe([(topic, 1) for topic in place.commands])
        await client.publish(place.status, ONLINE, qos=1, retain=True)
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            if place.style == "sequential":
                await handle(message.payload)
            else:
                tasks.create_task(handle(message.payload))


if __name__ == "__main__":
    asyncio.run(main())
