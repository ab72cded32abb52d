"""The layers: every import inside the package goes towards an earlier line of the chart.

The chart is the one that people read, in the docstring of `petalkit/__init__.py`. Imports are read
from the source, those for type checkers and those inside functions too: a layer is what a module
knows of, not only what it loads.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import attrs
import pytest

import petalkit

PACKAGE = Path(petalkit.__file__).parent
LAYERS = ("values", "transports", "authoring", "runtime", "around it")
ASYNCIO = {"asyncio", "trio_asyncio", "paho", "asyncio_mqtt", "amqtt"}
MAY_KNOW_ASYNCIO = {
    "transports._asyncio_client",
    "transports._asyncio_link",
    "transports._asyncio_outgoing",
    "transports._asyncio_socket",
    "transports._trio_asyncio",
    "transports.asyncio_mqtt",
    "_embedded_broker",
    "compat._asking",
    "compat._base",
    "compat._calls",
    "compat._desk",
    "compat._loop",
    "compat._organization",
    "compat._threads",
}
# Loaded as `petal_app_manager`, a package of its own: see `compat/_install.py`.
HOST_NAMES = "compat.host_names."
IO = {
    *("asyncio", "http", "multiprocessing", "select", "selectors", "signal", "socket"),
    *("ssl", "subprocess", "tempfile", "threading", "trio", "urllib.request"),
}


@attrs.frozen
class Chart:
    """Where each module stands: by its first name under petalkit, `transports` for a folder."""

    place: dict[str, tuple[int, int]]  # line, and place within it
    layer: dict[str, str]


def read_chart(text: str) -> Chart:
    """The chart in a docstring: lines of four spaces, a layer's name, and modules after it."""
    place: dict[str, tuple[int, int]] = {}
    layer: dict[str, str] = {}
    now = ""
    for number, line in enumerate(text.splitlines()):
        if not line.startswith("    "):
            continue
        words = line.strip()
        for name in LAYERS:
            # Two spaces end the layer's name: `transports   transports/`.
            if words.startswith(name + "  "):
                now, words = name, words.removeprefix(name)
        for column, module in enumerate(words.split()):
            module = module.rstrip("/")
            assert module not in place, f"{module} is on the chart twice"
            place[module] = (number, column)
            layer[module] = now
    return Chart(place, layer)


def modules() -> dict[str, Path]:
    """Every module of the package, by its name without `petalkit.`; not the package itself."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            found[name] = path
    return found


def imports(name: str, path: Path) -> Iterator[str]:
    """The full names of what a module imports, submodules told from names in a module."""
    package = ["petalkit", *name.split(".")]
    if path.name != "__init__.py":
        package.pop()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *((node.module or "").split(".") if node.module else [])])
            for alias in node.names:
                full = f"{module}.{alias.name}"
                yield full if full.removeprefix("petalkit.") in MODULES else module


MODULES = modules()
CHART = read_chart(petalkit.__doc__ or "")
IMPORTS = {name: sorted(set(imports(name, path))) for name, path in MODULES.items()}


def inside(name: str) -> list[str]:
    """What a module imports of petalkit itself."""
    return [
        one.removeprefix("petalkit").lstrip(".")
        for one in IMPORTS[name]
        if one.split(".")[0] == "petalkit"
    ]


def top(name: str) -> str:
    return name.split(".")[0]


def test_every_module_is_on_the_chart_and_nothing_else_is() -> None:
    assert set(CHART.place) == {top(name) for name in MODULES}
    assert set(CHART.layer.values()) == set(LAYERS)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_only_towards_earlier_on_the_chart(name: str) -> None:
    for imported in inside(name):
        assert imported in MODULES, f"{name} imports {imported or 'petalkit itself'}"
        if top(imported) != top(name):
            assert CHART.place[top(imported)] < CHART.place[top(name)], (
                f"{name} imports {imported}, which is later on the chart"
            )


def test_the_hosts_names_know_what_compat_gives_to_everybody_and_nobody_knows_them() -> None:
    for name in MODULES:
        theirs = {one for one in inside(name) if one.startswith(HOST_NAMES)}
        if name.startswith(HOST_NAMES):
            assert set(inside(name)) - theirs <= {"compat", "compat.models"}, name
        else:
            assert not theirs, f"{name} imports {', '.join(theirs)}"


def test_there_is_no_cycle_within_a_folder_either() -> None:
    graph = {name: inside(name) for name in MODULES}
    graph.pop("cli.__main__", None)  # asks its package for `main`, and nobody imports it
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("name", sorted(MODULES))
def test_only_the_adapters_know_asyncio(name: str) -> None:
    known = {top(one) for one in IMPORTS[name]} & ASYNCIO
    assert not known or name in MAY_KNOW_ASYNCIO, f"{name} imports {', '.join(sorted(known))}"


def test_those_that_may_know_asyncio_exist() -> None:
    assert set(MODULES) >= MAY_KNOW_ASYNCIO


@pytest.mark.parametrize("name", sorted(one for one in CHART.layer if CHART.layer[one] == "values"))
def test_values_know_neither_trio_nor_io(name: str) -> None:
    assert not IO & {part for one in IMPORTS[name] for part in (one, top(one))}


def test_authoring_knows_no_runtime_and_transports_know_no_petal() -> None:
    """The chart's order says it; this keeps the chart from being bent to say otherwise."""
    below = {"authoring": {"values", "authoring"}, "transports": {"values", "transports"}}
    for name in MODULES:
        allowed = below.get(CHART.layer[top(name)])
        if allowed is not None:
            assert {CHART.layer[top(one)] for one in inside(name)} <= allowed, name


def test_other_imports_are_declared_dependencies() -> None:
    """What is neither Python's own nor petalkit's comes with the package or one of its extras."""
    declared = {
        *("trio", "trio_asyncio", "asyncio_mqtt", "paho", "attrs", "cattrs", "msgspec"),
        *("cyclopts", "rich", "typed_settings", "machineid", "amqtt", "mqtt5", "pydantic"),
        *("h11", "httpx", "hypercorn", "starlette", "idna"),
        "pytest",
    }
    for name, imported in IMPORTS.items():
        others = {top(one) for one in imported} - sys.stdlib_module_names - {"petalkit"}
        assert others <= declared, f"{name} imports {others - declared}"
