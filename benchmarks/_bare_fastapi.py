"""A peer of broker.py: FastAPI, uvicorn and requests, behind the external MQTT client over HTTP.

Style: that of the host application in the integration guide. A route with a pydantic model takes
the message and starts a task for it; a response goes out by `requests.request` in a thread of one,
which opens a connection for each. uvicorn writes no line per request. httptools and uvloop are not
there, as they are not in that host's requirements.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import socket
from typing import Any

import orjson
import requests
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from _bare_work import Answers, Place


class MessageCallback(BaseModel):
    topic: str
    payload: dict[str, Any]
    timestamp: str | None = None
    qos: int | None = None


class Host:
    def __init__(self, place: Place) -> None:
        self._place = place
        self._answers = Answers()
        self._executor = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._tasks: set[asyncio.Task[None]] = set()

    async def post(self, path: str, fields: dict[str, Any]) -> None:
        send = functools.partial(
            requests.request,
            method="POST",
            url=f"{self._place.sidecar_url}{path}",
            json=fields,
            timeout=30,
            headers={"Content-Type": "application/json"},
        )
        answer = await asyncio.get_running_loop().run_in_executor(self._executor, send)
        if answer.status_code != 200 or answer.json().get("success") is not True:
            raise OSError(f"{path}: {answer.status_code} {answer.text}")

    async def handle(self, payload: dict[str, Any]) -> None:
        response = await self._answers.answer_decoded(payload)
        if response is not None:
            await self.publish(self._place.response, orjson.loads(response))

    async def publish(self, topic: str, payload: dict[str, Any]) -> None:
        await self.post("/publish", {"topic": topic, "payload": payload, "qos": 1})

    def take(self, message: MessageCallback) -> None:
        task = asyncio.get_running_loop().create_task(self.handle(message.payload))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def main() -> None:
    place = Place()
    host = Host(place)
    app = FastAPI()

    @app.post("/mqtt-callback/callback")
    async def callback(message: MessageCallback) -> dict[str, str]:
        host.take(message)
        return {"status": "success"}

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/mqtt-callback/callback"
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        serving = asyncio.create_task(server.serve([sock]))
        while not server.started:  # noqa: ASYNC110 - it has no event for that
            await asyncio.sleep(0.01)
        for topic in place.commands:
            while True:
                with contextlib.suppress(OSError):  # its broker link may not be up yet
                    await host.post("/subscribe", {"topic": topic, "callbackUrl": url})
                    break
                await asyncio.sleep(0.1)
        await host.publish(place.status, {"status": "online"})
        await serving


if __name__ == "__main__":
    asyncio.run(main())
