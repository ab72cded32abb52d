"""`petalkit list`: what a petal serves, without running it."""

from __future__ import annotations

import dataclasses
import inspect
import math
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import attrs
from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from .._logs import configure_logging
from .._petal import Petal
from .._registry import CommandSpec, build_table
from . import _settings_loading
from ._errors import EXIT_OK, EXIT_USAGE, UsageError, report
from ._host_petals import known_commands
from ._options import GENERAL, HostOptions
from ._targets import find_petals
from ._variables import log_format, log_level


def list_commands(  # noqa: D417 - what is left out has its words elsewhere
    *targets: Annotated[str, Parameter(name="TARGET", negative=())],
    config: Annotated[Path | None, Parameter(group=GENERAL)] = None,
    host: HostOptions | None = None,
) -> int:
    """Show the commands of petals with their parameters and docs. Nothing is connected.

    TARGET is as for run. Of a petal of the host it is shown what can be known without running it.

    Args:
        config: A TOML file whose [petals.NAME] tables reach the petals' constructors.
    """
    if not targets:
        raise UsageError("list: which petal? Write petalkit list module:Petal or path/to/file.py")
    configure_logging(log_level(None, "warning"), log_format(None))
    loaded = _settings_loading.load(config=config)
    opened = (host or HostOptions()).open(loaded)
    found = find_petals(targets, loaded.petals, origin=loaded.origin, host=opened)
    petals = found.petals
    table = build_table(petals)
    # Not wrapped: a pipe has no width, and a terminal wraps by itself.
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    for petal in petals:
        guide_petal: Any = getattr(petal, "guide_petal", None)
        if guide_petal is not None:
            lines = _describe_host_petal(petal, guide_petal)
        else:
            specs = sorted((spec for spec in table if spec.petal == petal.name), key=_by_name)
            lines = _describe(petal, specs)
        for line in lines:
            console.print(line)
    for one in found.wrong:
        report(f"{one.target}: {one.message}", details=one.details)
    return EXIT_USAGE if found.wrong else EXIT_OK


def _by_name(spec: CommandSpec) -> str:
    return spec.name


def _describe_host_petal(petal: Petal, guide_petal: Any) -> Iterator[Text]:
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
    yield Text("")


def _title(petal: Petal, cls: type) -> Iterator[Text]:
    yield Text.assemble((petal.name, "bold"), " ", petal.version)
    doc = inspect.getdoc(cls)
    if doc and cls.__doc__:
        yield Text(f"  {doc.splitlines()[0]}", style="dim")


def _doc_lines(doc: str) -> Iterator[Text]:
    for line in doc.splitlines():
        yield Text(f"      {line}" if line else "", style="dim")


def _describe(petal: Petal, specs: list[CommandSpec]) -> Iterator[Text]:
    yield from _title(petal, type(petal))
    if not specs:
        yield Text("  (no commands)")
    for spec in specs:
        yield Text("")
        yield Text.assemble("  ", (spec.name, "bold cyan"), *_options(spec))
        yield from _doc_lines(spec.doc)
        for name, annotation, default in _arguments(spec):
            yield Text.assemble(
                "      ",
                (name, "green"),
                "" if annotation is inspect.Parameter.empty else f": {type_name(annotation)}",
                " (required)" if default is inspect.Parameter.empty else f" = {default!r}",
            )
    yield Text("")


def _options(spec: CommandSpec) -> Iterator[str]:
    notes: list[str] = []
    if spec.urgent:
        notes.append("urgent")
    if spec.thread:
        notes.append("in a thread")
    if spec.exclusive is not None:
        notes.append(f"exclusive {spec.exclusive!r}")
    if spec.concurrency is not None:
        notes.append(f"at most {spec.concurrency} at once")
    if spec.idempotent:
        notes.append("idempotent")
    if not spec.journal:
        notes.append("not in the journal")
    notes.append("no timeout" if math.isinf(spec.timeout) else f"timeout {spec.timeout:g} s")
    yield f"  [{', '.join(notes)}]"


def _arguments(spec: CommandSpec) -> Iterator[tuple[str, Any, Any]]:
    """Every key of `data` that the command knows: name, type, default (or empty)."""
    for parameter in spec.parameters:
        fields = list(_fields(parameter.annotation)) if parameter.whole else []
        if fields:
            yield from fields
        elif parameter.whole:
            yield "data (the whole of it)", parameter.annotation, {}
        else:
            default = inspect.Parameter.empty if parameter.required else parameter.default
            yield parameter.name, parameter.annotation, default


def _fields(model: Any) -> Iterator[tuple[str, Any, Any]]:
    if not isinstance(model, type) or not (attrs.has(model) or dataclasses.is_dataclass(model)):
        return
    try:
        hints = typing.get_type_hints(model)
    except NameError:
        hints = {}
    fields: Any = attrs.fields(model) if attrs.has(model) else dataclasses.fields(_any(model))
    for field in fields:
        if field.init:
            yield field.name, hints.get(field.name, field.type), _default(field)


def _any(value: Any) -> Any:
    return value


_ATTRS_FACTORY: Any = attrs.Factory


class _Made:
    """A default that a factory makes."""

    def __repr__(self) -> str:
        return "(made anew)"


def _default(field: Any) -> Any:
    """The default of a field of attrs or of a dataclass."""
    default: Any = field.default
    factory: Any = getattr(field, "default_factory", dataclasses.MISSING)
    if factory is not dataclasses.MISSING or isinstance(default, _ATTRS_FACTORY):
        return _Made()
    return (
        inspect.Parameter.empty
        if default is dataclasses.MISSING or default is attrs.NOTHING
        else default
    )


def type_name(annotation: Any) -> str:
    """A type as a user wrote it, without the module names."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return inspect.formatannotation(annotation).replace("typing.", "")
