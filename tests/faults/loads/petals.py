"""The petals that are served while there is too much to do. Run by `petalkit run`."""

from __future__ import annotations

import math
import time

import pydantic
import trio

from petalkit import Command, Petal, command

from . import probes

probes.install()


class Point(pydantic.BaseModel):
    """What a command has thousands of."""

    x: int


class Points(pydantic.BaseModel):
    """The same, where pydantic goes through them alone."""

    values: list[Point]


class Guard(Petal):
    """The one that must always get through."""

    name = "guard"
    version = "1.0.0"

    @command("stop", urgent=True)
    async def stop(self, command: Command) -> None:
        probes.note("started", command.message_id)


class Fast(Petal):
    """Handlers that take no time."""

    name = "fast"
    version = "1.0.0"

    @command("echo")
    async def echo(self, n: int = 0, take: str = "") -> dict[str, int]:
        return {"n": n}

    @command("once")
    async def once(self, command: Command) -> None:
        probes.note("once", command.message_id)

    @command("numbers")
    async def numbers(self, values: list[int]) -> dict[str, int]:
        return {"n": len(values)}

    @command("points")
    async def points(self, data: Points) -> dict[str, int]:
        return {"n": len(data.values)}


class Slow(Petal):
    """Handlers that take a while, and do not stop when they are told to."""

    name = "slow"
    version = "1.0.0"

    @command("wait", timeout=math.inf)
    async def wait(self, seconds: float = 1.0, take: str = "") -> None:
        await trio.sleep(seconds)

    @command("give", timeout=math.inf)
    async def give(self, seconds: float, size: int) -> dict[str, str]:
        await trio.sleep(seconds)
        return {"given": "x" * size}

    @command("stubborn", timeout=0.2)
    async def stubborn(self, seconds: float) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)

    @command("thread", timeout=0.2, thread=True)
    def thread(self, seconds: float) -> None:
        time.sleep(seconds)
