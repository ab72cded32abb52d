"""What a record of the journal says, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from rich.text import Text

from ..._serving.ledger.forms import extras_replies
from ..._serving.ledger.records import FINISHED, NOT_STARTED, RUNNING, CommandRecord
from ..._serving.process.log_lines import escape
from ..._values.codec import Timestamps

_NAME_WIDTH = len("messageId") + 2


def moment(seconds: float) -> str:
    """A moment as on the wire, or as a number where no calendar reaches."""
    try:
        return Timestamps().text(seconds)
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g}"


def what_became(record: CommandRecord) -> str:
    """In few words: the result, and how the answer stands."""
    if record.state != FINISHED:
        return ""
    result = "success" if record.code is None else escape(record.code)
    if record.owed:
        return f"{result}, answer owed"
    return result if record.outcome is None else f"{result}, answer {escape(record.outcome)}"


def paragraphs(record: CommandRecord, *, data: bool, newest: bool, running: bool) -> Iterator[Text]:
    """All that is known of a command.

    Args:
        record: of it.
        data: whether payload and response are shown.
        newest: whether it is the newest of its `messageId`: only that one explains a copy.
        running: whether a runtime uses the journal.
    """
    yield Text.assemble((escape(record.command), "bold cyan"), f"  {record.state}")
    for name, text in _lines(record, data=data, newest=newest, running=running):
        yield Text.assemble("  ", (f"{name:<{_NAME_WIDTH}}", "green"), text)
    yield Text("")


def _lines(
    record: CommandRecord, *, data: bool, newest: bool, running: bool
) -> Iterator[tuple[str, str]]:
    yield "messageId", "none" if record.message_id is None else escape(record.message_id)
    who = f"{record.organization_id}, device {record.device_id}"
    yield "came", escape(f"on {record.topic}, organization {who}")
    yield "accepted", moment(record.accepted_at)
    yield "expires", "never" if record.expires_at is None else moment(record.expires_at)
    yield "started", _start(record)
    yield "finished", _finish(record, running)
    yield "answer", answer(record)
    if newest and record.message_id is not None:
        yield "a copy", _copy(record, running)
    yield "payload", _data(record.payload, data)
    if record.response is not None:
        yield "response", _data(record.response, data)


def _start(record: CommandRecord) -> str:
    if record.started_at is None:
        return "not yet" if record.state == NOT_STARTED else "never"
    # At least: the start of an idempotent one is not waited for, so a death may come before it.
    times = "" if record.starts == 1 else f", the last of at least {record.starts} starts"
    return moment(record.started_at) + times


def _finish(record: CommandRecord, running: bool) -> str:
    if record.finished_at is None:
        if record.state != RUNNING:
            return "not yet"
        if running:
            return "not yet, it runs"
        return (
            "no: the program died meanwhile. The next start answers INTERRUPTED, or runs it again"
        )
    since = record.accepted_at if record.started_at is None else record.started_at
    result = "success" if record.code is None else f"error {escape(record.code)}"
    return f"{moment(record.finished_at)}, after {record.finished_at - since:.3f} s: {result}"


def answer(record: CommandRecord) -> str:
    """How the answer stands with the broker."""
    if record.owed:
        text = "owed: it is sent until the broker acknowledges it"
        return text if record.owed == 1 else f"{text} ({record.owed} messages)"
    if record.outcome is not None:
        return f"given up: {escape(record.outcome)}"
    if record.response == b"":
        return "there is none"
    if not _is_asked_for(record):
        return "none is asked for"
    return "acknowledged by the broker" if record.state == FINISHED else "not yet"


def _is_asked_for(record: CommandRecord) -> bool:
    try:
        return record.wait_response or bool(extras_replies(record.extras))
    except msgspec.MsgspecError:  # of another version
        return True


def _copy(record: CommandRecord, running: bool) -> str:
    if record.state != FINISHED:
        return "joins it, and is not run" if running else "waits for the next start, and joins it"
    if record.remembered:
        return "gets this answer again, and is not run"
    return "is run: this one was refused before its start"


def _data(data: bytes, shown: bool) -> str:
    if not shown:
        return f"{len(data)} bytes; shown with --payload"
    return escape(data.decode(errors="backslashreplace"))


def as_json(record: CommandRecord, *, data: bool) -> dict[str, Any]:
    """The same for a program: moments are seconds since 1970.

    Args:
        record: of the command.
        data: whether payload and response are in it.
    """
    found: dict[str, Any] = {
        name: getattr(record, name)
        for name in (
            *("message_id", "command", "state", "starts", "code", "remembered"),
            *("accepted_at", "started_at", "finished_at", "expires_at"),
            *("wait_response", "owed", "outcome"),
            *("topic", "organization_id", "device_id", "number"),
        )
    }
    if data:
        found["payload"] = record.payload.decode(errors="backslashreplace")
        response = record.response
        found["response"] = None if response is None else response.decode(errors="backslashreplace")
    return found
