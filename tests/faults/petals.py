"""The petals that are served while things go wrong. Run by `petalkit run`, in its own process.

A handler's effect is one line at the end of a file, written in one call, at once when it begins:
`messageId command n incarnation time`. That is how often, and in which order, handlers ran.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

import trio

from petalkit import Command, CommandContext, CommandError, Job, Petal, command, job

from . import crash_points

EFFECTS = "PETALKIT_TEST_EFFECTS"  # the file
INCARNATION = "PETALKIT_TEST_INCARNATION"  # which process this is
POLL = 0.02  # seconds
SLOTS = 16  # `petal_concurrency` of the runtime

crash_points.install()


class _Base(Petal):
    version = "1.0.0"

    def __init__(self) -> None:
        self._incarnation = os.environ[INCARNATION]
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND
        self._file = os.open(os.environ[EFFECTS], flags, 0o600)

    def _effect(self, command: Command, n: int) -> dict[str, int]:
        """Leave a trace of this run; what it is answered with."""
        line = f"{command.message_id} {command.command} {n} {self._incarnation} "
        os.write(self._file, f"{line}{time.monotonic():.9f}\n".encode())
        crash_points.reached("effect-done")
        return {"n": n, "process": int(self._incarnation)}


class Work(_Base):
    """One command of every kind."""

    name = "work"

    @command("quick")
    async def quick(
        self, command: Command, n: int, take: str = "", give: int = 0
    ) -> dict[str, Any]:
        return {**self._effect(command, n), **({"given": "x" * give} if give else {})}

    @command("slow")
    async def slow(self, command: Command, n: int, ms: int) -> dict[str, int]:
        done = self._effect(command, n)
        await trio.sleep(ms / 1000)
        return done

    @command("narrow", concurrency=2)
    async def narrow(self, command: Command, n: int, ms: int) -> dict[str, int]:
        return await self.slow(command, n, ms)

    @command("idempotent", idempotent=True)
    async def idempotent(self, command: Command, n: int, ms: int) -> dict[str, int]:
        return await self.slow(command, n, ms)

    @command("exclusive", exclusive="arm")
    async def exclusive(self, command: Command, n: int, ms: int) -> dict[str, int]:
        return await self.slow(command, n, ms)

    @command("urgent", urgent=True)
    async def urgent(self, command: Command, n: int) -> dict[str, int]:
        return self._effect(command, n)

    @command("failing")
    async def failing(self, command: Command, n: int) -> None:
        self._effect(command, n)
        if n % 2:
            raise RuntimeError("on purpose")
        raise CommandError("NO", "on purpose")

    @command("hold", timeout=math.inf)
    async def hold(self, command: Command, n: int, gate: str) -> dict[str, int]:
        """Take a slot until a file is there."""
        done = self._effect(command, n)
        while not Path(gate).exists():  # noqa: ASYNC240 - a stat, and only now and then
            await trio.sleep(POLL)
        return done


class Jobs(_Base):
    """Long work: jobs of each kind, and a command that is answered before it ends."""

    name = "jobs"

    def __init__(self) -> None:
        super().__init__()
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND
        self._jobs = os.open(os.environ[EFFECTS] + "-jobs", flags, 0o600)

    def _ran(self, job: Job, name: str) -> None:
        line = f"{job.id} {name} {self._incarnation} {time.monotonic():.9f}\n"
        os.write(self._jobs, line.encode())
        crash_points.reached("effect-done")

    @job("copy", concurrency=2, queue=50)
    async def copy(self, job: Job, n: int, ms: int) -> dict[str, int]:
        self._ran(job, "copy")
        await trio.sleep(ms / 1000)
        return {"n": n, "process": int(self._incarnation)}

    @job("sync", concurrency=4, queue=50, resume=True)
    async def sync(self, job: Job, n: int, ms: int) -> dict[str, int]:
        self._ran(job, "sync")
        for step in range((job.resumed or {"done": 0})["done"], 4):
            await trio.sleep(ms / 4000)
            await job.checkpoint({"done": step + 1})
        return {"n": n, "process": int(self._incarnation)}

    @command("detect", timeout=60)
    async def detect(
        self, command: Command, context: CommandContext, n: int, ms: int
    ) -> dict[str, int]:
        done = self._effect(command, n)
        await context.accept()
        await trio.sleep(ms / 1000)
        return done


class Other(_Base):
    """The one that goes on while `work` is hindered."""

    name = "other"

    @command("quick")
    async def quick(self, command: Command, n: int) -> dict[str, int]:
        return self._effect(command, n)
