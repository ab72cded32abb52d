"""`petalkit info`: what a device serves, as it says it: for people, or as JSON Schema."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from ..._serving.process.log_lines import escape
from ...client import DeviceInfo
from .._errors import EXIT_OK
from .._listing.schema_words import field_lines
from .._options import CallSettings, GeneralOptions
from .._output.printing import make_console, print_json
from .options import CallerOptions, make_ask
from .session import INFO, Session, run_session

_INDENT = "      "
_OWN = "petalkit"  # the petal that every runtime has

Described = Mapping[str, Any]


def info(  # noqa: D417 - what is left out has its words in its class
    name: Annotated[str | None, Parameter(name="NAME")] = None,
    /,
    *,
    caller: CallerOptions | None = None,
    general: GeneralOptions | None = None,
    settings: Annotated[CallSettings | None, Parameter(name="*")] = None,
) -> int:
    """Show what a device serves: its petals, and commands, jobs and streams with what they take.

    With --json one document: what the device answers to petalkit/info, whole.

    Exit codes: 0, 1 the device answered with an error, 2 no answer, no connection, or a usage
    error, 130 Ctrl-C.

    Args:
        name: Only this petal, or only this command, job or stream.
    """
    ask = make_ask(general, caller, settings)
    return run_session(ask, functools.partial(show_info, name))


async def show_info(name: str | None, session: Session) -> int:
    """Ask, and print."""
    if name is not None and "/" in name:
        said = await session.client.call(INFO, {"command": name}, **session.how)
        if session.ask.as_json:
            print_json(_without_envelope(said.fields))
            return EXIT_OK
        console = make_console()
        for kind in ("job", "stream", "command"):  # a job is a command too, and the job says more
            one = said.fields.get(kind)
            if isinstance(one, dict):
                for line in _described(one, kind):
                    console.print(line)
                break
        return EXIT_OK
    found = await session.client.info(session.device, petal=name, timeout=session.ask.timeout)
    if session.ask.as_json:
        print_json(_document(found, session.device_id))
        return EXIT_OK
    console = make_console()
    for line in told_lines(found, session.device_id, session.ask.line):
        console.print(line)
    return EXIT_OK


def _document(found: DeviceInfo, device_id: str) -> dict[str, Any]:
    return {
        "device_id": device_id,
        "petalkit": found.petalkit,
        "schema_hash": found.schema_hash,
        "petals": list(found.petals),
        "commands": list(found.commands),
        "jobs": list(found.jobs),
        "streams": list(found.streams),
        "complete": found.complete,
    }


def _without_envelope(fields: Mapping[str, Any]) -> dict[str, Any]:
    hidden = ("messageId", "timestamp", "success")
    return {key: value for key, value in fields.items() if key not in hidden}


def told_lines(
    found: DeviceInfo, device_id: str, line: Callable[[str, str], str]
) -> Iterator[Text]:
    """What a device serves, for people.

    Args:
        found: what it says.
        device_id: its ID.
        line: makes a command line about it, as `Ask.line` does.
    """
    version = f" with petalkit {found.petalkit}" if found.petalkit else ""
    yield Text(f"{escape(device_id)}{escape(version)}", "bold")
    described: set[str] = set()
    for petal in found.petals:
        yield Text("")
        title = f"{_text(petal, 'name')} {_text(petal, 'version')}".strip()
        yield Text(escape(title), "bold")
        yield from _doc(petal, "  ")
        for kind, one in _members(petal):
            described.add(_text(one, "name"))
            yield Text("")
            yield from _described(one, kind)
    names = {*found.commands, *found.jobs, *found.streams} - described
    rest = sorted(one for one in names if not _belongs(one, found))
    if rest and not found.complete:
        yield Text("")
        for name in rest:
            yield Text.assemble("  ", (escape(name), "bold cyan"))
        more = escape(line("info", rest[0]))
        yield Text(f"Of these the names alone fit into one answer: `{more}` shows one", "dim")


def _members(petal: Described) -> Iterator[tuple[str, Described]]:
    """Jobs, streams, and the commands that belong to neither."""
    for kind in ("job", "stream", "command"):
        for one in _mappings(petal.get(f"{kind}s")):
            if kind != "command" or not isinstance(one.get("part_of"), dict):
                yield kind, one


def _belongs(name: str, found: DeviceInfo) -> bool:
    """Whether a command is part of something that is shown, or of petalkit's own."""
    return name.startswith(f"{_OWN}/") or any(
        one.get("name") == name and isinstance(one.get("part_of"), dict)
        for petal in found.petals
        for one in _mappings(petal.get("commands"))
    )


def _described(one: Described, kind: str) -> Iterator[Text]:
    notes = f"  [{', '.join(_notes(one, kind))}]" if kind != "command" else ""
    yield Text.assemble("  ", (escape(_text(one, "name")), "bold cyan"), notes)
    yield from _doc(one, _INDENT)
    if kind == "stream":
        yield from _result(one.get("value"))
        return
    yield from field_lines(one.get("data"), _INDENT)
    yield from _result(one.get("result"))


def _result(schema: Any) -> Iterator[Text]:
    lines = list(field_lines(schema, _INDENT + "   "))
    if lines:
        yield Text.assemble(_INDENT, ("->", "green"))
        yield from lines


def _notes(one: Described, kind: str) -> Iterable[str]:
    options = one.get("options")
    yield kind
    rate = options.get("max_rate") if isinstance(options, dict) else None
    if isinstance(rate, int | float):
        yield f"at most {rate:g} Hz"


def _doc(one: Described, indent: str) -> Iterator[Text]:
    for line in _text(one, "doc").splitlines():
        yield Text(f"{indent}{escape(line)}" if line else "", "dim")


def _text(one: Described, key: str) -> str:
    found = one.get(key)
    return found if isinstance(found, str) else ""


def _mappings(value: Any) -> list[Described]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
