"""The ten commands of `flight_sync.py` without `@job`, to see what a petal would write itself.

It runs, and has tests. What it lacks, for want of lines: results for who asks late, a line of those
that wait, weighted steps side by side, one step in which readers hear of the end, threads that end
before the next job starts, readers that are forgotten, and everything that a restart asks for.
"""

import logging
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trio

from flight_sync import Card, put
from petalkit import CommandContext, CommandError, Petal, command

logger = logging.getLogger("flight-sync")


class Work:
    """One kind of job, of which one runs at a time, and those who read how it goes."""

    def __init__(self, petal: Petal, name: str, timeout: float):
        self._petal = petal
        self._name = name
        self._timeout = timeout
        self._scope: trio.CancelScope | None = None
        self._readers: dict[str, trio.CancelScope] = {}
        self.state: dict[str, Any] = {}

    def start(self, work: Callable[[], Awaitable[Any]]):
        """Begin, and answer."""
        if self._scope is not None:
            text = f"{self._name} is running"
            raise CommandError("BUSY", text, retryable=True, details={"running": self.state})
        self.state = {"job_id": str(uuid.uuid4()), "state": "running", "progress": 0.0}
        answer = dict(self.state)
        self._scope = trio.CancelScope()
        self._petal.nursery.start_soon(self._run, work, self._scope)
        return answer

    async def _run(self, work: Callable[[], Awaitable[Any]], scope: trio.CancelScope):
        end: dict[str, Any] = {"state": "cancelled"}  # also when the petal is stopped
        try:
            with scope, trio.move_on_after(self._timeout) as limit:
                try:
                    end = {"state": "succeeded", "result": await work(), "progress": 1.0}
                except* CommandError as group:
                    end = {"state": "failed", "job_error": first_no(group).message}
                except* Exception:
                    logger.exception("%s failed", self._name)
                    end = {"state": "failed", "job_error": f"{self._name} failed"}
            if limit.cancelled_caught:
                end = {"state": "timed_out"}
        finally:
            self.state |= end
            self._scope = None
            with trio.move_on_after(1.0, shield=True):
                for stream_id in self._readers:
                    await self._publish(stream_id)

    def report(self, fraction: float, message: str):
        """What readers get at their next turn."""
        self.state |= {"progress": fraction, "message": message}

    def subscribe(self, stream_id: str, rate: float):
        """One more reader, or another rate of one."""
        if not 0 < rate <= 100:
            raise CommandError("INVALID_DATA", "data_rate_hz must be above 0 and at most 100")
        if len(self._readers) >= 20 and stream_id not in self._readers:
            raise CommandError("BUSY", "there are 20 readers, and that is all", retryable=True)
        self.unsubscribe(stream_id)
        self._readers[stream_id] = scope = trio.CancelScope()
        self._petal.nursery.start_soon(self._tell, stream_id, rate, scope)
        return {"published_stream_id": stream_id, "data_rate_hz": rate}

    async def _tell(self, stream_id: str, rate: float, scope: trio.CancelScope):
        told: dict[str, Any] = {}
        with scope:
            while True:
                if self._scope is not None and self.state != told:
                    told = dict(self.state)
                    await self._publish(stream_id)
                await trio.sleep(1 / rate)

    async def _publish(self, stream_id: str):
        data = {"published_stream_id": stream_id, "stream_payload": dict(self.state)}
        await publish(self._petal, f"publish_{self._name}", str(uuid.uuid4()), data, stream_id)

    def unsubscribe(self, stream_id: str):
        """One reader less."""
        scope = self._readers.pop(stream_id, None)
        if scope is not None:
            scope.cancel()
        return {"published_stream_id": stream_id, "unsubscribed": scope is not None}

    def cancel(self, job_id: str | None):
        """End what runs."""
        if self._scope is None or job_id not in (None, self.state["job_id"]):
            raise CommandError("UNKNOWN_JOB", f"no such job of {self._name} runs")
        self.state["state"] = "cancelling"
        self._scope.cancel()
        return dict(self.state)


def first_no(error: BaseException) -> Any:
    """The first of a group, which `except*` makes of a single one too."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def publish(petal: Petal, name: str, message_id: str, data: Any, latest: str | None = None):
    """A message for web clients, in their envelope."""
    envelope = {"command": f"/{petal.name}/{name}", "messageId": message_id, "data": data}
    await petal.publish_message(envelope, latest=latest)


class FlightSyncPetal(Petal):
    """Serves one memory card."""

    name = "flight-sync"
    version = "1.0.0"

    def __init__(self, folder: Path, targets: list[str]):
        self.card = Card(folder)
        self.targets = targets
        self.fetching = Work(self, "fetch_records", 60)
        self.syncing = Work(self, "sync_record", 900)
        self.busy = False  # with a command of two phases

    @command("fetch_records")
    async def fetch_records(self):
        self._check_free(self.fetching)
        return self.fetching.start(self._fetch)

    @command("subscribe_fetch_records")
    async def subscribe_fetch(self, subscribed_stream_id: str, data_rate_hz: float = 10):
        return self.fetching.subscribe(subscribed_stream_id, data_rate_hz)

    @command("unsubscribe_fetch_records")
    async def unsubscribe_fetch(self, subscribed_stream_id: str):
        return self.fetching.unsubscribe(subscribed_stream_id)

    @command("cancel_fetch_records", urgent=True)
    async def cancel_fetch(self, job_id: str | None = None):
        return self.fetching.cancel(job_id)

    @command("sync_record")
    async def sync_record(self, record_id: str):
        self._check_free(self.syncing)
        return self.syncing.start(lambda: self._sync(record_id))

    @command("subscribe_sync_record")
    async def subscribe_sync(self, subscribed_stream_id: str, data_rate_hz: float = 10):
        return self.syncing.subscribe(subscribed_stream_id, data_rate_hz)

    @command("unsubscribe_sync_record")
    async def unsubscribe_sync(self, subscribed_stream_id: str):
        return self.syncing.unsubscribe(subscribed_stream_id)

    @command("cancel_sync_record", urgent=True)
    async def cancel_sync(self, job_id: str | None = None):
        return self.syncing.cancel(job_id)

    @command("detect_card")
    async def detect_card(self, context: CommandContext):
        return self._begin_second_phase("detect_card", context.message_id or "", self._detect)

    @command("clear_card")
    async def clear_card(self, context: CommandContext):
        return self._begin_second_phase("clear_card", context.message_id or "", self._clear)

    def _check_free(self, own: Work):
        others = (one for one in (self.fetching, self.syncing) if one is not own)
        if self.busy or any(one.state.get("state") in ("running", "cancelling") for one in others):
            raise CommandError("BUSY", "the card is in use", retryable=True)

    def _begin_second_phase(self, name: str, message_id: str, work: Callable[[], Awaitable[Any]]):
        self._check_free(self.fetching)
        self._check_free(self.syncing)
        self.busy = True
        self.nursery.start_soon(self._second_phase, name, message_id, work)
        return {"pending": True}

    async def _second_phase(self, name: str, message_id: str, work: Callable[[], Awaitable[Any]]):
        end: dict[str, Any] = {"success": False, "error": "the device is shutting down"}
        try:
            with trio.fail_after(300):
                end = {"success": True, **await work()}
        except CommandError as error:
            end = {"success": False, "error": error.message}
        except Exception:
            logger.exception("%s failed", name)
            end = {"success": False, "error": f"{name} failed"}
        finally:
            self.busy = False
            with trio.move_on_after(1.0, shield=True):
                await publish(self, name, message_id, end)

    async def _detect(self):
        return {"records": len(await self.card.names())}

    async def _clear(self):
        return {"deleted": sum([await self.card.delete(name) for name in await self.card.names()])}

    async def _fetch(self):
        names, sizes = await self.card.names(), {}
        for done, name in enumerate(names):
            self.fetching.report(done / len(names), name)
            sizes[name] = await self.card.size(name)
        return {"records": sizes}

    async def _sync(self, record_id: str):
        parts = [0.0] * (1 + len(self.targets))

        def report(part: int, weight: float, fraction: float):
            parts[part] = weight * fraction
            self.syncing.report(min(1.0, sum(parts)), "upload" if part else "download")

        with TemporaryDirectory() as folder:
            copy = Path(folder) / record_id
            await self.card.read(record_id, copy, lambda fraction: report(0, 0.9, fraction))
            async with trio.open_nursery() as nursery:
                for part, url in enumerate(self.targets, 1):
                    nursery.start_soon(self._upload, url, copy, part, report)
        return {"record_id": record_id, "targets": self.targets}

    async def _upload(self, url: str, path: Path, part: int, report: Callable[..., None]):
        weight = 0.1 / len(self.targets)
        await trio.to_thread.run_sync(
            put, url, path, lambda fraction: report(part, weight, fraction)
        )
