"""A journal's file that something else has written to: refused with a reason, or usable."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path

from petalkit._serving.ledger.journal.file import JournalFile
from petalkit._serving.ledger.journal.log.segments import begin_of
from petalkit._serving.ledger.journal.operations import Finished, Posted, Started
from petalkit._serving.ledger.journal.store import JournalStore
from petalkit._serving.ledger.records import Accepted, CommandRecord, JournalError

from .reader import Reader
from .scratch import scratch

_open = functools.partial(JournalStore.open, device_id="device", size_max=1024 * 1024)


def _accepted(number: int) -> Accepted:
    return Accepted(
        number=number,
        message_id=f"id-{number}",
        command="petal/hello",
        payload=b'{"command":"petal/hello"}',
        topic="org/acme/device/device/command",
        organization_id="acme",
        device_id="device",
        base_topic="org/acme/device/device",
        wait_response=True,
        expires_at=None,
        extras=None,
        at=1.8e9,
    )


@functools.cache
def _whole() -> bytes:
    """A file with commands in each of their states."""
    path = _clear()
    store = _open(path)
    store.write([_accepted(1), _accepted(2), _accepted(3), Started(1, 1.8e9), Started(2, 1.8e9)])
    store.write(
        [
            Finished(1, None, b'{"success":true}', True, 1.8e9),
            Posted(4, 1, "org/acme/device/device/response", None, None, 1, None, 2e9),
            Posted(5, None, None, "command/web", b"{}", 1, None, 2e9),
        ]
    )
    store.close()
    return path.read_bytes()


@functools.cache
def _crashed() -> dict[str, bytes]:
    """The same commands as a crash leaves them: some in the database, the rest in the log."""
    path = _clear()
    path.write_bytes(_whole())
    path.chmod(0o600)
    store = _open(path)
    store.write([_accepted(6), Started(6, 1.8e9), _accepted(7)])
    store.freeze()
    store.write([Finished(6, None, b'{"success":true}', True, 1.8e9), Started(7, 1.8e9)])
    store.write([Posted(8, 6, "t", None, None, 1, None, 2e9)])
    files = {one: path.with_name(path.name + one).read_bytes() for one in ("", "-wal", "-log")}
    store.close()
    return files


def journal_log(data: bytes) -> None:
    """Which bytes of the log are changed, and to what; in which part, or where it ends."""
    files = _crashed()
    path = _clear()
    content = bytearray(files["-log"])
    reader = Reader(data)
    if reader.byte() % 8 == 0:
        del content[int.from_bytes(reader.take(3)) % len(content) :]
    while reader:
        part = (0, begin_of(0), begin_of(1))[reader.byte() % 3]
        at = part + int.from_bytes(reader.take(2)) % 1024
        new = reader.take(1 + reader.byte() % 64)
        if at + len(new) <= len(content):
            content[at : at + len(new)] = new
    for suffix, whole in (files | {"-log": bytes(content)}).items():
        place = path.with_name(path.name + suffix)
        place.write_bytes(whole)
        place.chmod(0o600)
    with contextlib.suppress(JournalError), JournalFile.open(path) as file:
        assert len(file.commands()) >= 3
    try:
        _use(path)
    except JournalError as error:
        assert str(error)


def _clear() -> Path:
    """Where the journal is, and nothing of it."""
    folder = scratch() / "journal"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    return folder / "device.journal"


def journal(data: bytes) -> None:
    """Where bytes are changed, and to what; and where the file ends, or what is in its place."""
    content = bytearray(_whole())
    path = _clear()
    reader = Reader(data)
    match reader.byte() % 8:
        case 0:
            content = bytearray(reader.rest())
        case 1:
            del content[int.from_bytes(reader.take(2)) % len(content) :]
        case _:
            pass
    while reader:
        at = int.from_bytes(reader.take(2)) % max(len(content), 1)
        new = reader.take(1 + reader.byte() % 8)
        content[at : at + len(new)] = new
    path.write_bytes(content)
    try:
        _use(path)
    except JournalError as error:
        assert str(error)


def _use(path: Path) -> None:
    store = _open(path)
    try:
        found = store.load()
        assert all(isinstance(record, CommandRecord) for record in found.running)
        number = found.last + 1
        if number >= 2**62:  # no counter gets there
            return
        store.write([_accepted(number)])
        record = store.read(number)
        assert record is not None
        assert record.state == "accepted"
        store.not_started(0, 10)
        store.write([Finished(number, None, b"{}", True, 1.8e9)])
        store.prune(count=1, before=None)
    finally:
        store.close()
