"""Part of scripts/side-by-side: one petal's answers to all of its commands, on one of two sides.

The host is run without its web server: its petal base class, its MQTT proxy with the HTTP client
taken out, and its order of hooks. What differs by nature is left out before answers are compared:
times, and IDs that each side makes up.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import json
import logging
import os
import re
import sys
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn

PROXIES = ("redis", "db", "cloud", "bucket", "ext_mavlink", "ftp_mavlink")
PAYLOADS: tuple[dict[str, Any], ...] = ({}, {"no such key": 1}, {"rotor_count": 4})
PLAN = {
    "id": "only-one",
    "nodes": [{"name": "Wait 1", "type": "Wait", "params": {"duration": 2}}],
    "edges": [],
}
# What else is asked of some petals, so that more than their checks of arguments is reached.
MORE: dict[str, tuple[dict[str, Any], ...]] = {
    "petal_leafsdk": (
        {"position_type": "local", "x": 1, "y": 2},
        {"mode": "DISABLED"},
        {"mode": "NO_SUCH_MODE"},
        {"address": "http://127.0.0.1:9/progress"},
        {"mission_plan_json": PLAN},
        PLAN,
    )
}
LIMIT = 10.0  # seconds for one answer
DEVICE = "Instance-1"
MADE_UP = re.compile(
    r"[0-9a-f]{8}-[0-9a-f-]{27}|\d{4}-\d\d-\d\dT[0-9:.+Z-]+|job_[0-9a-f]+", re.ASCII
)

Answers = dict[str, Any]
Asks = Callable[[str], Coroutine[Any, Any, Answers]]


class StandIn:
    """A proxy of which every method answers an empty object."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        async def method(*_: Any, **__: Any) -> dict[str, Any]:
            return {}

        return method


def stand_ins() -> dict[str, Any]:
    return {name: StandIn() for name in PROXIES}


def payloads(target: str) -> tuple[dict[str, Any], ...]:
    return (*PAYLOADS, *MORE.get(target, ()))


def comparable(answer: dict[str, Any] | None) -> Any:
    if answer is None:
        return None
    left = {key: answer[key] for key in answer if key not in ("timestamp", "messageId")}
    return json.loads(MADE_UP.sub("<made up>", json.dumps(left, default=str, sort_keys=True)))


def make_petal(target: str) -> Any:
    (entry,) = importlib.metadata.entry_points(group="petal.plugins", name=target)
    return entry.load()()


Sent = list[tuple[str, dict[str, Any]]]


def make_on_host(target: str) -> tuple[Any, Sent]:
    """A petal with the host's proxies, before its startup; and what it sends from then on."""
    mqtt: Any = importlib.import_module("petal_app_manager.proxies.mqtt")
    sent: Sent = []

    class Proxy(mqtt.MQTTProxy):  # type: ignore[misc, name-defined]
        organization_id = "acme"

        def _get_organization_id(self) -> str:
            return "acme"

        async def _make_ts_request(self, *request: Any, **_: Any) -> dict[str, Any]:
            data = request[2]
            sent.append((data["topic"].split("/", 4)[-1], data["payload"]))
            return {"success": True}

    petal, proxy, loop = make_petal(target), Proxy(), asyncio.get_running_loop()
    proxy.is_connected, proxy.device_id, proxy._loop = True, DEVICE, loop
    proxy.subscribed_topics = {f"{proxy._get_base_topic()}/{proxy.command_edge_topic}"}
    petal.inject_proxies({**stand_ins(), "mqtt": proxy})
    petal._loop = loop
    return petal, sent


async def set_up_on_host(petal: Any) -> None:
    """What the host calls after the startup."""
    if hasattr(petal, "_setup_mqtt_topics"):
        await petal._setup_mqtt_topics()
    await petal._setup_mqtt_actions()
    await petal.async_startup()


async def on_the_host(target: str) -> Answers:
    petal, sent = make_on_host(target)
    petal.startup()
    await set_up_on_host(petal)
    answers: Answers = {}
    for command in sorted(petal._mqtt_command_handlers):
        for payload in payloads(target):
            sent.clear()
            message = {
                "command": command,
                "messageId": str(uuid.uuid4()),
                "waitResponse": True,
                "deviceId": DEVICE,
                "timestamp": "2026-01-01T00:00:00Z",
                "payload": payload,
            }
            await asyncio.wait_for(petal._mqtt_master_command_handler("t", message), LIMIT)
            said = [fields for topic, fields in sent if topic == "response"]
            answers[f"{command} {json.dumps(payload)}"] = comparable(said[0] if said else None)
    return answers


async def on_petalkit(target: str) -> Answers:
    from petalkit.compat import adapt
    from petalkit.testing import open_harness

    (petal,) = adapt(make_petal(target), proxies=stand_ins())
    answers: Answers = {}
    async with open_harness(petal) as harness:
        commands: Any = petal
        await harness.wait_connected()
        await commands.settled.wait()
        for command in sorted(commands.key_names()):
            for payload in payloads(target):
                response = await harness.call(command, payload, timeout=LIMIT)
                answers[f"{command} {json.dumps(payload)}"] = comparable(dict(response))
    return answers


def compare(target: str, host: Answers, petalkit: Answers) -> int:
    other = [name for name in {*host, *petalkit} if host.get(name) != petalkit.get(name)]
    for name in sorted(other):
        print(f"{name}\n  host      {host.get(name)}\n  petalkit  {petalkit.get(name)}")  # noqa: T201
    print(f"{target}: {len(host)} answers, {len(other)} differ")  # noqa: T201
    return 1 if other or not host else 0


def answer(side: str, target: str, file: str, host: Asks, petalkit: Asks) -> NoReturn:
    """Ask a petal on one side, write what it says to a file, and end."""
    logging.disable(logging.CRITICAL)
    if side == "host":
        answers = asyncio.run(host(target))
    else:
        import trio

        from petalkit.compat import install

        install()
        answers = trio.run(petalkit, target)
    Path(file).write_text(json.dumps(answers))
    sys.stdout.flush()
    os._exit(0)  # petals leave threads behind, which nobody ends


def main() -> int:
    side, target, file, *more = sys.argv[1:]
    if side == "compare":
        found = [json.loads(Path(name).read_text()) for name in (file, *more)]
        return compare(target, *found)
    answer(side, target, file, on_the_host, on_petalkit)


if __name__ == "__main__":
    raise SystemExit(main())
