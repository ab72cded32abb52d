"""Records as the database and the batches that are not in it yet make them together.

The trap: a batch may be folded in this very moment, and be in the database before anybody is told.
So a row is read together with the number of the last record that the database had then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from .batch import Batch

# Places in a row of `COMMANDS_AND_FOLDED`.
WAIT_RESPONSE, EXTRAS, STATE, STARTS, STARTED_AT = 8, 10, 11, 12, 14
FINISHED_AT, OUTCOME, FOLDED = 15, 19, 20


class Unfolded(Protocol):
    """A batch, and the number of its last record."""

    batch: Batch
    last: int


def accepted_in(batches: Iterable[Unfolded], number: int) -> bool:
    """Whether a command was accepted in one of them."""
    return any(number in one.batch.accepted for one in batches)


def may_wait(batches: Iterable[Unfolded]) -> Iterator[int]:
    """The commands that have not started if what is in the database alone does not say so."""
    for one in batches:
        yield from list(one.batch.accepted)
        for number, state, *_ in list(one.batch.started.values()):
            if not state:
                yield number


def overlaid(
    batches: Iterable[Unfolded], number: int, row: Sequence[Any] | None
) -> list[Any] | None:
    """A row of `COMMANDS_AND_FOLDED` with all that is not in the database.

    Args:
        batches: in order.
        number: of the command.
        row: of it in the database; None where it has none.
    """
    found = None if row is None else list(row)
    folded = 0 if row is None else int(row[FOLDED])
    for one in batches:
        batch = one.batch
        if number in batch.accepted:
            found = _row(batch.accepted[number])  # it says all, whether it is folded or not
        elif found is None or one.last <= folded:
            continue  # nothing is said of it, or all is said
        elif number in batch.forgotten:
            found = None
            continue
        else:
            _change(batch, number, found)
        result = batch.finished.get(number)
        if result is not None:
            _, _, at, code, remembered, response = result
            found[FINISHED_AT:OUTCOME] = at, _text(code), bytes(response), remembered
    return found


def _row(it: Sequence[Any]) -> list[Any]:
    (
        number, message_id, state, starts, at, started_at, expires_at, wait_response, outcome,
        command, topic, organization_id, device_id, base_topic, extras, payload,
    ) = it  # fmt: skip
    return [
        number, _text(message_id), command, bytes(payload), topic, organization_id, device_id,
        base_topic, wait_response, None if expires_at == "" else expires_at, _blob(extras), state,
        starts, at, started_at, None, None, None, None, _text(outcome),
    ]  # fmt: skip


def _change(batch: Batch, number: int, row: list[Any]) -> None:
    started = batch.started.get(number)
    if started is not None:
        _, state, starts, at = started
        row[STATE] = state
        row[STARTS] += starts
        if at != "":
            row[STARTED_AT] = at
    outcome = batch.outcomes.get(number)
    if outcome is not None:
        row[OUTCOME] = outcome[1]
    wanted = batch.wanted.get(number)
    if wanted is not None:
        row[WAIT_RESPONSE], row[EXTRAS] = wanted[0], _blob(wanted[1])


def _text(value: Any) -> str | None:
    """What a batch has; 0 where there is none."""
    return value if isinstance(value, str) else None


def _blob(value: Any) -> bytes | None:
    return bytes(value) if isinstance(value, (bytes, bytearray)) else None
