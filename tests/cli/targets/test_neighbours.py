"""Names that the folders of several TARGETs have: each petal gets its own folder's, or is refused.

An import in a function runs when the petals are served already, so what the search path holds by
then must not decide.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from petalkit.cli._errors import UsageError
from petalkit.cli._targets.targets import load_targets
from petalkit.testing import open_harness

PETAL = """
import importlib
from petalkit import Petal, command

class P(Petal):
    name = "{name}"

    @command("who")
    async def who(self):
        {body}
        return {{"who": helpers.NAME}}
"""
BODIES = [
    "import helpers",
    "from between import helpers",
    'helpers = importlib.import_module("helpers")',
    'helpers = __import__("helpers")',
]


@pytest.fixture
def put(tmp_path: Path) -> Any:
    def put_file(name: str, text: str = "") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return put_file


def folder_of(put: Any, name: str, body: str = "import helpers", *, package: bool = False) -> str:
    """A folder with a petal, its `helpers`, and a way to them through another neighbour."""
    put(f"{name}/helpers.py", f"NAME = {name!r}")
    put(f"{name}/between.py", "import helpers")
    if package:
        put(f"{name}/__init__.py")
    target: str = put(f"{name}/petal_of_{name}.py", PETAL.format(name=name, body=body))
    return target


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("package", [False, True])
def test_a_name_that_two_folders_import_in_functions_is_refused(
    body: str, package: bool, put: Any, tmp_path: Path
) -> None:
    targets = [folder_of(put, name, body, package=package) for name in ("camera", "lamp")]
    with pytest.raises(UsageError) as refused:
        load_targets(targets, {})
    told = refused.value.message
    assert "helpers" in told or "between" in told
    for name in ("camera", "lamp"):
        assert str(tmp_path / name) in told
    assert "Rename one" in told


def test_a_neighbour_that_imports_it_in_a_function_counts_too(put: Any) -> None:
    targets: list[str] = []
    for name in ("camera", "lamp"):
        put(f"{name}/helpers.py", f"NAME = {name!r}")
        put(f"{name}/__init__.py")
        put(f"{name}/lazy.py", "def helpers():\n    import helpers\n    return helpers\n")
        body = "from .lazy import helpers as h; helpers = h()"
        targets.append(put(f"{name}/petal_of_{name}.py", PETAL.format(name=name, body=body)))
    with pytest.raises(UsageError, match="'helpers'"):
        load_targets(targets, {})


@pytest.mark.trio
@pytest.mark.parametrize("package", [False, True])
async def test_a_folder_that_only_has_the_name_takes_nothing_from_another(
    package: bool, put: Any, autojump_clock: object
) -> None:
    """The lamp came later, so its folder stood first on the search path."""
    camera = folder_of(put, "camera", package=package)
    put("lamp/helpers.py", "NAME = 'lamp'")
    lamp = put("lamp/petal_of_lamp.py", PETAL.format(name="lamp", body="class helpers: NAME = 1"))
    petals = load_targets([camera, lamp], {})
    async with open_harness(*petals) as harness:
        assert (await harness.call("camera/who"))["who"] == "camera"
        assert (await harness.call("lamp/who"))["who"] == 1


def test_a_module_of_the_current_folder_has_its_own_neighbours_too(put: Any) -> None:
    camera = folder_of(put, "camera")
    put("helpers.py", "NAME = 'here'")
    put("here.py", PETAL.format(name="here", body="import helpers"))
    with pytest.raises(UsageError, match="'helpers'"):
        load_targets([camera, "here"], {})


@pytest.mark.parametrize("line", ["sys.path.clear()", "sys.path = ['/mine']"])
def test_a_petal_takes_no_search_path_from_others(
    line: str, put: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even the transport could be imported any more."""
    before = list(sys.path)
    clears = PETAL.format(name="clears", body="import helpers").replace(
        "import importlib", f"import sys; {line}"
    )
    load_targets([put("camera/clears.py", clears)], {})
    assert set(before) <= set(sys.path)
    assert "clears.py has taken" in caplog.text


def test_files_of_one_folder_share_their_neighbours(put: Any, tmp_path: Path) -> None:
    folder_of(put, "camera")
    put("camera/second.py", PETAL.format(name="second", body="import helpers"))
    petals = load_targets([str(tmp_path / "camera")], {})
    assert [petal.name for petal in petals] == ["camera", "second"]
    assert importlib.import_module("helpers").NAME == "camera"


def test_a_file_of_a_package_takes_the_place_of_nothing_that_is_installed(
    put: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("installed/helpers.py", "NAME = 'installed'")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "installed")])
    load_targets([folder_of(put, "camera", package=True)], {})
    assert importlib.import_module("helpers").NAME == "installed"
