"""The peer of broker.py: the same work with asyncio-mqtt alone, as its README shows it.

Decode, duplicates within a window of 1000, the handler, encode, publish with QoS 1. It is given
what makes it fast and does not come by itself: TCP_NODELAY, and msgspec in the place of `json`.
It does without everything else that petalkit does. Needs only asyncio-mqtt 0.16.2, paho-mqtt 1.6.1
and msgspec, in an environment of its own: with paho-mqtt 2 asyncio-mqtt does not start.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import signal
import socket
from collections import OrderedDict
from typing import Any

import msgspec
from asyncio_mqtt import Client, Will

WINDOW = 1000


async def greet(data: dict[str, Any]) -> dict[str, str]:
    name, count = data.get("name"), data.get("count", 1)
    if type(name) is not str or type(count) is not int:
        raise ValueError("not a greeting")
    return {"message": f"Hello, {name}! ({count})"}


class Program:
    def __init__(self, client: Client, base: str) -> None:
        self.client = client
        self.base = base
        self.response_topic = f"{base}/response"
        self.handlers = {"bench/greet": greet}
        self.answered: OrderedDict[str, bytes] = OrderedDict()

    async def handle(self, payload: bytes) -> None:
        command = msgspec.json.decode(payload)
        message_id = command["messageId"]
        response = self.answered.get(message_id)
        if response is None:
            result = await self.handlers[command["command"]](command["data"])
            timestamp = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
            response = msgspec.json.encode(
                {"messageId": message_id, "timestamp": timestamp, "success": True, **result}
            )
            self.answered[message_id] = response
            if len(self.answered) > WINDOW:
                self.answered.popitem(last=False)
        if command["waitResponse"]:
            await self.client.publish(self.response_topic, response, qos=1)

    async def serve(self, style: str) -> None:
        tasks: set[asyncio.Task[None]] = set()
        async with self.client.messages() as messages:
            await self.client.subscribe(
                [(f"{self.base}/command", 1), (f"{self.base}/command/edge", 1)]
            )
            await self.client.publish(f"{self.base}/status", b'{"status":"online"}', 1, True)
            async for message in messages:
                payload: Any = message.payload
                if style == "tasks":
                    task = asyncio.create_task(self.handle(payload))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                else:
                    await self.handle(payload)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--style", choices=("sequential", "tasks"), default="sequential")
    arguments = parser.parse_args()
    base = f"org/bench/device/{arguments.device}"
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    client = Client(
        "127.0.0.1",
        arguments.port,
        client_id=f"bare-{arguments.device}",
        clean_session=False,
        keepalive=20,
        will=Will(f"{base}/status", b'{"status":"offline"}', 1, True),
    )
    async with client:
        sock: Any = client._client.socket()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await Program(client, base).serve(arguments.style)


if __name__ == "__main__":
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(main())
