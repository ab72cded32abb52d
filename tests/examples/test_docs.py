"""What README and docs show is true: code runs, command lines parse, tables are whole."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from petalkit import ErrorCode, Settings
from petalkit.cli._app import make_app

from .conftest import EXAMPLES, ROOT

_spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
assert _spec is not None
assert _spec.loader is not None
generate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate)

DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
    *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts),
]
LINES_MAX = 120  # of a page that is read from top to bottom
README_LINES_MAX = 130
# What is looked up, compared line by line with something, or a test report, is as long as that is.
LOOKED_UP = {
    *("api.md", "settings.md", "statistics.md", "errors.md", "cli.md", "types.md"),
    *("guide.md", "migration.md", "by-hand.md", "troubleshooting.md", "design.md"),
    *("benchmarks/broker.md", "performance.md", "tried.md", "loads.md", "soak.md"),
}
TUTORIAL_LINES_MAX = 320  # one story, with its files in full
LIMIT = 120.0  # seconds, for a process on a busy machine
_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page, without the indentation of a list around them.

    What is generated into it is left out: that has tests of its own.
    """
    found: list[str] = []
    for indent, name, text in _BLOCK.findall(generate.without_regions(page.read_text())):
        if name == language:
            found.append("".join(line.removeprefix(indent) for line in text.splitlines(True)))
    return found


def name_of(page: Path) -> str:
    return str(page.relative_to(DOCS)) if page.is_relative_to(DOCS) else page.name


# The tutorial is followed as it is written, by test_tutorial.py.
PYTHON_PAGES = [page for page in PAGES if blocks(page, "python") and name_of(page) != "tutorial.md"]


def test_pages_are_found() -> None:
    assert {"README.md", "handlers.md", "testing.md", "how-to/lock.md"} <= set(
        map(name_of, PYTHON_PAGES)
    )


@pytest.mark.process
@pytest.mark.parametrize("page", PYTHON_PAGES, ids=name_of)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    """All blocks of a page as one file, its tests run by pytest; or only run when it has none."""
    code = "\n\n".join(blocks(page, "python"))
    (tmp_path / "my_petal.py").write_text(code)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\nfilterwarnings = error\n")
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if "def test_" in code else []
    result = subprocess.run(
        [sys.executable, *tests, "my_petal.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    if tests:
        assert f"{code.count('def test_')} passed" in result.stdout


def command_lines(page: Path) -> Iterator[list[str]]:
    """What follows `petalkit` on the command lines of a page, placeholders left out."""
    for block in blocks(page, "console"):
        for line in block.splitlines():
            if line.startswith("$ ") and "petalkit " in line and "pip install" not in line:
                command = re.sub(r"\[.*\]|\.\.\.| &$", "", line.partition("petalkit ")[2])
                yield shlex.split(command)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_command_lines_of_a_page_are_understood(page: Path) -> None:
    app = make_app()
    for tokens in command_lines(page):
        app.parse_args(tokens, exit_on_error=False, print_error=False)


def test_command_lines_are_found() -> None:
    assert ["demo", "--once"] in list(command_lines(ROOT / "docs" / "tutorial.md"))
    assert len(list(command_lines(ROOT / "README.md"))) >= 2


def test_the_readme_opens_with_the_greeting() -> None:
    assert blocks(ROOT / "README.md", "python")[0] in (EXAMPLES / "greeting.py").read_text()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_files_that_a_page_links_to_are_there(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_can_be_read_where_nothing_is_built(page: Path) -> None:
    """What only the site understands is for the site only."""
    text = generate.SITE.sub("", page.read_text())
    assert not re.findall(r"^(?:```|:::)\{.*$", text, re.MULTILINE)


def test_what_the_code_knows_better_is_current_in_the_pages() -> None:
    for path, text in generate.current().items():
        assert path.read_text() == text, f"{path}: run python docs/generate.py"


@pytest.mark.parametrize("marker", ["table: none", "code: ../none.py", "table: settings"])
def test_a_region_that_nobody_can_make_is_an_error(marker: str) -> None:
    end = "" if marker == "table: settings" else f"<!-- /{marker.partition(':')[0]} -->\n"
    with pytest.raises(generate.GenerateError):
        generate.page(f"# Page\n\n<!-- {marker} -->\n{end}")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_is_no_longer_than_can_be_read(page: Path) -> None:
    text = generate.SITE.sub("", generate.without_regions(page.read_text()))
    most = {
        "README.md": README_LINES_MAX,
        "CONTRIBUTING.md": LINES_MAX,
        "tutorial.md": TUTORIAL_LINES_MAX,
    }.get(name_of(page), LINES_MAX)
    assert name_of(page) in LOOKED_UP or len(text.splitlines()) <= most


def test_every_error_code_is_explained_with_whether_it_is_retryable() -> None:
    text = (ROOT / "docs" / "errors.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)` \| .*? \| (yes|no) \|", text, re.MULTILINE)
    assert rows == [(str(code), "yes" if code.retryable else "no") for code in ErrorCode]


def test_every_setting_has_what_its_table_needs() -> None:
    """The table of the page is made from it."""
    for field in Settings.__attrs_attrs__:
        assert field.metadata["help"].endswith("."), field.name
        assert isinstance(field.metadata["unit"], str), field.name


def test_the_limits_of_a_stop_are_those_of_the_docs() -> None:
    from petalkit._serving.process.run import STOP_MARGIN, stop_limit

    text = (ROOT / "docs" / "stopping.md").read_text()
    assert f"a stop takes {stop_limit(Settings()):g} s at most" in text
    assert f"{STOP_MARGIN:g} s after the sum of the limits" in text
