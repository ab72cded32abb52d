"""A device with long work on an in-process broker, and commands of the command line beside it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

from petalkit import Settings
from petalkit._values.messages import Message
from petalkit.cli._caller import session as session_module
from petalkit.cli._caller.interrupts import Interrupts
from petalkit.cli._caller.options import Ask
from petalkit.cli._caller.session import Work
from petalkit.cli._errors import CommandFailed, tell
from petalkit.testing import Harness, MemoryTransport, open_harness

from ...client.long_work import CALLER, LongPetal

DEVICE = "org/acme/device/Instance-1"
HOSTILE = "\x1b[2J\x1b]0;owned\x07[bold]x[/bold]\r\nforged :smile:"


def no_exit(code: int) -> None:
    raise AssertionError(f"left with {code}")


@attrs.define
class Caller:
    """Runs commands against a device, and keeps what they print."""

    harness: Harness
    petal: LongPetal
    capsys: pytest.CaptureFixture[str]
    interrupts: Interrupts
    out: str = ""
    err: str = ""

    async def run(
        self, work: Work, *, needs_device: bool = True, settings: Settings = CALLER, **ask: Any
    ) -> int:
        """The exit code; what was printed is in `out` and `err`."""
        asked = Ask(settings, hint="`petalkit doctor` looks for the cause", **ask)
        transport = MemoryTransport(self.harness.broker, settings.protocol)
        try:
            code = await session_module.open_session(
                asked, work, self.interrupts, needs_device=needs_device, transport=transport
            )
        except CommandFailed as failed:
            code = tell(failed, as_json=asked.as_json)
        self.read()
        return code

    def read(self) -> None:
        """What was printed until now."""
        captured = self.capsys.readouterr()
        self.out, self.err = captured.out, captured.err

    @property
    def document(self) -> Any:
        """Stdout, which is one line of JSON."""
        (line,) = self.out.splitlines()
        return json.loads(line)

    def say(self, topic: str, **fields: Any) -> None:
        """What the device, or somebody in its place, says."""
        self.harness.broker.publish_nowait(f"{DEVICE}/{topic}", json.dumps(fields).encode())


def status_message(device_id: str, status: str = "online", **more: Any) -> Message:
    payload = json.dumps({"status": status, **more}).encode()
    return Message(f"org/acme/device/{device_id}/status", payload, 1, retain=True)


@asynccontextmanager
async def a_caller(
    capsys: pytest.CaptureFixture[str], petal: LongPetal | None = None, **device: Any
) -> AsyncIterator[Caller]:
    petal = petal or LongPetal()
    async with open_harness(petal, settings=Settings(**device)) as harness:
        yield Caller(harness, petal, capsys, Interrupts(no_exit))
