"""Petals that the runtime's tests share, and small words to tell a story with."""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from typing import Any

import trio
import trio.testing

from petalkit import Petal, command
from petalkit.testing import Harness

CLIENT_ID = "petalkit-acme-Instance-1"  # what the harness's device is called by the broker


class Recorder(Petal):
    """Notes what starts and ends, and holds commands until the test lets them go."""

    name = "rec"

    def __init__(self, name: str = "rec") -> None:
        self.name = name
        self.started: list[Any] = []
        self.ended: list[Any] = []
        self.running = 0
        self.most_running = 0
        self.gates: defaultdict[str, trio.Event] = defaultdict(trio.Event)

    def open(self, key: str = "") -> None:
        """Let go of what is held under a key, now and later."""
        self.gates[key].set()

    async def _hold(self, key: str, n: Any) -> dict[str, Any]:
        self.started.append(n)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.gates[key].wait()
        finally:
            self.running -= 1
        self.ended.append(n)
        return {"n": n}

    @command("note")
    async def note(self, n: int = 0) -> dict[str, Any]:
        """Start and end in one step."""
        self.started.append(n)
        return {"n": n}

    @command("hold", timeout=math.inf)
    async def hold(self, key: str = "", n: int = 0) -> dict[str, Any]:
        """Last until the gate opens."""
        return await self._hold(key, n)

    @command("brief", timeout=5.0)
    async def brief(self, key: str = "", n: int = 0) -> dict[str, Any]:
        """Last until the gate opens, 5 s at most."""
        return await self._hold(key, n)

    @command("two", timeout=math.inf, concurrency=2)
    async def two(self, key: str = "", n: int = 0) -> dict[str, Any]:
        """Two at once."""
        return await self._hold(key, n)

    @command("alone", timeout=math.inf, exclusive="motor")
    async def alone(self, key: str = "", n: int = 0) -> dict[str, Any]:
        """One at a time."""
        return await self._hold(key, n)

    @command("stop", urgent=True)
    async def stop(self, n: int = 0) -> dict[str, Any]:
        """The emergency stop."""
        self.started.append(f"stop {n}" if n else "stop")
        return {}


class Disorderly(Petal):
    """Leaves its task in disorder, and fails, when it is started."""

    name = "disorderly"

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        trio.CancelScope().__enter__()
        raise OSError("no camera")
        yield


async def settle() -> None:
    """Let everything happen that can happen now."""
    await trio.testing.wait_all_tasks_blocked()


def unacknowledged(harness: Harness) -> int:
    """How many messages the broker is still owed an acknowledgement for."""
    return len(harness.broker.unacknowledged(CLIENT_ID))


async def until(condition: Callable[[], bool], within: float = 600.0) -> None:
    """Let Trio's time pass until something is so."""
    with trio.fail_after(within):
        while not condition():
            await trio.sleep(0.05)
