"""`petalkit list`: what a petal serves, without running it: for people, or as JSON Schema."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from ..._authoring.inspection.foreign import attribute_of, doc_of
from ..._authoring.petal import Petal
from ..._authoring.registry import CommandSpec
from ..._authoring.schemas import is_merged, result_node
from ..._authoring.signature.binding import EMPTY
from ..._serving.jobs.commands.declared import DeclaredTable, declared_table
from ..._serving.petals.descriptions import describe, describe_petal, schema_hash
from ..._serving.process.logs import configure_logging
from ..._values.settings.settings import HTTP_DEFAULT, Settings
from ..._values.structuring import Node
from .._errors import EXIT_OK, EXIT_USAGE, UsageError, report
from .._options import GENERAL, HostOptions
from .._output.printing import make_console
from .._settings import loading
from .._settings.variables import log_format, log_level
from .._targets.host_petals import known_commands, known_endpoints
from .._targets.targets import Found, find_petals
from .describing import field_lines, fields_of, model_lines
from .long_work import long_work_of

_INDENT = "      "


def list_commands(  # noqa: D417 - what is left out has its words elsewhere
    *targets: Annotated[str, Parameter(name="TARGET", negative=())],
    config: Annotated[Path | None, Parameter(group=GENERAL)] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=(), group=GENERAL)] = False,
    host: HostOptions | None = None,
) -> int:
    """Show commands, jobs and streams: parameters, ranges, results, docs. Nothing is connected.

    TARGET is as for run. Of a petal of the host it is shown what can be known without running it.

    Args:
        config: A TOML file whose [petals.NAME] tables reach the petals' constructors.
        as_json: Print one JSON object, with the JSON Schema (2020-12) of the data and result of
            every command and job, of the values of every stream, and the hash of all.
    """
    if not targets:
        raise UsageError("list: which petal? Write petalkit list module:Petal or path/to/file.py")
    configure_logging(log_level(None, "warning"), log_format(None))
    loaded = loading.load(config=config)
    with contextlib.redirect_stdout(sys.stderr):  # what petals print when they are imported
        opened = (host or HostOptions()).open(loaded)
        found = find_petals(targets, loaded.petals, origin=loaded.origin, host=opened)
    petals = found.petals
    table = declared_table(petals, unknown_keys=loaded.settings.unknown_keys)
    if as_json:
        described = [_as_json(petal, table, loaded.settings) for petal in petals]
        served = schema_hash([*table.commands, *table.jobs, *table.streams])
        known = {"petals": described, "schema_hash": served}
        print(json.dumps(known, indent=2))  # noqa: T201
        return _report_wrong(found)
    console = make_console()
    for petal in petals:
        guide_petal: Any = attribute_of(petal, "guide_petal")
        if guide_petal is not None:
            lines = _describe_host_petal(petal, guide_petal, loaded.settings)
        else:
            lines = _describe(petal, table)
        for line in lines:
            console.print(line)
    return _report_wrong(found)


def _report_wrong(found: Found) -> int:
    for one in found.wrong:
        report(f"{one.target}: {one.message}", details=one.details)
    return EXIT_USAGE if found.wrong else EXIT_OK


def _specs_of(petal: Petal, table: DeclaredTable) -> list[CommandSpec]:
    """Its commands, without those that belong to jobs and streams."""
    found = (one for one in table.commands if one.petal == petal.name and one.name in table.own)
    return sorted(found, key=lambda one: one.name)


def _as_json(petal: Petal, table: DeclaredTable, settings: Settings) -> dict[str, Any]:
    guide_petal: Any = attribute_of(petal, "guide_petal")
    found = describe_petal(petal)
    if guide_petal is None:
        return {
            **found,
            "commands": [describe(one) for one in _specs_of(petal, table)],
            "jobs": [describe(one) for one in table.jobs if one.method.petal == petal.name],
            "streams": [describe(one) for one in table.streams if one.method.petal == petal.name],
        }
    # Of a petal of the host: what arguments its commands take, only it knows.
    commands, complete = known_commands(guide_petal)
    names = [
        {"name": one.name, "doc": one.doc, "options": {"thread": one.thread}} for one in commands
    ]
    endpoints, why_not = known_endpoints(guide_petal, settings)
    http = {"endpoints": endpoints, "served": bool(endpoints) and why_not is None}
    return {**found, "complete": complete, "commands": names, "http": http}


def _doc(cls: type) -> str:
    return doc_of(cls) if attribute_of(cls, "__doc__") else ""


def _describe_host_petal(petal: Petal, guide_petal: Any, settings: Settings) -> Iterator[Text]:
    """A petal of the host: names and docs; what arguments its commands take, only it knows."""
    yield from _title(petal, type(guide_petal))
    commands, complete = known_commands(guide_petal)
    for command in commands:
        yield Text("")
        notes = "  [in a thread]" if command.thread else ""
        yield Text.assemble("  ", (command.name, "bold cyan"), notes)
        yield from _doc_lines(command.doc)
    if not complete:
        text = "more commands may be" if commands else "its commands are"
        yield Text(f"  ({text} known when it runs)")
    elif not commands:
        yield Text("  (no commands)")
    yield from _endpoints(guide_petal, settings)
    yield Text("")


def _endpoints(guide_petal: Any, settings: Settings) -> Iterator[Text]:
    endpoints, why_not = known_endpoints(guide_petal, settings)
    if endpoints:
        yield Text("")
        served = f"served on {settings.compat_http or HTTP_DEFAULT}"
        if why_not is not None:
            served = f"not served ({why_not})"
        plural = "s" if len(endpoints) > 1 else ""
        yield Text(f"  {len(endpoints)} HTTP endpoint{plural}, {served}:")
    for endpoint in endpoints:
        yield Text(f"      {endpoint}", style="cyan")


def _title(petal: Petal, cls: type) -> Iterator[Text]:
    yield Text.assemble((petal.name, "bold"), " ", petal.version)
    doc = _doc(cls)
    if doc:
        yield Text(f"  {doc.splitlines()[0]}", style="dim")


def _doc_lines(doc: str) -> Iterator[Text]:
    for line in doc.splitlines():
        yield Text(f"      {line}" if line else "", style="dim")


def _describe(petal: Petal, table: DeclaredTable) -> Iterator[Text]:
    yield from _title(petal, type(petal))
    specs, long_work = _specs_of(petal, table), long_work_of(petal, table)
    if not specs and not long_work:
        yield Text("  (no commands)")
    for spec in specs:
        yield from _describe_one(spec, _options(spec))
    for one in long_work:
        yield from _describe_one(one.method, [f"  [{', '.join(one.notes)}]"])
        yield Text(f"{_INDENT}with {', '.join(one.commands)}", style="dim")
    yield Text("")


def _describe_one(spec: CommandSpec, notes: Iterable[str]) -> Iterator[Text]:
    yield Text("")
    yield Text.assemble("  ", (spec.name, "bold cyan"), *notes)
    yield from _doc_lines(spec.doc)
    yield from _arguments(spec)
    yield from _result(spec)


def _options(spec: CommandSpec) -> Iterator[str]:
    notes: list[str] = []
    if spec.urgent:
        notes.append("urgent")
    if spec.thread:
        notes.append("in a thread")
    if spec.exclusive is not None:
        waits = ", waits for its turn" if spec.when_busy == "wait" else ""
        notes.append(f"exclusive {spec.exclusive!r}{waits}")
    if spec.concurrency is not None:
        notes.append(f"at most {spec.concurrency} at once")
    if spec.idempotent:
        notes.append("idempotent")
    if not spec.journal:
        notes.append("not in the journal")
    if spec.unknown_keys == "refuse" and spec.known_keys is not None:
        notes.append("refuses unknown keys")
    notes.append("no timeout" if math.isinf(spec.timeout) else f"timeout {spec.timeout:g} s")
    yield f"  [{', '.join(notes)}]"


def _arguments(spec: CommandSpec) -> Iterator[Text]:
    """Every key of `data` that the command knows."""
    for one in spec.parameters:
        if not one.whole:
            yield from field_lines(
                one.name, one.node, EMPTY if one.required else one.default, _INDENT
            )
        elif one.node is not None and one.node.keys is not None:
            for name, node, default in fields_of(one.node):
                yield from field_lines(name, node, default, _INDENT, (one.node,))
        else:
            yield from field_lines("data (the whole of it)", one.node, _absent(one.node), _INDENT)


def _absent(whole: Node | None) -> Any:
    """What `data` is when a sender sends none: `{}`, unless that is refused."""
    try:
        if whole is not None:
            whole.structure({})
    except Exception:  # of a petal's own hook too
        return EMPTY
    return {}


def _result(spec: CommandSpec) -> Iterator[Text]:
    node = result_node(spec)
    if node is not None and node.name != "Any":
        where = "" if is_merged(spec.result) else ", as `result`"
        notes = [*node.notes, *([] if spec.check_result else ["not checked"])]
        where += f" ({', '.join(notes)})" if notes else ""
        yield Text.assemble(_INDENT, ("->", "green"), f" {node.name}{where}")
        yield from model_lines(node, _INDENT + "    ")
    elif node is None and not spec.check_result and spec.result not in (EMPTY, None):
        yield Text.assemble(_INDENT, ("->", "green"), " (not checked)")
