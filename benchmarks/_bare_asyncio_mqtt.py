"""A peer of broker.py: asyncio-mqtt 0.16.2 alone, MQTT 3.1.1; the ancestor of aiomqtt.

Style: `--style sequential` awaits one command after the other, as that library's README does, with
a round trip to the broker in each; `tasks` starts a task for each command, which is cheaper when
many are under way, and gives up order and every bound. TCP_NODELAY is set here on paho's socket; it
does not come by itself. It has an environment of its own: with paho-mqtt 2 it does not start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from typing import Any

from asyncio_mqtt import Client, Will

from _bare_work import KEEP_ALIVE, ONLINE, Answers, Place


async def serve(client: Client, place: Place) -> None:
    answers = Answers()
    tasks: set[asyncio.Task[None]] = set()

    async def handle(payload: bytes) -> None:
        response = await answers.answer_async(payload)
        if response is not None:
            await client.publish(place.response, response, qos=1)

    async with client.messages() as messages:
        await client.subscribe([(topic, 1) for topic in place.commands])
        await client.publish(place.status, ONLINE, 1, True)
        async for message in messages:
            payload: Any = message.payload
            if place.style == "tasks":
                task = asyncio.create_task(handle(payload))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            else:
                await handle(payload)


async def main() -> None:
    place = Place()
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    logging.getLogger("mqtt").setLevel(logging.ERROR)  # it warns of many publishes under way
    client = Client(
        "127.0.0.1",
        place.port,
        client_id=place.client_id,
        clean_session=False,
        keepalive=KEEP_ALIVE,
        will=Will(place.status, b'{"status":"offline"}', 1, True),
    )
    async with client:
        sock: Any = client._client.socket()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await serve(client, place)


if __name__ == "__main__":
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(main())
