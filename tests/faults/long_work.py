"""Jobs beside the commands: started, watched, cancelled, and asked for, also long afterwards."""

from __future__ import annotations

import random
import time

import trio

from .history import Cancelled, Told
from .job_cases import ENDS
from .load import Load, Sender
from .sender import PATIENCE

ASK_PATIENCE = 3.0  # seconds for one answer; a question may be lost, and is asked again
PAUSE = 0.02  # seconds before somebody asks again how a job goes on
NAMES = ("copy", "copy", "sync", "sync", "detect")
READER = "driver"


class LongWork:
    """See the module.

    Args:
        load: what goes on beside.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._client = load.client
        self._chance = random.Random(f"jobs {load.seed}")

    async def send(self, count: int) -> None:
        """Start so many, and meddle with some."""
        client, chance = self._client, self._chance
        for name in ("copy", "sync"):
            data = {"subscribed_stream_id": READER, "data_rate_hz": 2.0}
            while not await client.ask(f"jobs/subscribe_{name}", data, ASK_PATIENCE):
                if self._load.gone():
                    return
        sender = Sender(self._load, "jobs", chance)
        for n in range(count):
            name = chance.choice(NAMES)
            await sender.send(f"jobs/{name}", n, {"ms": chance.choice([1, 5, 20, 60])})
            if client.jobs and chance.random() < 0.2:
                job_id = chance.choice(list(client.jobs))
                if chance.random() < 0.3:
                    client.history.add(Cancelled(at=time.monotonic(), job_id=job_id))
                    await client.ask("petalkit/cancel", {"job_id": job_id}, ASK_PATIENCE)
                await self._ask(job_id)
        await sender.finish()

    async def ask_results(self) -> None:
        """Ask of each what it has come to, until it has ended."""
        for job_id in list(self._client.jobs):
            with trio.move_on_after(PATIENCE):
                while not self._load.gone() and not await self._ask(job_id):
                    await trio.sleep(PAUSE)

    async def _ask(self, job_id: str) -> bool:
        """Whether it has ended, or nobody knows it."""
        command = self._client.jobs[job_id].replace("/", "/result_")
        fields = await self._client.ask(command, {"job_id": job_id}, ASK_PATIENCE)
        if "state" not in fields and fields.get("error_code") != "UNKNOWN_JOB":
            return False
        self._client.history.add(Told(at=time.monotonic(), job_id=job_id, fields=fields))
        return fields.get("state") in ENDS or "error_code" in fields
