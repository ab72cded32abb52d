"""A folder of petals: each author is told what is wrong with theirs, and the rest is served."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from petalkit import Petal, Settings
from petalkit.cli import _options, _run
from petalkit.cli._checks._petals import check_petals
from petalkit.cli._errors import UsageError
from petalkit.cli._options import HostOptions
from petalkit.cli._settings_loading import load
from petalkit.cli._targets import find_petals, load_targets

from .conftest import RunCli

GOOD = """
from petalkit import Petal, command

class {cls}(Petal):
    name = "{name}"

    @command("go")
    async def go(self) -> None: ...
"""

# Each with one mistake, and the words in which its author is told.
MISTAKES = {
    "syntax": ("def go(:", "SyntaxError"),
    "import_": ("import no_such_module_anywhere", "No module named"),
    "raises": ('raise OSError("no camera")', "OSError: no camera"),
    "ends": ("raise SystemExit(3)", "importing it ended the program"),
    "foreign": ("import asyncio\nraise asyncio.CancelledError", "CancelledError"),
    "no_text": (
        "class E(Exception):\n    def __str__(self): raise ValueError\nraise E",
        "its text cannot be read",
    ),
    "no_name": ("from petalkit import Petal\nclass P(Petal):\n    pass", "has no name"),
    "constructor": (
        'from petalkit import Petal\nclass P(Petal):\n    name = "needs"\n'
        "    def __init__(self, port): ...",
        "port",
    ),
    "plain": (
        GOOD.format(cls="P", name="plain").replace("async def", "def"),
        "is not async: write async def",
    ),
    "no_self": (
        GOOD.format(cls="P", name="no-self").replace("(self)", "(data)"),
        "has no self: write async def go(self, data, ...)",
    ),
    "hidden": (
        GOOD.format(cls="P", name="hidden").replace("    @command", "    @property\n    @command"),
        "is a property",
    ),
    "taken": (
        GOOD.format(cls="P", name="taken") + "    nursery = None\n",
        "'nursery' is petalkit's own",
    ),
    "zz_twice": (GOOD.format(cls="P", name="lamp"), "two petals have this name"),
    "zz_clash": (
        GOOD.format(cls="P", name="other").replace('"go"', '"lamp/go"'),
        "the command 'lamp/go' is already served by petal 'lamp'",
    ),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "petals"
    folder.mkdir()
    for name, (text, _) in MISTAKES.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "lamp.py").write_text(GOOD.format(cls="Lamp", name="lamp") + "\nAlias = Lamp\n")
    (folder / "camera.py").write_text(
        GOOD.format(cls="Left", name="left") + GOOD.format(cls="Right", name="right")
    )
    (folder / "helpers.py").write_text("x = 1")
    (folder / "_private.py").write_text('raise OSError("is not imported")')
    (folder / "notes.txt").write_text("no petal")
    return folder


def test_each_author_is_told_and_the_rest_is_served(folder: Path) -> None:
    found = find_petals(["petals"])
    assert sorted(petal.name for petal in found.petals) == ["lamp", "left", "right"]
    told = {Path(one.target).stem: one.message for one in found.wrong}
    assert told.keys() == MISTAKES.keys()
    for name, (_, words) in MISTAKES.items():
        assert words in told[name]


def test_the_authors_own_traceback_is_kept(folder: Path) -> None:
    (one,) = [one for one in find_petals(["petals"]).wrong if "raises.py" in one.target]
    assert "raises.py" in one.details
    assert "petalkit/cli" not in one.details


def test_strict_stops_at_the_first(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"constructor\.py"):
        find_petals(["petals"], strict=True)
    with pytest.raises(UsageError, match=r"constructor\.py"):
        load_targets(["petals"])


def test_a_target_that_is_named_has_to_be_served(folder: Path) -> None:
    with pytest.raises(UsageError, match="no camera"):
        find_petals(["petals", "petals/raises.py"])


def test_a_folder_without_anything_to_serve_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file in it defines a petal"):
        find_petals([str(tmp_path)])
    (tmp_path / "a_broken.py").write_text("raise OSError('x')")
    with pytest.raises(UsageError, match=r"no petal is left to serve: .*a_broken.py.*OSError: x"):
        find_petals([str(tmp_path)])


def test_a_base_without_a_name_is_no_petal_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "with_base.py").write_text(
        "from petalkit import Petal\nclass Base(Petal): ...\n"
        'class One(Base):\n    name = "one"\nclass Two(Base):\n    name = "two"\n'
    )
    found = find_petals([str(tmp_path)])
    assert [petal.name for petal in found.petals] == ["one", "two"]
    assert found.wrong == ()


def test_an_alias_of_a_class_is_one_petal(tmp_path: Path) -> None:
    path = tmp_path / "aliased.py"
    path.write_text(GOOD.format(cls="Lamp", name="lamp") + "\nAlias = Lamp\n")
    (petal,) = load_targets([str(path)])
    assert petal.name == "lamp"


def test_run_serves_the_rest_and_logs_the_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, run_cli: RunCli
) -> None:
    served: list[str] = []

    def run_as_process(petals: Sequence[Petal], settings: Settings, advice: str) -> int:
        served.extend(sorted(petal.name for petal in petals))
        return 0

    monkeypatch.setattr(_run, "run_as_process", run_as_process)
    monkeypatch.setattr(_options, "configure_logging", lambda *args: None)
    outcome = run_cli("run", "petals", "--journal", "off")
    assert outcome.code == 0
    assert served == ["lamp", "left", "right"]
    errors = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert len(errors) == len(MISTAKES)
    assert "3 petals are served, 14 are not" in caplog.text
    served.clear()
    outcome = run_cli("run", "petals", "--strict", "--journal", "off")
    assert (outcome.code, served) == (2, [])
    assert "constructor.py" in outcome.err


def test_list_and_doctor_say_the_same(folder: Path, run_cli: RunCli) -> None:
    outcome = run_cli("list", "petals")
    assert outcome.code == 2
    assert "lamp/go" in outcome.out
    served, checks = check_petals(["petals"], load(), HostOptions())
    failures = [check for check in checks if check.verdict == "failed"]
    assert served is None
    assert len(failures) == len(MISTAKES)
    for _, words in MISTAKES.values():
        assert words in outcome.err
    for stem in MISTAKES:
        assert any(f"{stem}.py" in check.found for check in failures)
