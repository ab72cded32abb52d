"""Jobs and second phases in the journal, for people and for programs.

What a job was started with, keeps or came to is a user's own data: shown only when asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import msgspec
from rich.table import Table
from rich.text import Text

from ..._serving.dispatch.after_answer.second_phase import SecondNote
from ..._serving.jobs.notes import JobNote, ReaderNote, decode_note
from ..._serving.process.log_lines import escape
from ..._values.basics.words import counted
from ..._values.job_states import JobState
from .words import moment


@attrs.frozen
class LongWork:
    """What is noted of it, the newest first.

    Attributes:
        jobs: by the number of their notes.
        phases: commands that have their first answer, and not the second.
        readers: of jobs.
    """

    jobs: Mapping[int, JobNote]
    phases: list[SecondNote]
    readers: int

    @classmethod
    def of(cls, notes: Mapping[int, bytes], petal: str | None = None) -> LongWork:
        """Read them; what cannot be read is left out.

        Args:
            notes: as they are in the file.
            petal: only of this one.
        """
        jobs: dict[int, JobNote] = {}
        phases: list[SecondNote] = []
        readers = 0
        for number, value in notes.items():
            try:
                note = decode_note(value)
            except (msgspec.MsgspecError, ValueError):
                continue
            name = note.command if isinstance(note, SecondNote) else note.name
            if petal is not None and not name.startswith(f"{petal}/"):
                continue
            if isinstance(note, JobNote):
                jobs[number] = note
            elif isinstance(note, ReaderNote):
                readers += 1
            else:
                phases.append(note)
        return cls(jobs, phases, readers)

    @property
    def summary(self) -> list[str]:
        """How many there are, in words; empty where there are none."""
        if not (self.jobs or self.phases or self.readers):
            return []
        return [
            f"{counted(len(self.jobs), 'job')} and {counted(len(self.phases), 'second phase')}",
            f"{counted(self.readers, 'reader')} of jobs",
        ]

    def table(self, limit: int | None) -> Table:
        """The jobs, and the commands that owe a second phase."""
        table = Table(box=None, pad_edge=False)
        for name in ("accepted", "state", "job", "job_id", "result"):
            table.add_column(name, overflow="fold", no_wrap=name in ("accepted", "state"))
        for note in list(self.jobs.values())[:limit]:
            table.add_row(
                Text(moment(note.accepted_at)),
                Text(note.state),
                Text(escape(note.name)),
                Text(escape(note.id)),
                Text(_result(note)),
            )
        for phase in self.phases[:limit]:
            table.add_row(
                Text("-"),
                Text("answered"),
                Text(escape(phase.command)),
                Text(escape(phase.message_id)),
                Text("second phase owed"),
            )
        return table

    def find(self, name: str) -> dict[int, JobNote]:
        """The jobs of this `job_id`, or started by this `messageId`."""
        return {
            number: note for number, note in self.jobs.items() if name in (note.id, note.message_id)
        }


def _result(note: JobNote) -> str:
    if not note.state.final:
        return ""
    result = "success" if note.code is None else escape(note.code)
    return result if note.told else f"{result}, readers not told"


def job_paragraphs(note: JobNote, *, data: bool, running: bool) -> Iterator[Text]:
    """All that is known of a job.

    Args:
        note: of it.
        data: whether what it was started with, keeps and came to is shown.
        running: whether a runtime uses the journal.
    """
    yield Text.assemble((escape(note.name), "bold cyan"), f"  job, {note.state}")
    for name, text in _lines(note, data=data, running=running):
        yield Text.assemble("  ", (f"{name:<11}", "green"), text)
    yield Text("")


def _lines(note: JobNote, *, data: bool, running: bool) -> Iterator[tuple[str, str]]:
    yield "job_id", escape(note.id)
    yield "messageId", "none" if note.message_id is None else escape(note.message_id)
    yield "accepted", moment(note.accepted_at)
    yield "started", "not yet" if note.started_at is None else moment(note.started_at)
    if note.ended_at is not None:
        yield "ended", f"{moment(note.ended_at)}: {_result(note)}"
    elif running:
        yield "ended", "not yet"
    elif note.state is JobState.ACCEPTED:
        yield "ended", "not yet. The next start begins it"
    else:
        yield "ended", "no: the program ended. The next start says interrupted, or goes on with it"
    for name, value in (("data", note.data), ("kept", note.kept), ("result", note.fields)):
        if value is not None:
            text = json.dumps(value)
            yield name, escape(text) if data else f"{len(text)} bytes; shown with --payload"


def job_json(note: JobNote, *, data: bool) -> dict[str, Any]:
    """The same for a program: moments are seconds since 1970."""
    found: dict[str, Any] = {
        name: getattr(note, name)
        for name in ("name", "message_id", "accepted_at", "started_at", "ended_at", "code", "told")
    }
    found |= {"job_id": note.id, "state": str(note.state)}
    if data:
        found |= {"data": note.data, "kept": note.kept, "result": note.fields, "error": note.error}
    return found
