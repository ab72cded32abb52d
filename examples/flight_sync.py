"""Long work: what a vehicle's memory card holds is listed, copied to two servers, and deleted.

    petalkit run examples/flight_sync.py --config petalkit.toml

with, in petalkit.toml,

    [petals.flight-sync]
    folder = "/mnt/card"
    targets = ["http://127.0.0.1:8080/first", "http://127.0.0.1:8080/second"]

The petal is three jobs and two commands of two phases. Beside each job there are the commands to
subscribe to it, to cancel it, and to ask how it stands and what it came to; nobody writes those.
"""

import http.client
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import trio

from petalkit import CommandContext, CommandError, Job, Petal, Step, command, job

PIECE = 64 * 1024  # bytes between two reports
SOCKET_TIMEOUT = 30.0  # seconds


class FlightSyncPetal(Petal):
    """Serves one memory card, on which one thing is done at a time."""

    name = "flight-sync"
    version = "1.0.0"

    def __init__(self, folder: Path, targets: list[str]):
        self.card = Card(folder)
        self.targets = targets

    @job("fetch_records", timeout=60, exclusive="card", queue=4)
    async def fetch_records(self, job: Job):
        """The records with their sizes."""
        names, sizes = await self.card.names(), {}
        for done, name in enumerate(names):
            await job.progress(done / len(names), name)
            sizes[name] = await self.card.size(name)
        return {"records": sizes}

    @job("sync_record", timeout=900, exclusive="card", queue=4)
    async def sync_record(self, job: Job, record_id: str):
        """Copy a record from the card, which is slow, and from there to all targets at once."""
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / record_id
            async with job.step("download", weight=0.9) as step:
                await self.card.read(record_id, copy, step.report)
            async with trio.open_nursery() as nursery:
                for url in self.targets:
                    step = job.step(f"upload to {url}", weight=0.1 / len(self.targets))
                    nursery.start_soon(upload, url, copy, step)
        return {"record_id": record_id, "targets": self.targets}

    @job("delete_records", timeout=300, exclusive="card", queue=4)
    async def delete_records(self, job: Job, record_ids: list[str]):
        """Delete many, and say which were not there."""
        missing: list[str] = []
        for done, name in enumerate(record_ids):
            await job.progress(done / len(record_ids), name, missing=len(missing))
            if not await self.card.delete(name):
                missing.append(name)
        return {"deleted": len(record_ids) - len(missing), "missing": missing}

    @command("detect_card", timeout=30, exclusive="card")
    async def detect_card(self, context: CommandContext):
        """Answers at once; whether there is a card is said when it is known."""
        await context.accept(message="looking for a card")
        return {"records": len(await self.card.names())}

    @command("clear_card", timeout=300, exclusive="card")
    async def clear_card(self, context: CommandContext):
        """The same for its deletion."""
        await context.accept(message="clearing the card")
        return {"deleted": sum([await self.card.delete(name) for name in await self.card.names()])}


class Card:
    """A memory card, which blocks; so what is done with it is done in threads."""

    def __init__(self, folder: Path):
        self._folder = folder

    async def names(self) -> list[str]:
        """What is on it."""
        return await trio.to_thread.run_sync(self._names)

    async def size(self, name: str) -> int:
        """Bytes of one record."""
        return await trio.to_thread.run_sync(lambda: self._path(name).stat().st_size)

    async def delete(self, name: str) -> bool:
        """Whether there was one."""

        def unlink() -> bool:
            there = name in self._names()
            if there:
                (self._folder / name).unlink(missing_ok=True)
            return there

        return await trio.to_thread.run_sync(unlink)

    async def read(self, name: str, to: Path, report: Callable[[float], None]) -> None:
        """Copy one record; ends early when the job is cancelled."""

        def copy() -> None:
            path = self._path(name)
            with to.open("wb") as file:
                for piece in pieces(path, report):
                    file.write(piece)

        await trio.to_thread.run_sync(copy)

    def _names(self) -> list[str]:
        if not self._folder.is_dir():
            raise CommandError("NO_CARD", "there is no card")
        return sorted(path.name for path in self._folder.glob("*.ulg"))

    def _path(self, name: str) -> Path:
        if name not in self._names():  # "../../etc/passwd" is no record
            raise CommandError("RECORD_NOT_FOUND", f"there is no record {name!r}")
        return self._folder / name


def pieces(path: Path, report: Callable[[float], None]) -> Iterator[bytes]:
    """A file in pieces; raises `trio.Cancelled` when the job was cancelled meanwhile."""
    size, done = path.stat().st_size, 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            trio.from_thread.check_cancelled()
            yield piece
            done += len(piece)
            report(min(1.0, done / size))


async def upload(url: str, path: Path, step: Step) -> None:
    """One HTTP PUT in a thread, as a step of a job."""
    async with step:
        await trio.to_thread.run_sync(put, url, path, step.report)


def put(url: str, path: Path, report: Callable[[float], None]) -> None:
    """The same with the blocking client of the standard library."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = connect(parts.netloc, timeout=SOCKET_TIMEOUT)
    target = f"{parts.path.rstrip('/')}/{quote(path.name)}"
    headers = {"Content-Length": str(path.stat().st_size)}
    try:
        connection.request("PUT", target, pieces(path, report), headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise CommandError("UPLOAD_FAILED", f"{url}: {error}", retryable=True) from error
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise CommandError("UPLOAD_FAILED", f"{url} answered {status}", retryable=True)
