"""`petalkit journal`: look into the journal of a device, forget from it, make it smaller.

It works while `petalkit run` uses the file. What a caller sent and got is a user's own data: it is
shown only when it is asked for.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import attrs
from cyclopts import App, Parameter
from rich.table import Table
from rich.text import Text

from ..._serving.ledger.journal.file import JournalFile, JournalNotReady, Summary
from ..._serving.ledger.records import CommandRecord, JournalError
from ..._serving.process.log_lines import escape
from ..._serving.process.logs import configure_logging
from ..._values.basics.words import counted
from .._errors import EXIT_OK, UsageError
from .._options import GENERAL, JournalSettings
from .._output.printing import make_table_console
from .._settings.loading import load
from .._settings.variables import log_format, log_level
from .jobs import LongWork, job_json, job_paragraphs
from .path import with_journal
from .words import as_json, moment, paragraphs, what_became

State: TypeAlias = Literal["accepted", "started", "finished"]

_STYLES = {"accepted": "yellow", "started": "cyan", "finished": ""}


@Parameter(name="*", group=GENERAL)
@attrs.frozen(kw_only=True)
class FileOptions:
    """Which journal, and how to show it."""

    config: Path | None = None
    """A TOML file with a table [petalkit], as for run."""

    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False
    """Print one JSON document."""

    @contextlib.contextmanager
    def open(self, given: JournalSettings | None) -> Iterator[JournalFile]:
        """Open the journal that is meant: the one that is named, or that of the device.

        Raises:
            UsageError: there is none.
            JournalError: it is no journal, or cannot be opened.
        """
        configure_logging(log_level(None, "error"), log_format(None))
        settings = with_journal(load((given or JournalSettings()).given(), config=self.config))
        if settings.journal is None:
            raise UsageError("the journal is off; name one: --journal FILE")
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(JournalFile.open(settings.journal))
            except JournalNotReady:
                raise
            except JournalError as error:
                text = f"{error.reason}. `petalkit doctor --journal FILE` says what to do"
                raise JournalError(error.path, text) from None
            except FileNotFoundError:
                raise UsageError(
                    f"there is no journal {str(settings.journal)!r}; name one: --journal FILE, or "
                    "the device that it is of: --device-id ID"
                ) from None
            yield file


def make_app() -> App:
    """The sub-commands."""
    app = App(
        name="journal",
        help="Look into the journal of a device, also while it runs.",
        version_flags=(),
        group_parameters=GENERAL,
    )
    app.command(list_records, name="list", usage="Usage: petalkit journal list [OPTIONS]")
    app.command(show, usage="Usage: petalkit journal show ID [OPTIONS]")
    app.command(forget, usage="Usage: petalkit journal forget ID [OPTIONS]")
    app.command(vacuum, usage="Usage: petalkit journal vacuum [OPTIONS]")
    return app


def list_records(  # noqa: D417 - what is left out has its words elsewhere
    *,
    limit: Annotated[int, Parameter(group=GENERAL)] = 50,
    state: Annotated[State | None, Parameter(group=GENERAL)] = None,
    petal: Annotated[str | None, Parameter(group=GENERAL)] = None,
    message_id: Annotated[str | None, Parameter(group=GENERAL)] = None,
    file: FileOptions | None = None,
    settings: Annotated[JournalSettings | None, Parameter(name="*")] = None,
) -> int:
    """Show the commands in the journal, the newest first, and below them the jobs.

    Exit codes: 0, 1 it cannot be read, 2 there is no journal, or usage.

    Args:
        limit: How many at most; 0 for all.
        state: Only these.
        petal: Only commands NAME/...
        message_id: Only those whose messageId starts so.
    """
    if limit < 0:
        raise UsageError(f"--limit must be 0 or more, not {limit}")
    file = file or FileOptions()
    with file.open(settings) as journal:
        records = journal.commands(
            state=state, petal=petal, message_id=message_id, limit=limit or None
        )
        summary = journal.summary()
        long_work = LongWork.of(journal.notes(), petal)
        used_by = journal.used_by()
    if file.as_json:
        _print_json(
            journal=str(journal.path),
            device_id=summary.device_id,
            process=used_by,
            counts=summary.commands,
            owed=summary.owed,
            events=summary.events,
            size=summary.size,
            used=summary.used,
            commands=[as_json(record, data=False) for record in records],
            jobs=[job_json(note, data=False) for note in long_work.jobs.values()][: limit or None],
            second_phases=[
                {"command": one.command, "message_id": one.message_id} for one in long_work.phases
            ],
            readers=long_work.readers,
        )
        return EXIT_OK
    console = make_table_console()
    if records:
        console.print(_table(records))
    if (long_work.jobs or long_work.phases) and state is None and message_id is None:
        console.print(long_work.table(limit or None))
    console.print(Text(_summary(journal, summary, long_work, used_by), "dim"))
    return EXIT_OK


def _summary(
    journal: JournalFile, summary: Summary, long_work: LongWork, used_by: int | None
) -> str:
    parts = [
        *(f"{count} {state}" for state, count in summary.commands.items()),
        f"{counted(summary.owed, 'answer')} and {counted(summary.events, 'event')} to be sent",
        *long_work.summary,
        f"{summary.size} bytes",
        "not in use" if used_by is None else f"in use by process {used_by or '?'}",
    ]
    return f"{escape(str(journal.path))}: {', '.join(parts)}"


def show(  # noqa: D417 - what is left out has its words elsewhere
    message_id: Annotated[str, Parameter(name="ID")],
    /,
    *,
    payload: Annotated[bool, Parameter(negative=(), group=GENERAL)] = False,
    file: FileOptions | None = None,
    settings: Annotated[JournalSettings | None, Parameter(name="*")] = None,
) -> int:
    """Tell all that is known of one command, and what a copy of it is answered.

    An ID that was used again is there once for each time, the newest first.

    Exit codes: 0, 1 it cannot be read, 2 there is no such ID or journal, or usage.

    Args:
        message_id: The messageId of the command, or the job_id of a job.
        payload: Show what the caller sent, and what it was answered.
    """
    file = file or FileOptions()
    with file.open(settings) as journal:
        records = journal.find(message_id)
        jobs = LongWork.of(journal.notes()).find(message_id)
        running = journal.used_by() is not None
    if not records and not jobs:
        raise _unknown(message_id, journal)
    if file.as_json:
        commands = [as_json(record, data=payload) for record in records]
        found = [job_json(note, data=payload) for note in jobs.values()]
        _print_json(journal=str(journal.path), commands=commands, jobs=found)
        return EXIT_OK
    console = make_table_console()
    for place, record in enumerate(records):
        for line in paragraphs(record, data=payload, newest=place == 0, running=running):
            console.print(line)
    for note in jobs.values():
        for line in job_paragraphs(note, data=payload, running=running):
            console.print(line)
    return EXIT_OK


def forget(  # noqa: D417 - what is left out has its words elsewhere
    message_id: Annotated[str, Parameter(name="ID")],
    /,
    *,
    file: FileOptions | None = None,
    settings: Annotated[JournalSettings | None, Parameter(name="*")] = None,
) -> int:
    """Forget a command, so that a copy of it is a new one and runs again.

    While petalkit run uses the journal only a finished one, and no job. An answer that is still
    owed is sent.

    Exit codes: 0, 1 it is not finished or the journal cannot be written, 2 there is no such ID or
    journal, or usage.

    Args:
        message_id: The messageId of the command, or the job_id of a job.
    """
    file = file or FileOptions()
    with file.open(settings) as journal:
        count = journal.forget(message_id)
        if not count:
            jobs = LongWork.of(journal.notes()).find(message_id)
            for number in jobs:
                journal.forget_note(number)
            count = len(jobs)
    if not count:
        raise _unknown(message_id, journal)
    if file.as_json:
        _print_json(journal=str(journal.path), forgotten=count)
    else:
        times = "" if count == 1 else f", which was there {count} times"
        make_table_console().print(Text(f"forgot {escape(message_id)}{times}"))
    return EXIT_OK


def vacuum(
    *,
    file: FileOptions | None = None,
    settings: Annotated[JournalSettings | None, Parameter(name="*")] = None,
) -> int:
    """Give what is free in the file back to the disk.

    It needs as much free space again as the file has; petalkit run waits until it is done.

    Exit codes: 0, 1 it cannot be done now, 2 there is no journal, or usage.
    """
    file = file or FileOptions()
    with file.open(settings) as journal:
        before, after = journal.vacuum()
    if file.as_json:
        _print_json(journal=str(journal.path), before=before, after=after)
    else:
        text = f"{escape(str(journal.path))}: {before} bytes before, {after} now"
        make_table_console().print(Text(text))
    return EXIT_OK


def _unknown(message_id: str, journal: JournalFile) -> UsageError:
    return UsageError(
        f"{str(journal.path)!r} knows no command or job of the ID {message_id!r}; `petalkit "
        "journal list` shows those that it knows, and --device-id or --journal name another one"
    )


def _table(records: Sequence[CommandRecord]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("accepted", "state", "command", "messageId", "starts", "result"):
        table.add_column(name, overflow="fold", no_wrap=name in ("accepted", "state"))
    for record in records:
        table.add_row(
            Text(moment(record.accepted_at)),
            Text(record.state, _STYLES[record.state]),
            Text(escape(record.command)),
            Text("-" if record.message_id is None else escape(record.message_id)),
            Text(str(record.starts)),
            Text(what_became(record)),
        )
    return table


def _print_json(**document: Any) -> None:
    print(json.dumps(document))  # noqa: T201
