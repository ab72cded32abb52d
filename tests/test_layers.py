"""The folders: every import inside the package goes towards an earlier line of a chart.

The charts are those that people read, in the docstring of each folder's `__init__.py`. Imports are
read from the source, those for type checkers and those inside functions too: a layer is what a
module knows of, not only what it loads.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import petalkit

PACKAGE = Path(petalkit.__file__).parent
ASYNCIO = {"asyncio", "trio_asyncio", "paho", "asyncio_mqtt"}
MAY_KNOW_ASYNCIO = {
    "transports._trio_asyncio",
    "transports.asyncio_mqtt",
    "client.aio",
    "compat._base",
    "compat._loop",
    "compat._organization",
    "compat._petal",
}
# Loaded as `petal_app_manager`, a package of its own: see `compat/_install.py`.
HOST_NAMES = "compat.host_names."
IO = {
    *("asyncio", "http", "multiprocessing", "select", "selectors", "signal", "socket"),
    *("ssl", "subprocess", "tempfile", "threading", "trio", "urllib.request"),
}
ENTRIES_MAX = 9  # at the top of the package
MODULES_MAX = 12  # in a folder
LINES_MAX = 300  # in a module
PARAMETERS_MAX = 6  # of a constructor

# Longer, because it is one idea that would be harder to read in pieces: name and reason.
LONG_FOR_A_REASON = {
    "transports.asyncio_mqtt._link": "one state machine, between paho's callbacks and Trio's tasks",
    "transports.native._link": "the three tasks of a link, and what each tells the others",
    "transports.native._session": "MQTT's session is one state machine",
}

# Made of more parts, and to be made of fewer. This list may only shrink.
TOO_MANY_PARAMETERS = {
    "transports._delivery.Delivery",
}


# Where it is asked whether there is a journal: what it adds to the bounds of memory, how long it
# may take to stop, and what is put together of it. Everybody else asks the ledger, so there are
# three places at most.
ASK_FOR_A_JOURNAL = [
    "_serving.memory",
    "_serving.process.run",
    "_serving.wiring",
]


def read_chart(source: str) -> list[str]:
    """The names in the chart of a docstring, in order: lines of four spaces, a name, what it is.

    A folder has a slash after its name.
    """
    text = ast.get_docstring(ast.parse(source), clean=False) or ""
    found = re.findall(r"^ {4}([\w]+)(/?) {2,}\S", text, re.MULTILINE)
    return [name for name, _ in found]


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
IMPORTS = {name: sorted(set(imports(name, path))) for name, path in MODULES.items()}
FOLDERS = {
    name: path.parent
    for name, path in {"": PACKAGE / "__init__.py", **MODULES}.items()
    if path.name == "__init__.py" and not name.startswith(HOST_NAMES)
}
CHARTS = {
    name: read_chart((folder / "__init__.py").read_text("utf-8"))
    for name, folder in FOLDERS.items()
}


def inside(name: str) -> list[str]:
    """What a module imports of petalkit itself."""
    return [
        one.removeprefix("petalkit").lstrip(".")
        for one in IMPORTS[name]
        if one.split(".")[0] == "petalkit"
    ]


def top(name: str) -> str:
    return name.split(".")[0]


def child(folder: str, name: str) -> str | None:
    """The entry of a folder that a module is or stands in; None if it is somewhere else."""
    start = f"{folder}." if folder else ""
    return top(name.removeprefix(start)) if name.startswith(start) and name != folder else None


def entries(folder: Path) -> set[str]:
    """Modules and folders of a folder, without itself."""
    return {
        path.stem
        for path in folder.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    } - {"__init__"}


def is_value(part: ast.ClassDef) -> bool:
    """Whether a class is a frozen value, by its decorators and bases."""
    decorators = {ast.unparse(one).partition("(")[0] for one in part.decorator_list}
    bases = {ast.unparse(base) for base in part.bases}
    is_frozen = any(
        one.arg == "frozen" and ast.unparse(one.value) == "True" for one in part.keywords
    )
    return "attrs.frozen" in decorators or "NamedTuple" in bases or is_frozen


def parameters(part: ast.ClassDef) -> int:
    """How many parts an object of a class is made of."""
    for inner in part.body:
        if isinstance(inner, ast.FunctionDef) and inner.name in ("__init__", "__new__"):
            given = inner.args
            return len(given.posonlyargs + given.args + given.kwonlyargs) - 1
    if not any(ast.unparse(one).startswith("attrs.define") for one in part.decorator_list):
        return 0
    return sum(
        isinstance(inner, ast.AnnAssign) and inner.value is None and not is_class_variable(inner)
        for inner in part.body
    )


def is_class_variable(field: ast.AnnAssign) -> bool:
    return ast.unparse(field.annotation).startswith("ClassVar")


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_module_is_on_its_folders_chart_and_nothing_else_is(folder: str) -> None:
    chart = CHARTS[folder]
    assert len(chart) == len(set(chart))
    assert set(chart) == entries(FOLDERS[folder])


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_only_towards_earlier_on_the_charts(name: str) -> None:
    for imported in inside(name):
        assert imported in MODULES, f"{name} imports {imported or 'petalkit itself'}"
        if name.startswith(HOST_NAMES):
            continue  # the host's folders, not ours
        for folder, chart in CHARTS.items():
            one, other = child(folder, name), child(folder, imported)
            if one is not None and other is not None and one != other:
                assert chart.index(other) < chart.index(one), (
                    f"{name} imports {imported}, which is later on the chart of {folder or 'all'}"
                )


def test_what_is_private_has_an_underscore_on_the_way_to_it() -> None:
    """And a module under a folder with one needs none of its own."""
    for name in MODULES:
        *folders, module = name.split(".")
        if any(part.startswith("_") for part in folders):
            assert not module.startswith("_"), name


def test_a_folder_can_be_looked_over() -> None:
    assert len(CHARTS[""]) <= ENTRIES_MAX
    for name, folder in FOLDERS.items():
        found = [path for path in folder.glob("*.py") if path.stem != "__init__"]
        assert len(found) <= MODULES_MAX, name


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_says_where_to_begin(folder: str) -> None:
    text = ast.get_docstring(ast.parse((FOLDERS[folder] / "__init__.py").read_text("utf-8"))) or ""
    assert re.search(r"Begin with\s", text)


def test_a_module_can_be_read_at_one_sitting() -> None:
    found = {
        name
        for name, path in MODULES.items()
        if len(path.read_text("utf-8").splitlines()) > LINES_MAX
    }
    allowed = set(LONG_FOR_A_REASON)
    assert found <= allowed, "more than 300 lines: split along a real seam"
    assert found >= allowed, "short enough by now: take them off the list"


def test_what_is_put_together_is_put_together_of_few_parts() -> None:
    """Of a part, a constructor; of an attrs class that is not frozen, the fields without a default.

    Values are exempt: frozen attrs classes and Structs, and named tuples. They are made by keyword,
    and what belongs together is just what they are for.
    """
    found = {
        f"{name}.{part.name}"
        for name, path in MODULES.items()
        for part in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(part, ast.ClassDef) and not is_value(part)
        if parameters(part) > PARAMETERS_MAX
    }
    assert found <= TOO_MANY_PARAMETERS, "what belongs together is one value or one object"
    assert found >= TOO_MANY_PARAMETERS, "few enough by now: take them off the list"


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
    allowed = any(f"{name}.".startswith(f"{one}.") for one in MAY_KNOW_ASYNCIO)
    assert not known or allowed, f"{name} imports {', '.join(sorted(known))}"


def test_those_that_may_know_asyncio_exist() -> None:
    assert set(MODULES) >= MAY_KNOW_ASYNCIO


@pytest.mark.parametrize("name", sorted(one for one in MODULES if top(one) == "_values"))
def test_values_know_neither_trio_nor_io(name: str) -> None:
    assert not IO & {part for one in IMPORTS[name] for part in (one, top(one))}


@pytest.mark.parametrize("room", ["core", "codec", "protocol"])
def test_a_broker_is_values_as_long_as_it_needs_no_socket(room: str) -> None:
    found = [name for name in MODULES if name.startswith(f"transports._broker.{room}")]
    assert found
    for name in found:
        assert not IO & {part for one in IMPORTS[name] for part in (one, top(one))}, name


def test_authoring_knows_no_runtime_and_transports_know_no_petal() -> None:
    """The chart's order says it; this keeps the chart from being bent to say otherwise."""
    below = {"_authoring": {"_values", "_authoring"}, "transports": {"_values", "transports"}}
    for name in MODULES:
        allowed = below.get(top(name))
        if allowed is not None:
            assert {top(one) for one in inside(name)} <= allowed, name


@pytest.mark.parametrize("folder", ["_serving.intake", "_serving.dispatch", "_serving.sending"])
def test_the_way_of_a_command_knows_the_ledger_and_no_journal(folder: str) -> None:
    for name in MODULES:
        if f"{name}.".startswith(f"{folder}."):
            theirs = [one for one in inside(name) if "ledger.journal" in one]
            assert not theirs, f"{name} imports {', '.join(theirs)}"


def asks_for_a_journal(node: ast.AST) -> bool:
    """Whether it is a question, in one of the forms in which it could be asked."""
    if isinstance(node, ast.Compare):
        asked = [node.left] if ast.unparse(node.comparators[0]) == "None" else []
    elif isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
        return bool(re.search(r"Journal\b|DiskLedger|MemoryLedger", ast.unparse(node.args[1])))
    elif isinstance(node, ast.If | ast.IfExp | ast.While | ast.Assert):
        asked = [node.test]
    elif isinstance(node, ast.BoolOp):
        asked = node.values
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        asked = [node.operand]
    else:
        return False
    words = [ast.unparse(one) for one in asked]
    # `spec.journal` is what one command declares, and `journal=False` is no question.
    return any(
        re.fullmatch(r"(\w+\.)*_?journal", one) and not one.endswith("spec.journal")
        for one in words
    )


def test_nobody_asks_whether_there_is_a_journal_but_where_parts_are_put_together() -> None:
    found = [
        name
        for name, path in sorted(MODULES.items())
        if top(name) == "_serving"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if asks_for_a_journal(node)
    ]
    assert found == ASK_FOR_A_JOURNAL
    assert len(found) <= 3


def test_other_imports_are_declared_dependencies() -> None:
    """What is neither Python's own nor petalkit's comes with the package or one of its extras."""
    declared = {
        *("trio", "trio_asyncio", "asyncio_mqtt", "paho", "attrs", "cattrs", "msgspec"),
        *("cyclopts", "rich", "machineid", "mqtt5", "pydantic"),
        *("h11", "httpx", "hypercorn", "starlette", "fastapi", "idna", "wsproto"),
        "pytest",
    }
    for name, imported in IMPORTS.items():
        others = {top(one) for one in imported} - sys.stdlib_module_names - {"petalkit"}
        assert others <= declared, f"{name} imports {others - declared}"
