"""What a start loads: memory and seconds of every device, at each of its starts."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import petalkit

from .programs import LIMIT, WHO

# Of other commands, transports and kinds of petals; and what is heavy and not needed.
NOT_LOADED = {
    *("asyncio", "trio_asyncio", "paho", "asyncio_mqtt"),
    *("pydantic", "rich", "typed_settings", "h11", "httpx", "hypercorn", "starlette", "wsproto"),
    *("importlib.metadata", "email", "zoneinfo", "multiprocessing", "unittest", "http"),
    *("petalkit.client", "petalkit.compat", "petalkit.testing"),
    *("petalkit.transports.asyncio_mqtt", "petalkit.transports.sidecar"),
    *("petalkit.transports.memory", "petalkit.transports._broker"),
    "petalkit.transports.native._websocket",
    *("petalkit.cli._console", "petalkit.cli._demonstration", "petalkit.cli._doctor"),
    *("petalkit.cli._caller", "petalkit.cli._demo", "petalkit.cli._listing"),
}

PETAL = """
import contextlib, os, pathlib, signal, sys
from petalkit import Petal, command

class Looks(Petal):
    name = "looks"

    @command("hello")
    async def hello(self, name: str) -> dict[str, str]:
        return {"message": name}

    @contextlib.asynccontextmanager
    async def lifespan(self):
        pathlib.Path("loaded").write_text(" ".join(sys.modules))
        os.kill(os.getpid(), signal.SIGTERM)
        yield
"""


def loaded(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.process
@pytest.mark.parametrize("journal", ["off", "./journal"])
def test_serving_a_native_petal_loads_nothing_of_others(tmp_path: Path, journal: str) -> None:
    (tmp_path / "looks.py").write_text(PETAL)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "petalkit", "run", "looks.py", "--transport", "native"),
            *("--broker", "mqtt://127.0.0.1:9", "--journal", journal, *WHO),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = set((tmp_path / "loaded").read_text().split())
    assert "petalkit.transports.native._link" in found
    assert not NOT_LOADED & found


@pytest.mark.process
def test_importing_the_package_loads_what_is_asked_for() -> None:
    bare = loaded("import petalkit")
    assert "trio" not in bare
    assert {one for one in bare if one.startswith("petalkit")} == {"petalkit"}
    petal = loaded("from petalkit import Petal, command")
    assert not {one for one in petal if one.startswith(("petalkit._serving", "petalkit.client"))}
    assert not NOT_LOADED & petal


def lists_of_names() -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Where each public name is: as type checkers see it, and as it is imported."""
    tree = ast.parse(Path(petalkit.__file__).read_text("utf-8"))
    checked = {
        ("." * node.level + (node.module or ""), alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }
    return checked, {(place, name) for name, place in petalkit._PLACES.items()}


def test_type_checkers_and_python_find_the_same_names() -> None:
    checked, imported = lists_of_names()
    assert checked == imported
    for _, name in imported:
        assert getattr(petalkit, name) is not None
    assert {name for _, name in imported} <= set(dir(petalkit))


def test_a_star_has_every_public_name() -> None:
    found: dict[str, object] = {}
    exec("from petalkit import *", found)
    public = {name for _, name in lists_of_names()[1]} - {"__version__"}
    assert found.keys() - {"__builtins__"} == public
    assert all(found[name] is getattr(petalkit, name) for name in public)


def test_a_name_that_is_not_there_is_missed_as_usual() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Pedal'"):
        petalkit.Pedal  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Pedal'"):
        exec("from petalkit import Pedal")


@pytest.mark.process
def test_folders_that_are_public_are_there_without_an_import_of_their_own() -> None:
    assert loaded("import petalkit; petalkit.client.open_client, petalkit.transports.Link")
