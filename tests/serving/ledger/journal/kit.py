"""Operations and stores for tests of the journal's file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from petalkit._serving.ledger.journal.operations import (
    Finished,
    Operation,
    Posted,
    Settled,
    Started,
)
from petalkit._serving.ledger.journal.store import JournalStore
from petalkit._serving.ledger.records import Accepted

MIB = 1024 * 1024
NOON = 1_800_000_000.25  # some moment after 2024
RESPONSE = b'{"success":true}'


def accepted(number: int, message_id: str | None = "", **changes: Any) -> Accepted:
    values: dict[str, Any] = {
        "number": number,
        "message_id": f"id-{number}" if message_id == "" else message_id,
        "command": "demo/greet",
        "payload": b'{"command":"demo/greet"}',
        "topic": "org/o/device/d/command",
        "organization_id": "o",
        "device_id": "d",
        "base_topic": "org/o/device/d",
        "wait_response": True,
        "expires_at": None,
        "extras": None,
        "at": NOON + number,
    }
    return Accepted(**(values | changes))


def started(number: int) -> Started:
    return Started(number, NOON + number + 0.125)


def finished(
    number: int,
    code: str | None = None,
    response: bytes = RESPONSE,
    remembered: bool = True,
    at: float | None = None,
) -> Finished:
    return Finished(number, code, response, remembered, NOON + number + 0.5 if at is None else at)


def posted(number: int, answers: int | None, payload: bytes | None = None) -> Posted:
    return Posted(number, answers, "org/o/device/d/response", None, payload, 1, None, NOON + 9999)


def done(number: int, **changes: Any) -> list[Operation]:
    """All operations of a command that was answered; its message has the next number."""
    return [
        accepted(number, **changes),
        started(number),
        finished(number),
        posted(number + 1, number),
        Settled(number + 1, None),
    ]


def fold(store: JournalStore) -> None:
    """Put all that is in the log into the database."""
    store.freeze()
    store.fold()
    store.folded()


def prune(store: JournalStore, **how: Any) -> list[tuple[int, str | None]]:
    """What is pruned of all that was written."""
    fold(store)
    pruned = store.prune(**how)
    store.folded()
    return pruned


@contextlib.contextmanager
def opened(path: Path, *, device_id: str = "d", size_max: int = 64 * MIB) -> Iterator[JournalStore]:
    store = JournalStore.open(path, device_id=device_id, size_max=size_max)
    try:
        yield store
    finally:
        store.close()
