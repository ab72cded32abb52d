"""What a device says is data: nothing of it becomes code, and what cannot be said is refused."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from petalkit.cli._schema.command import Wanted, make_files
from petalkit.cli._schema.contract import (
    DEPTH_MAX,
    NAME_MAX,
    BadContract,
    Contract,
    read_contract,
)
from petalkit.cli._schema.words import TypeNames

from .conftest import Mypy, Node, files_of

EVILS = [
    "*/ globalThis.evil = 1; /*",
    '"""\nimport builtins; builtins.evil = 1\n"""',
    "'''; import builtins; builtins.evil = 1 #",
    "\\",
    'a"b',
    "${globalThis.evil = 1}`",
    "x\n# y\r\nimport builtins\u2028globalThis.evil = 1\u2029\x85z\x0b\x0c",
    "\u202e\u2066\u200b\x1b[2J\x00\ud800",
    "</script><script>globalThis.evil = 1</script>",
    '\\" """ \\\\"""',
    "//", "/*", "#", "*/", "`", "{{", "%s",
]  # fmt: skip
# Of names, those that can be printed are taken.
NAMES = [one for one in EVILS if one.isprintable()] + [
    "constructor", "__proto__", "then", "toString", "class", "import", "None", "True", "Any",
    "Promise", "Device", "Remote", "Job", "TypedDict", "str", "int", "self", "_client", "remote",
    "__init__", "__class__", "9lives", "é", "日本", "do-thing", "do_thing", "do.thing", "doThing",
    "isCurrent", "is_current", "SCHEMA_HASH", "Record", "Client", "a/b/c", "/x/", "arguments",
    "delete", "await", "yield", "match", "data", "options", "Array", "mqtt", "connect", "list",
]  # fmt: skip


def hostile(most: int | None = None) -> Contract:
    """Names, docs, keys, values and models, all of them bad; of so many petals."""
    properties: dict[str, Any] = {
        name: {"type": "string", "description": EVILS[at % len(EVILS)]}
        for at, name in enumerate([*EVILS, *NAMES])
    }
    models = {
        name: {"type": "object", "properties": properties} for name in [*EVILS, *NAMES][:most]
    }
    schema = {
        "type": "object",
        "description": EVILS[0],
        "properties": {
            **properties,
            "enum": {"enum": [*EVILS, 1, True, None, 2.5, {"a": 1}]},
            "const": {"const": EVILS[1]},
            "models": {
                "type": "array",
                "items": {"anyOf": [{"$ref": f"#/$defs/{pointer(name)}"} for name in models]},
            },
            "map": {"type": "object", "additionalProperties": {"enum": EVILS}},
            "inline": {"type": "array", "items": {"type": "object", "properties": properties}},
            "self": {"$ref": "#/$defs/Self"},
        },
        "required": [*EVILS],
        "$defs": {
            **models,
            "Self": {"allOf": [{"$ref": "#/$defs/Self"}, {"properties": {"a": {}}}]},
            "Alias": {"anyOf": [{"$ref": "#/$defs/Alias"}, {"type": "string"}]},
        },
    }
    small = {"type": "object", "properties": {EVILS[0]: {"enum": EVILS}}, "required": NAMES[:3]}
    petals: list[dict[str, Any]] = []
    for at, evil in enumerate([*NAMES, "petal"][:most]):
        doc = EVILS[at % len(EVILS)]
        commands = [
            {"name": f"{evil}/{name}", "doc": doc, "data": small, "result": small}
            for name in NAMES[at % 5 :: 5]
        ]
        jobs = [{"name": f"{evil}/job{doc[:1]}", "doc": doc, "data": small, "result": small}]
        jobs = [one for one in jobs if str(one["name"]).isprintable()]
        streams = [{"name": f"{evil}/{evil}", "doc": doc, "value": small}]
        parts = {"commands": commands, "jobs": jobs, "streams": streams}
        petals.append({"name": evil, "version": doc, "doc": doc, **parts})
    petals[0]["commands"] = [{"name": "evil/all", "data": schema, "result": schema}]
    return read_contract(petals, "0123", [*NAMES])


def pointer(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


@pytest.fixture(scope="module")
def evil() -> Contract:
    return hostile()


@pytest.fixture(scope="module")
def files(evil: Contract) -> list[tuple[str, str]]:
    return list(every_file(evil))


def every_file(contract: Contract) -> Iterator[tuple[str, str]]:
    for kind in ("asyncapi", "json-schema", "typescript"):
        yield from files_of(contract, kind).items()
    for flavor in ("trio", "sync"):
        for name, text in make_files(contract, Wanted("python", flavor), in_folder=True).items():
            yield f"{flavor}/{name}", text


def test_python_has_statements_of_ours_alone(files: list[tuple[str, str]]) -> None:
    for name, text in files:
        if not name.endswith(".py"):
            continue
        tree = ast.parse(text)
        for one in tree.body:
            assert isinstance(one, ast.ImportFrom | ast.Assign | ast.AnnAssign | ast.ClassDef)
        called = {
            ast.unparse(one.func).rpartition(".")[2]
            for one in ast.walk(tree)
            if isinstance(one, ast.Call)
        }
        assert {"call", "job", "stream", "cast"} < called
        modules = {one.module for one in ast.walk(tree) if isinstance(one, ast.ImportFrom)}
        assert modules == {
            *("__future__", "contextlib", "typing", "petalkit.client.typed"),
            "petalkit.client" if name.startswith("trio") else "petalkit.client.sync",
        }


def test_nothing_in_any_file_steers_an_editor(files: list[tuple[str, str]]) -> None:
    for name, text in files:
        shown = text.replace("\n", "")
        if name.endswith((".json", ".py")) or name == "client.ts":
            assert all(one.isprintable() for one in shown), name


def test_files_have_names_of_ours(evil: Contract) -> None:
    for name in files_of(evil, "json-schema"):
        folder, stem = name.split("/")
        assert folder in ("commands", "jobs", "streams")
        assert re.fullmatch(r"[A-Za-z0-9_-]+\.(data|result|value|start|progress)\.json", stem)


@pytest.mark.process
def test_python_of_it_is_typed_and_does_nothing(mypy: Mypy, tmp_path: Path) -> None:
    (text,) = make_files(hostile(6), Wanted("python"), in_folder=False).values()
    (tmp_path / "client.py").write_text(text)
    code = "import builtins, client; print(hasattr(builtins, 'evil'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
    checked = mypy.run(tmp_path, "client.py")
    assert checked.returncode == 0, checked.stdout


@pytest.mark.npm
@pytest.mark.process
def test_typescript_of_it_compiles_and_does_nothing(
    evil: Contract, node: Node, tmp_path: Path
) -> None:
    project = node.project(tmp_path / "project", files_of(evil, "typescript"))
    node.compile(project)
    code = "await import('./out/client.js'); console.log('evil' in globalThis)"
    done = node.run(["--input-type=module", "-e", code], project)
    assert done.stdout == "false\n"


def described(**more: Any) -> list[Mapping[str, Any]]:
    return [{"name": "p", "version": "1", "commands": [{"name": "p/c", **more}]}]


DEEP: Any = {}
for _ in range(DEPTH_MAX):
    DEEP = {"items": DEEP}


@pytest.mark.parametrize(
    ("petals", "wanted"),
    [
        ([{"name": 7}], "a petal has no name that can be used: '7'"),
        ([{"name": "p", "commands": {"a": 1}}], "commands of 'p' is no list"),
        ([{"name": "p", "commands": [{"name": "a\nb"}]}], "no name that can be used: 'a\\nb'"),
        ([{"name": "p", "commands": [{"name": "x" * (NAME_MAX + 1)}]}], "no name that can be used"),
        (described(data="string"), "a schema of 'p/c' is no object"),
        (described(data=DEEP), f"a schema of 'p/c' has more than {DEPTH_MAX} levels"),
        (described(data={"$ref": "http://example.org/a"}), "refers to 'http://example.org/a'"),
        (described(data={"$ref": "#/$defs/A"}), "refers to 'A', which it has not"),
        (described(data={"$ref": 7}), "refers to '7', out of itself"),
        (described(data={"$defs": []}), "the $defs of 'p/c' are no object"),
        (described(data={"$defs": {"A": 1}}), "'A' in the $defs of 'p/c' is no schema"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_where(
    petals: list[Mapping[str, Any]], wanted: str
) -> None:
    with pytest.raises(BadContract, match=re.escape(wanted)):
        list(every_file(read_contract(petals, None)))


def test_a_hash_that_is_none_is_none(evil: Contract) -> None:
    assert read_contract([], '"; evil()').schema_hash == ""
    assert evil.schema_hash == "0123"


def test_json_is_json(files: list[tuple[str, str]]) -> None:
    for name, text in files:
        if name.endswith(".json"):
            json.loads(text)


def test_a_large_model_is_not_merged_again_and_again() -> None:
    """64 KiB of schema are no hundred megabytes of types."""
    large: dict[str, Any] = {f"k{number}": {} for number in range(2000)}
    merged = {"allOf": [{"$ref": "#/$defs/large"}, {"required": ["x"]}]}
    schema = {
        "type": "object",
        "properties": {f"p{number}": merged for number in range(500)},
        "$defs": {"large": {"type": "object", "properties": large}},
    }
    contract = read_contract([{"name": "p", "commands": [{"name": "p/c", "data": schema}]}], None)
    for format_ in ("typescript", "python"):
        (text,) = make_files(contract, Wanted(format_), in_folder=False).values()
        assert len(text) < 8 * 1024 * 1024


def test_names_of_types_that_are_all_the_same_are_found_at_once() -> None:
    class Counting(set[str]):
        asked = 0

        def __contains__(self, name: object) -> bool:
            self.asked += 1
            return super().__contains__(name)

    names = TypeNames(())
    names._taken = taken = Counting()
    found = {names.claim("Same") for _ in range(5000)}
    assert len(found) == 5000
    assert taken.asked < 20_000
