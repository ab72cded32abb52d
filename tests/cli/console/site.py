"""A console with two devices, and no broker process: what the tests in a browser look at.

    python -m tests.cli.console.site

prints the console's address, and ends with its standard input. One device is the demo's. The other
one is hostile: all that it says is made to be taken for markup, for code, or for another type.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from petalkit import Identity, Settings
from petalkit._values.messages import Message
from petalkit._values.topics import TopicFilter
from petalkit.cli._console.command import MOVES, open_console
from petalkit.cli._demonstration.flight_log import FlightLogPetal
from petalkit.cli._example import ExamplePetal
from petalkit.client import open_client
from petalkit.testing import open_harness
from petalkit.transports import ConnectOptions, Link
from petalkit.transports.memory import MemoryBroker, MemoryTransport

SETTINGS = Settings(organization_id="acme", device_id="Instance-1", grace=0.1)
BAD = "<img src=x onerror=\"window.hit='yes'\"><script>window.hit='yes'</script>"
HOSTILE = Identity("acme", "<img src=x onerror=window.hit=1>")
SCHEMA = {
    "title": BAD,
    "description": BAD,
    "type": "object",
    "properties": {
        BAD: {"type": "string", "default": BAD, "description": BAD, "pattern": "(a+)+$"},
        "__proto__": {"type": "integer", "minimum": BAD, "maximum": {"x": BAD}},
        "constructor": {"enum": [BAD, {"a": BAD}, None], "default": BAD},
        "round": {"$ref": "#/properties/round"},
        "tree": {"$ref": "#/$defs/tree"},
        "nowhere": {"$ref": "#/%"},
        "odd": {"type": ["string", 5], "properties": 7},
        "list": {"type": "array", "items": {"title": BAD, "type": "string"}, "minItems": 1e9},
        "union": {"anyOf": [{"title": BAD, "type": "string"}, {"type": "null"}, 5]},
    },
    "required": [BAD, 7, "list"],
    "$defs": {
        "tree": {
            "type": "object",
            "required": [f"branch {n}" for n in range(20)],
            "properties": {f"branch {n}": {"$ref": "#/$defs/tree"} for n in range(20)},
        }
    },
}
OPTIONS = {"timeout": BAD, BAD: BAD}
INFO = {
    "petalkit": BAD,
    "schema_hash": BAD,
    "complete": True,
    "commands": ["bad/command", BAD, "bad/start"],
    "jobs": ["bad/job"],
    "streams": ["bad/stream", BAD],
    "petals": [
        {
            "name": BAD,
            "version": {"x": BAD},
            "doc": BAD,
            "commands": [
                {"name": "bad/command", "doc": BAD, "data": SCHEMA, "options": OPTIONS},
                {"name": BAD, "doc": BAD, "data": {"properties": BAD}, "options": BAD},
            ],
            "jobs": [{"name": "bad/job", "doc": BAD, "data": SCHEMA}],
            "streams": [
                {"name": "bad/stream", "doc": BAD, "value": SCHEMA, "options": {"max_rate": 1e9}}
            ],
        },
        {"name": 5, "commands": "none", "jobs": {"a": 1}},
    ],
}
JOB = {"job_id": BAD, "state": "running", "progress": 0.5, "message": BAD, "fields": {BAD: BAD}}
ERRORS = [{"path": f"data.{BAD}", "message": BAD}, {"path": 5}, None, BAD]
WRONG_JOBS: list[dict[str, Any]] = [
    {"job_id": "j-1", "state": {"x": 1}, "progress": "half", "message": 5, "position": BAD},
    {"job_id": "j-2", "state": BAD, "progress": 1e308},
    {"job_id": "j-3", "state": "succeeded", "progress": -5, "result": {BAD: BAD}},
    {"job_id": "j-4", "state": "failed", "job_error": BAD, "job_error_code": {"x": BAD}},
]


@asynccontextmanager
async def open_hostile(broker: MemoryBroker) -> AsyncIterator[None]:
    """A device that answers, and says nothing that it should."""

    async def say(link: Link, topic: str, fields: Any, **how: Any) -> None:
        await link.publish(Message(HOSTILE.topic(topic), json.dumps(fields).encode(), **how))

    def tell(stream_id: str, value: Any) -> dict[str, Any]:
        data = {"published_stream_id": stream_id, "stream_payload": value}
        return {"command": BAD, "timestamp": BAD, "data": data}

    async def talk(link: Link, name: str, stream_id: str) -> None:
        values: list[Any] = [*WRONG_JOBS, JOB]
        if name != "bad/subscribe_job":
            values = [{BAD: BAD, "n": 1.5, "deep": [[[[[[BAD]]]]]]}, BAD, 1e308, None, [1, BAD]]
        for number in range(1_000_000):
            await say(link, "command/web", tell(stream_id, values[number % len(values)]))
            event = {"command": BAD, "data": {BAD: BAD}, "timestamp": BAD}
            await say(link, "command/web", event)
            await trio.sleep(0.1)

    async def answer(link: Link, command: dict[str, Any], nursery: trio.Nursery) -> None:
        name, data = command["command"], command.get("data") or {}
        fields: dict[str, Any] = {"success": True, BAD: BAD, "n": 2**70}
        if name == "petalkit/info":
            fields |= INFO
        elif name == "petalkit/jobs":
            fields |= {"jobs": [*WRONG_JOBS, JOB, 5, {"job_id": 7}]}
        elif name == "petalkit/statistics":
            fields |= {"statistics": {"started": BAD, "waiting": -1, "failed": {BAD: 5}}}
        elif "subscribe" in name and "unsubscribe" not in name:
            fields |= {"data_rate_hz": BAD}
            nursery.start_soon(talk, link, name, data["subscribed_stream_id"])
        elif name == "bad/command":
            fields |= {"success": False, "error": BAD, "error_code": BAD, "errors": ERRORS}
        await say(link, "response", {"messageId": command["messageId"], **fields})

    options = ConnectOptions(client_id="hostile")
    async with MemoryTransport(broker).connect(options) as link, trio.open_nursery() as nursery:

        async def serve() -> None:
            while True:
                for delivery in await link.receive():
                    delivery.ack()
                    await answer(link, json.loads(delivery.payload), nursery)

        await link.subscribe([TopicFilter(HOSTILE.topic("command"))])
        petals = [{"name": BAD, "version": BAD}]
        status = {"status": "online", "timestamp": BAD, "petals": petals, "schema_hash": BAD}
        await say(link, "status", status, retain=True)
        nursery.start_soon(serve)
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_site(port: int = 0) -> AsyncGenerator[str]:
    """Both devices, and the console of them; gives its address."""
    petals = [ExamplePetal(), FlightLogPetal()]
    async with open_harness(*petals, settings=SETTINGS) as harness:
        transport = MemoryTransport(harness.broker)
        async with (
            open_hostile(harness.broker),
            open_client(SETTINGS, transport=transport) as client,
            open_console(client, SETTINGS, port, MOVES) as address,
        ):
            yield address


async def main() -> None:
    """Serve until nobody holds standard input open any more."""
    async with open_site() as address:
        print(address, flush=True)  # noqa: T201
        await trio.to_thread.run_sync(sys.stdin.read)


if __name__ == "__main__":
    trio.run(main)
