"""Sphinx configuration. What the code knows better is made from the code at build time.

A page says where with a marker on a line of its own: `<!-- table: settings -->`,
`<!-- table: statistics -->`, `<!-- table: house -->`, or `<!-- table: chart of _serving -->`. An
unknown marker is an error, so a table cannot get lost.
"""

from __future__ import annotations

import functools
import re
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.pycode import ModuleAnalyzer

import petalkit
from petalkit._values.settings.settings import environment_name
from petalkit.cli._settings.names import NOT_LOADABLE
from petalkit.transports._broker.core.bounds import Bounds

sys.path.insert(0, str(Path(__file__).parent))
import house

project = "petalkit"
author = "the petalkit maintainers"
project_copyright = "2026, the petalkit maintainers"
release = version = petalkit.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "benchmarks"]  # benchmarks.md includes what is in there
html_theme = "furo"
html_title = f"petalkit {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "code"  # our docstrings write `name` for code, as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# -- tables made from the code

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


def _settings() -> Iterator[str]:
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
        raise ExtensionError(f"docs/conf.py groups settings by unknown ones: {', '.join(groups)}")


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
    if field.metadata["unit"] == "bytes":
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


def _statistics() -> Iterator[str]:
    """Every field of `Statistics` with the docstring that stands under it."""
    yield "| Field | Meaning |"
    yield "|---|---|"
    docs = ModuleAnalyzer.for_module("petalkit._values.statistics").find_attr_docs()
    for field in attrs.fields(petalkit.Statistics):
        text = " ".join(docs["Statistics", field.name]).strip()
        yield f"| `{field.name}` | {text} |"


def _broker_bounds() -> Iterator[str]:
    """Every field of the broker's `Bounds`."""
    yield "| Option | Default | Meaning |"
    yield "|---|---|---|"
    for field in attrs.fields(Bounds):
        option = f"`--{field.name.replace('_', '-')}`"
        unit = field.metadata["unit"]
        yield f"| {option} | {_default(field)} | {field.metadata['help']} [{unit}] |"


_TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "settings": _settings,
    "statistics": _statistics,
    "broker bounds": _broker_bounds,
    "house": house.picture,
    "chart of petalkit": functools.partial(house.chart_block, ""),
    "chart of _serving": functools.partial(house.chart_block, "_serving"),
}


def _insert_tables(app: Sphinx, page: str, source: list[str]) -> None:
    def table(match: re.Match[str]) -> str:
        make = _TABLES.get(match[1])
        if make is None:
            raise ExtensionError(f"{page}: there is no table {match[1]!r}")
        return "\n".join(make())

    source[0] = re.sub(r"^<!-- table: ([\w ]+) -->$", table, source[0], flags=re.MULTILINE)


def _tables_depend_on_the_code(
    app: Sphinx, env: Any, added: Any, changed: Any, removed: Any
) -> Any:
    """Pages with tables are read anew at each build."""
    pages = (Path(app.srcdir) / f"{page}.md" for page in env.found_docs)
    return [page.stem for page in pages if page.exists() and "<!-- table: " in page.read_text()]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _insert_tables)
    app.connect("env-get-outdated", _tables_depend_on_the_code)
