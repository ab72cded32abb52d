"""The work that every peer does for a command; only what is around it differs.

JSON decode, duplicates within a window of 1000, the handler's lookup and call, JSON encode of the
response that the integration guide asks for. orjson, which also writes the timestamp: the fastest
way that a program has without building its JSON by hand. A peer adds what its library makes of
QoS 1 in, PUBACK, and QoS 1 out, and does without everything else that petalkit does.
"""

from __future__ import annotations

import argparse
import datetime as dt
from collections import OrderedDict
from typing import Any

import orjson

WINDOW = 1000  # duplicates that are remembered
RECEIVE_MAXIMUM = 100  # as petalkit asks for by default, where MQTT 5 lets a peer ask
KEEP_ALIVE = 20  # seconds, the same

ONLINE = b'{"status":"online"}'


class Place:
    """Where a program under test is: the broker's port on loopback, and its topics."""

    def __init__(self) -> None:
        parser = argparse.ArgumentParser()
        parser.add_argument("--port", type=int, required=True)
        parser.add_argument("--device", required=True)
        parser.add_argument("--style", choices=("sequential", "tasks"), default="tasks")
        parser.add_argument("--sidecar-url", default="")
        arguments = parser.parse_args()
        self.port: int = arguments.port
        self.style: str = arguments.style
        self.sidecar_url: str = arguments.sidecar_url
        self.client_id = f"bare-{arguments.device}"
        base = f"org/bench/device/{arguments.device}"
        self.commands = [f"{base}/command", f"{base}/command/edge"]
        self.response = f"{base}/response"
        self.status = f"{base}/status"


def greet(data: dict[str, Any]) -> dict[str, str]:
    name, count = data.get("name"), data.get("count", 1)
    if type(name) is not str or type(count) is not int:
        raise ValueError("not a greeting")
    return {"message": f"Hello, {name}! ({count})"}


async def greet_async(data: dict[str, Any]) -> dict[str, str]:
    return greet(data)


class Answers:
    """Bytes of a command in, bytes of its response out; None when nobody waits for one."""

    def __init__(self) -> None:
        self._handlers = {"bench/greet": greet}
        self._async_handlers = {"bench/greet": greet_async}
        self._answered: OrderedDict[str, bytes] = OrderedDict()

    def answer(self, payload: bytes) -> bytes | None:
        """With a plain function as handler, for programs that have no async ones."""
        command = orjson.loads(payload)
        response = self._answered.get(command["messageId"])
        if response is None:
            response = self._finish(command, self._handlers[command["command"]](command["data"]))
        return response if command["waitResponse"] else None

    async def answer_async(self, payload: bytes) -> bytes | None:
        """With an async handler, as a petal has."""
        return await self.answer_decoded(orjson.loads(payload))

    async def answer_decoded(self, command: dict[str, Any]) -> bytes | None:
        """The same for a framework that has decoded the JSON itself."""
        response = self._answered.get(command["messageId"])
        if response is None:
            result = await self._async_handlers[command["command"]](command["data"])
            response = self._finish(command, result)
        return response if command["waitResponse"] else None

    def _finish(self, command: dict[str, Any], result: dict[str, str]) -> bytes:
        message_id = command["messageId"]
        response = orjson.dumps(
            {
                "messageId": message_id,
                "timestamp": dt.datetime.now(dt.UTC),
                "success": True,
                **result,
            },
            option=orjson.OPT_UTC_Z,
        )
        self._answered[message_id] = response
        if len(self._answered) > WINDOW:
            self._answered.popitem(last=False)
        return response
