"""Write what the code knows better into the pages, so that they can be read as plain Markdown.

    python docs/generate.py           write it
    python docs/generate.py --check   only say what is not current; exit code 1 if anything is not

A page has it between two markers, each on a line of its own:

    <!-- table: NAME --> ... <!-- /table -->        a table made from the code; see `TABLES`
    <!-- code: PATH[; from TEXT][; to TEXT] --> ... <!-- /code -->
                                                    a file of the repository, or a part of it
    <!-- table: api --> ... <!-- /table -->         of the names of the block `site` before it

What is only for the site stands in `<!-- site ... -->`, and `docs/conf.py` opens it. The rule: no
region is written by hand, and a marker that nobody knows is an error, so a table cannot get lost.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

import petalkit
from petalkit._values.settings.settings import environment_name
from petalkit.cli._settings.names import NOT_LOADABLE
from petalkit.transports._broker.core.bounds import Bounds

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS))
import house  # noqa: E402

REGION = re.compile(
    r"^<!-- (?P<kind>table|code): (?P<what>[^\n]+) -->$\n(?P<text>.*?)^<!-- /(?P=kind) -->$",
    re.MULTILINE | re.DOTALL,
)
SITE = re.compile(r"^<!-- site$\n(?P<text>.*?)^-->$", re.MULTILINE | re.DOTALL)


class GenerateError(Exception):
    """A page asks for something that is not there."""


# -- settings

_FIRST_SETTINGS = {
    "broker": "Where to, and as whom",
    "username": "Security",
    "base_topic": "Topics",
    "keep_alive": "The link",
    "channel_capacity": "Intake",
    "duplicate_window": "Duplicates",
    "journal": "Journal",
    "concurrency": "Dispatch",
    "response_capacity": "Outbox",
    "grace": "Life",
    "call_concurrency": "Calling",
}


def settings() -> Iterator[str]:
    """Every field of `Settings`, under the heading of its group."""
    hints = typing.get_type_hints(petalkit.Settings)
    groups = dict(_FIRST_SETTINGS)
    for field in attrs.fields(petalkit.Settings):
        if heading := groups.pop(field.name, None):
            yield from ("", f"## {heading}", "")
            yield "| Setting and variable | Type | Default | Meaning |"
            yield "|---|---|---|---|"
        names = f"`{field.name}`"
        if field.name not in NOT_LOADABLE:
            names += f"<br>`{environment_name(field.name)}`"
        unit = f" [{field.metadata['unit']}]" if field.metadata["unit"] else ""
        kind = f"`{_type_name(hints[field.name])}`"
        yield f"| {names} | {kind} | {_default(field)} | {field.metadata['help']}{unit} |"
    if groups:
        raise GenerateError(f"docs/generate.py groups settings by unknown ones: {list(groups)}")


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(typing.get_args(hint))
    if "Callable" in str(hint):
        return "callable"
    if isinstance(hint, type) and not typing.get_args(hint):
        return hint.__name__
    optional = re.sub(r"pathlib\S*\.Path", "Path", str(hint)).replace(" | None", "")
    named = {"tuple[str, ...]": "list of str", "collections.abc.Mapping[str, str]": "table of str"}
    return named.get(optional, optional)


def _default(field: attrs.Attribute[Any]) -> str:
    value: Any = field.metadata.get("default", field.default)
    if field.metadata["unit"] == "bytes" and value:
        return f"`{value}`<br>({_size(value)})"
    if value is None or value in ((), {}):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return "<br>".join(f"`{part}`" for part in value)
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _size(number: int) -> str:
    for unit, name in ((1024 * 1024, "MiB"), (1024, "KiB")):
        if number % unit == 0:
            return f"{number // unit} {name}"
    return f"{number} bytes"


# -- statistics, and docstrings of attributes


def statistics() -> Iterator[str]:
    """Every field of `Statistics` with the docstring that stands under it."""
    yield "| Field | Meaning |"
    yield "|---|---|"
    docs = attribute_docs(petalkit.Statistics)
    for field in attrs.fields(petalkit.Statistics):
        yield f"| `{field.name}` | {docs[field.name]} |"


def attribute_docs(cls: type) -> dict[str, str]:
    """What a class says of its attributes: texts under them, or a section `Attributes:`."""
    docs: dict[str, str] = {}
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(tree, ast.ClassDef)
    for before, after in zip(tree.body, tree.body[1:], strict=False):
        target = before.target if isinstance(before, ast.AnnAssign) else None
        if isinstance(before, ast.Assign):
            target = before.targets[0]
        if (
            isinstance(target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            docs[target.id] = _line(after.value.value)
    return {**section_docs(cls), **docs}


def section_docs(documented: Any, title: str = "Attributes") -> dict[str, str]:
    """A section of a docstring: names and what they are."""
    doc = inspect.cleandoc(documented.__doc__ or "")
    section = re.search(rf"^{title}:\n((?: +.*\n?|\n)*)", doc, re.MULTILINE)
    found = section and re.findall(r"^ {4}\**(\w+): (.*(?:\n {5,}.*)*)", section[1], re.MULTILINE)
    return {name: _line(text) for name, text in found or ()}


def _line(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")


# -- the API

_DIRECTIVE = re.compile(r"^\.\. auto(\w+):: ([\w.]+)(?:\(\))?\n((?: {3}:.*\n)*)", re.MULTILINE)


def api(block: str) -> Iterator[str]:
    """A table of what a block of autodoc directives names: how it is called, and what it is."""
    yield "| Name | What it is |"
    yield "|---|---|"
    for kind, path, options in _DIRECTIVE.findall(block):
        module, _, name = path.rpartition(".")
        found = getattr(importlib.import_module(module), name)
        call = "" if kind == "exception" else _signature(found)
        if f"{path}()" in block:  # made by petalkit only
            call = ""
        yield f"| **`{_flavor(found)}{name}{call}`** | {_first(found)} |"
        if kind == "function":
            arguments = section_docs(found, "Args")
            yield from (f"| `{one}` | {_cell(text)} |" for one, text in arguments.items())
        yield from _members(found, options)


def _members(cls: Any, options: str) -> Iterator[str]:
    section = section_docs(cls) if inspect.isclass(cls) else {}
    members = re.search(r":members:(.*)", options)
    if members is None:
        yield from (f"| `.{name}` | {_sentence(text)} |" for name, text in section.items())
        return
    listed = [part.strip() for part in members[1].split(",") if part.strip()]
    names = [*(name for name in section if name not in listed), *listed]
    docs = attribute_docs(cls)
    if not listed:
        own = [key for key, value in vars(cls).items() if _has_doc(value)]
        names = [key for key in {**docs, **dict.fromkeys(own)} if not key.startswith("_")]
    for key in names:
        value = inspect.getattr_static(cls, key, None)
        if key in docs and not _has_doc(value):
            yield f"| `.{key}` | {_sentence(docs[key])} |"
        elif isinstance(value, (property, functools.cached_property)):
            yield f"| `.{key}` | {_first(value)} |"
        else:
            found = getattr(cls, key, None)
            call = _signature(found, bound=True) if callable(found) else ""
            yield f"| `{_flavor(found)}.{key}{call}` | {_first(value)} |"


def _flavor(found: Any) -> str:
    """How it is called: an `await`, an `async with`, or nothing."""
    if inspect.iscoroutinefunction(found):
        return "await "
    wrapped = getattr(found, "__wrapped__", None)
    if inspect.isasyncgenfunction(wrapped):
        return "async with "
    return "with " if inspect.isgeneratorfunction(wrapped) else ""


def _has_doc(value: Any) -> bool:
    plain = (property, functools.cached_property, classmethod, staticmethod)
    return (inspect.isfunction(value) or isinstance(value, plain)) and bool(value.__doc__)


def _signature(found: Any, *, bound: bool = False) -> str:
    try:
        parameters = list(inspect.signature(found).parameters.values())
    except (TypeError, ValueError):
        return ""
    if bound and parameters and parameters[0].name == "self":
        del parameters[0]
    parts: list[str] = []
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in "".join(parts):
            parts.append("*")
        star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        default = "" if parameter.default is parameter.empty else "=" + _value(parameter.default)
        parts.append(f"{star}{parameter.name}{default}")
    return f"({', '.join(parts)})"


def _value(default: Any) -> str:
    plain = isinstance(default, (str, int, float, bool, tuple)) or default is None
    return repr(default) if plain and "`" not in repr(default) else "..."


def _first(found: Any) -> str:
    if isinstance(found, (classmethod, staticmethod)):
        found = found.__func__
    return _sentence(_line(inspect.getdoc(found) or ""))


def _sentence(text: str) -> str:
    """The first sentence of a text for a cell."""
    match = re.match(r"(.*?\.)(?= [A-Z`]|$)", text)
    return _cell(match[1] if match else text)


def _cell(text: str) -> str:
    """A text without what would end the cell."""
    return text.replace("|", "\\|")


# -- code of the repository


def code(what: str) -> Iterator[str]:
    """A file as a fenced block; `from` is in its first line, `to` in the one after its last."""
    path, *limits = what.split("; ")
    file = DOCS / path
    if not file.is_file():
        raise GenerateError(f"there is no file {path}")
    lines = file.read_text("utf-8").splitlines()
    for limit in limits:
        word, _, text = limit.partition(" ")
        numbers = [number for number, line in enumerate(lines) if text in line]
        if word not in ("from", "to") or not numbers:
            raise GenerateError(f"{path} has no line {limit!r}")
        lines = lines[numbers[0] :] if word == "from" else lines[: numbers[0]]
    yield f"```{({'.py': 'python', '.toml': 'toml'}).get(file.suffix, 'text')}"
    yield from "\n".join(lines).strip("\n").split("\n")
    yield "```"


def broker_bounds() -> Iterator[str]:
    """Every field of the broker's `Bounds`."""
    yield "| Option | Default | Meaning |"
    yield "|---|---|---|"
    for field in attrs.fields(Bounds):
        option = f"`--{field.name.replace('_', '-')}`"
        unit = field.metadata["unit"]
        yield f"| {option} | {_default(field)} | {field.metadata['help']} [{unit}] |"


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "settings": settings,
    "statistics": statistics,
    "broker bounds": broker_bounds,
    "chart of petalkit": functools.partial(house.chart_block, ""),
    "chart of _serving": functools.partial(house.chart_block, "_serving"),
}


def page(text: str) -> str:
    """A page with its regions made anew."""

    def region(match: re.Match[str]) -> str:
        kind, what = match["kind"], match["what"]
        if kind == "code":
            lines = code(what)
        elif what == "api":
            lines = api(list(SITE.finditer(text, 0, match.start()))[-1]["text"])
        elif what in TABLES:
            lines = TABLES[what]()
        else:
            raise GenerateError(f"there is no table {what!r}")
        body = "\n".join(lines).strip("\n")
        return f"<!-- {kind}: {what} -->\n\n{body}\n\n<!-- /{kind} -->"

    made = REGION.sub(region, text)
    left = re.sub(REGION, "", made)
    if lost := re.search(r"^<!-- /?(?:table|code)\b.*$", left, re.MULTILINE):
        raise GenerateError(f"a marker without its other: {lost[0]}")
    return made


def without_regions(text: str) -> str:
    """A page without what is generated into it."""
    return REGION.sub("", text)


def for_site(text: str) -> str:
    """A page as the site has it: what is for the site opened, and tables of the API left out."""
    text = SITE.sub(lambda match: match["text"], text)
    return REGION.sub(lambda match: "" if match["what"] == "api" else match["text"], text)


def current() -> dict[Path, str]:
    """Every page and picture with something generated, as it should be."""
    made = {DOCS / "house.svg": "\n".join(house.picture()) + "\n"}
    for path in sorted(DOCS.rglob("*.md")):
        if "_build" in path.parts:
            continue
        text = path.read_text("utf-8")
        try:
            made[path] = page(text)
        except GenerateError as error:
            raise GenerateError(f"{path.relative_to(DOCS.parent)}: {error}") from None
    return made


def main(arguments: list[str]) -> int:
    """Write, or check."""
    stale = {
        path: text
        for path, text in current().items()
        if not path.exists() or path.read_text("utf-8") != text
    }
    for path, text in stale.items():
        name = path.relative_to(DOCS.parent)
        if arguments == ["--check"]:
            print(f"{name} is not current: run python docs/generate.py", file=sys.stderr)
        else:
            path.write_text(text, "utf-8")
            print(f"{name} written")
    return int(bool(stale) and arguments == ["--check"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
