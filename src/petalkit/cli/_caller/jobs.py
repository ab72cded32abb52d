"""`petalkit jobs` and `petalkit cancel`: what goes on at a device, and how it is ended."""

from __future__ import annotations

import functools
from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from ..._serving.process.log_lines import escape
from ..._values.errors import ErrorCode
from ...client import CommandRefused, UnknownJob
from ...client._long.jobs import read_update
from .._errors import EXIT_OK, UsageError
from .._options import CallSettings, GeneralOptions
from .._output.printing import make_table_console, print_json
from .options import CallerOptions, make_ask
from .progress import message_of, state_text
from .session import Session, run_session

CANCEL, JOBS = "petalkit/cancel", "petalkit/jobs"


def jobs(
    *,
    caller: CallerOptions | None = None,
    general: GeneralOptions | None = None,
    settings: Annotated[CallSettings | None, Parameter(name="*")] = None,
) -> int:
    """Show the jobs of a device that have not ended.

    With --json one document: `device_id`, and under `jobs` what the device says of each.

    Exit codes: 0, 1 the device answered with an error, 2 no answer, no connection, or a usage
    error, 130 Ctrl-C.
    """
    return run_session(make_ask(general, caller, settings), show_jobs)


async def show_jobs(session: Session) -> int:
    """Ask, and print."""
    said = await session.client.call(JOBS, **session.how)
    found = _jobs_in(said.fields.get("jobs"))
    left_out = said.fields.get("jobs_left_out")
    more = left_out if type(left_out) is int else 0
    if session.ask.as_json:
        document: dict[str, Any] = {"device_id": session.device_id, "jobs": found}
        print_json({**document, "jobs_left_out": more} if more else document)
        return EXIT_OK
    console = make_table_console()
    if not found:
        console.print(Text(f"no job runs on {escape(session.device_id)}", "dim"))
        return EXIT_OK
    table = Table(box=None, pad_edge=False)
    for name in ("job", "command", "state", "says"):
        table.add_column(name, overflow="fold")
    for one in found:
        update = read_update(one)
        words = [escape(_text(one, key)) for key in ("job_id", "command")]
        if update is not None:
            words += [state_text(update), message_of(update)]
        table.add_row(*map(Text, words))
    console.print(table)
    if more:
        console.print(Text(f"and {more} more, for which one message has no room", "dim"))
    return EXIT_OK


def _jobs_in(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(fields: dict[str, Any], key: str) -> str:
    found = fields.get(key)
    return found if isinstance(found, str) else ""


def cancel(  # noqa: D417 - what is left out has its words in its class
    id: Annotated[str, Parameter(name="ID")],  # noqa: A002 - as it is shown
    /,
    *,
    caller: CallerOptions | None = None,
    general: GeneralOptions | None = None,
    settings: Annotated[CallSettings | None, Parameter(name="*")] = None,
) -> int:
    """End a job, or a command that waits or runs; it cleans up first.

    Exit codes: 0 it was told so, 1 the device answered with an error or knows nothing of it, 2 no
    answer, no connection, or a usage error, 130 Ctrl-C.

    Args:
        id: The job_id of a job, or the start of one that has not ended; or the messageId of a
            command.
    """
    if not id:
        raise UsageError("cancel: which job? `petalkit jobs` shows those that have not ended")
    ask = make_ask(general, caller, settings)
    return run_session(ask, functools.partial(cancel_one, id))


async def cancel_one(id_: str, session: Session) -> int:
    """Ask for it, and print how it stands."""
    client, how = session.client, session.how
    try:
        said = await client.call(CANCEL, {"job_id": id_}, **how)
    except UnknownJob:
        begun = await _beginning(id_, session)
        which = {"messageId": id_} if begun is None else {"job_id": begun}
        said = await client.call(CANCEL, which, **how)
    fields = dict(said.fields)
    if session.ask.as_json:
        print_json(fields)
        return EXIT_OK
    name = f"{_text(fields, 'command')} {_text(fields, 'job_id') or id_}".strip()
    print(f"{escape(name)}: {escape(str(fields.get('state')))}", flush=True)  # noqa: T201
    return EXIT_OK


async def _beginning(id_: str, session: Session) -> str | None:
    """The one job that has not ended and whose ID begins so; None where there is none.

    Raises:
        UsageError: there are several.
    """
    try:
        said = await session.client.call(JOBS, **session.how)
    except CommandRefused as error:
        if error.code == ErrorCode.UNKNOWN_COMMAND:
            return None
        raise
    known = {_text(one, "job_id") for one in _jobs_in(said.fields.get("jobs"))}
    found = sorted(one for one in known if one.startswith(id_))
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} jobs begin with {id_}: {', '.join(found[:5])}",
            hint="type more of the ID",
        )
    return found[0] if found else None
