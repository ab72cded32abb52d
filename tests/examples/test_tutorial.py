"""The tutorial, and the first five minutes of the README, work when followed as written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ..brokers import free_port
from .conftest import ROOT
from .following import Reader, steps
from .test_docs import blocks

PAGE = (ROOT / "docs" / "tutorial.md").read_text()


@pytest.mark.process
def test_the_tutorial_can_be_followed(tmp_path: Path) -> None:
    with Reader(tmp_path, free_port()) as reader:
        reader.follow(PAGE)
        once = [text for line, text in reader.printed.items() if "tutorial-1" in line]
        assert [json.loads(text)["message"] for text in once[0]] == ["Hello, Ada!"] * 2
        [shown] = once[1]
        assert "a copy     gets this answer again, and is not run" in shown
        [tested] = reader.printed["python -m pytest"]
        assert "3 passed" in tested
        [scan] = reader.printed["""petalkit call camera/scan '{"frames": 3}'"""]
        assert json.loads(scan)["result"] == {"frames": 3}
        [left] = reader.printed["""petalkit call camera/scan '{"frames": 3}' --detach"""]
        assert json.loads(left)["job_id"]
        assert "zoom" in reader.printed["petalkit list camera"][0]
        assert not list((tmp_path / "home").glob("**/drone-1.journal.old"))
    # What was removed by hand was there, and the next run has made it anew.
    assert (tmp_path / "home/.local/state/petalkit/drone-1.journal").exists()


@pytest.mark.process
def test_a_petal_of_ones_own_in_five_minutes(tmp_path: Path) -> None:
    readme = ROOT / "README.md"
    petal, test = blocks(readme, "python")
    section = readme.read_text().partition("## Your own")[2].partition("## Why")[0]
    quick = {"python3 -m venv": "python3 -m venv --without-pip"}  # which has nothing to install
    with Reader(tmp_path, free_port(), replace=quick) as reader:
        (tmp_path / "my_petal.py").write_text(petal)
        (tmp_path / "test_my_petal.py").write_text(f"from my_petal import ExamplePetal\n{test}")
        reader.follow(section)
        [line] = re.findall(r"run `(python -m pytest[^`]*)`", section)
        imitate_a_checkout(tmp_path)
        reader.follow(f"\n\n```console\n$ {line}\n```\n")
        assert "1 passed" in reader.printed[line][0]


def imitate_a_checkout(folder: Path) -> None:
    """The reader stands in a checkout, whose own tests need more than the README installs."""
    options = re.search(
        r"^\[tool\.pytest\.ini_options\]\n.*?(?=^\[)",
        (ROOT / "pyproject.toml").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert options is not None
    (folder / "pyproject.toml").write_text(options[0])
    (folder / "tests").mkdir()
    (folder / "tests" / "conftest.py").write_text("import not_installed_by_the_readme\n")


def test_the_reader_finds_what_the_page_says() -> None:
    kinds = [step.kind for step in steps(PAGE)]
    assert kinds.count("stop") == 2
    assert kinds.count("console") >= 8
    assert "ini" in kinds
