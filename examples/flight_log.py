"""Flight logs: list the records of a folder, and copy one to where it is collected.

    petalkit run examples/flight_log.py --config petalkit.toml

with, in petalkit.toml,

    [petals.flight-log-petal]
    folder = "/var/log/flights"
    destination = "/mnt/collected"

It shows a prefix, plain arguments with defaults, a "no" of its own, an event to web clients, and
what to do with work that blocks.
"""

import datetime as dt
import shutil
from pathlib import Path

import attrs
import trio

from petalkit import CommandError, Petal, command


@attrs.frozen
class Record:
    record_id: str
    size: int  # bytes
    modified: dt.datetime


class FlightLogPetal(Petal):
    """Serves the records of one folder."""

    name = "flight-log-petal"
    version = "1.0.0"
    prefix = "flight-log"  # flight-log/fetch_records, not flight-log-petal/fetch_records

    def __init__(self, folder: Path, destination: Path):
        self._folder = folder
        self._destination = destination

    # Reading a folder blocks, and the event loop is everybody's: hence a thread.
    @command("fetch_records", thread=True)
    def fetch_records(self, limit: int = 100):
        """The newest records first, `limit` at most."""
        if limit < 1:
            raise CommandError("BAD_LIMIT", "limit must be at least 1")
        return {"records": [attrs.asdict(record) for record in self._records()[:limit]]}

    @command("upload_record", timeout=600.0, exclusive="flight-log/upload")
    async def upload_record(self, record_id: str):
        """Copy one record to the destination, and tell web clients that it is there."""
        # Not abandoned when it is cancelled: it is short, and is waited for.
        size = await trio.to_thread.run_sync(self._copy, record_id)
        await self.publish_message(
            {
                "command": "/flight-log-petal/record_uploaded",
                "data": {"record_id": record_id, "size": size},
            }
        )
        return {"record_id": record_id, "size": size}

    def _records(self) -> list[Record]:
        found = []
        for path in self._folder.glob("*.ulg"):
            status = path.stat()
            modified = dt.datetime.fromtimestamp(status.st_mtime, dt.UTC)
            found.append(Record(path.name, status.st_size, modified))
        return sorted(found, key=lambda record: record.modified, reverse=True)

    def _copy(self, record_id: str) -> int:
        # Only a name that we listed ourselves: "../../etc/passwd" is no record.
        if record_id not in {record.record_id for record in self._records()}:
            raise CommandError("RECORD_NOT_FOUND", f"there is no record {record_id!r}")
        # Under another name until it is whole: nobody collects half a record. The group in
        # `exclusive` sees to it that nobody else writes there meanwhile.
        part = self._destination / f".{record_id}.part"
        try:
            shutil.copy(self._folder / record_id, part)
            target = part.rename(self._destination / record_id)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return target.stat().st_size
