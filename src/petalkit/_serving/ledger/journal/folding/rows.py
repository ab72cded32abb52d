"""Rows of the journal, read as the values that the rest of the program knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...records import FINISHED, NOT_STARTED, RUNNING, CommandRecord, MessageRecord

_COMMANDS_BUT_DATA = """
SELECT c.number, c.message_id, c.command, {payload}, c.topic, c.organization_id, c.device_id,
    c.base_topic, c.wait_response, c.expires_at, c.extras, c.state, c.starts, c.accepted_at,
    c.started_at, r.finished_at, r.code, {response}, r.remembered, c.outcome{more}
FROM commands c LEFT JOIN results r USING (number)
"""

COMMANDS = _COMMANDS_BUT_DATA.format(payload="c.payload", response="r.response", more="")
COMMANDS_AND_FOLDED = _COMMANDS_BUT_DATA.format(
    payload="c.payload",
    response="r.response",
    more=", (SELECT value FROM meta WHERE name = 'folded')",
)
COMMANDS_WITHOUT_DATA = _COMMANDS_BUT_DATA.format(
    payload="x''", response="CASE WHEN r.number IS NULL THEN NULL ELSE x'' END", more=""
)

# A message without a payload is the response of the command that it answers. One whose command is
# gone was forgotten by hand, and had its payload filled in.
MESSAGES = """
SELECT o.number, o.answers, c.message_id, o.topic, o.name, coalesce(o.payload, r.response, x''),
    o.qos, o.extras, o.expires_at
FROM outbox o LEFT JOIN commands c ON c.number = o.answers
    LEFT JOIN results r ON r.number = o.answers
ORDER BY o.number
"""


def command_record(row: Sequence[Any], owed: int) -> CommandRecord:
    """A record of a row of `COMMANDS`.

    Args:
        row: as it was read.
        owed: how many messages answer it and are not settled.
    """
    finished = row[15] is not None
    starts: int = row[12]
    return CommandRecord(
        number=row[0],
        message_id=row[1],
        command=row[2],
        payload=row[3],
        topic=row[4],
        organization_id=row[5],
        device_id=row[6],
        base_topic=row[7],
        wait_response=bool(row[8]),
        expires_at=row[9],
        extras=row[10],
        state=FINISHED if finished else RUNNING if row[11] else NOT_STARTED,
        starts=starts,
        accepted_at=row[13],
        started_at=row[14] if starts else None,
        finished_at=row[15],
        code=row[16],
        response=row[17],
        remembered=bool(row[18]),
        owed=owed,
        outcome=row[19],
    )


def message_record(row: Sequence[Any]) -> MessageRecord:
    """A record of a row of `MESSAGES`."""
    return MessageRecord(
        number=row[0],
        answers=row[1],
        message_id=row[2],
        topic=row[3],
        name=row[4],
        payload=row[5],
        qos=row[6],
        extras=row[7],
        expires_at=row[8],
    )
