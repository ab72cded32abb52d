"""A runtime over a sidecar in memory, and the sidecar's way to it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import trio
import trio.testing

from petalkit import Petal, Runtime, Settings, command, open_runtime
from petalkit.transports.sidecar import SidecarTransport
from petalkit.transports.sidecar._offers import Offer

from ..fake_sidecar import FakeSidecar

BASE = "org/acme/device/d"


class Work(Petal):
    name = "work"
    version = "1.0.0"

    def __init__(self) -> None:
        self.ran: list[int] = []
        self.gate = trio.Event()

    @command("wait")
    async def wait(self, n: int) -> dict[str, int]:
        self.ran.append(n)
        await self.gate.wait()
        return {"n": n}


class Device:
    """A runtime that is connected, and the sidecar's way to it."""

    def __init__(self, runtime: Runtime, transport: SidecarTransport, petal: Work) -> None:
        self.runtime = runtime
        self.transport = transport
        self.petal = petal

    @property
    def link(self) -> Any:
        return self.transport.app.link

    def offer(self, n: int, base: str = BASE, *, command: str = "work/wait") -> Offer:
        fields = {"command": command, "messageId": f"m{n}", "waitResponse": True}
        payload = json.dumps({**fields, "data": {"n": n}}).encode()
        offer: Offer = self.link.offer(f"{base}/command", payload)
        return offer


@asynccontextmanager
async def served(sidecar: FakeSidecar, **settings: Any) -> AsyncGenerator[Device]:
    if "organization_source" not in settings:
        settings["organization_id"] = "acme"
    made = Settings(transport="sidecar", callback_listen="127.0.0.1:0", device_id="d", **settings)
    http = httpx.MockTransport(sidecar.handle)
    transport = SidecarTransport(made, http=http, open_stream=sidecar.open_stream)
    petal = Work()
    async with open_runtime([petal], made, transport=transport) as runtime:
        await runtime.wait_connected()
        await trio.testing.wait_all_tasks_blocked()
        yield Device(runtime, transport, petal)


def answers(sidecar: FakeSidecar, base: str = BASE) -> list[dict[str, Any]]:
    return [body["payload"] for body in sidecar.bodies if body["topic"] == f"{base}/response"]
