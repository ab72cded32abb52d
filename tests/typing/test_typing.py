"""Type checkers see handlers as they are written: `handlers.py` says what they must find."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HANDLERS = Path(__file__).with_name("handlers.py")
ROOT = Path(__file__).parents[2]
LIMIT = 300.0  # seconds, for a machine without a cache

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None,
    reason="NO MYPY: install it (pip install mypy) to check types as petal authors see them",
)


def mypy(path: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache)),
            *("--config-file", str(ROOT / "pyproject.toml"), str(path)),
        ],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


def test_the_decorator_keeps_what_mypy_knows_of_a_handler(cache: Path) -> None:
    done = mypy(HANDLERS, cache)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_should_be_refused_is_refused(cache: Path, tmp_path: Path) -> None:
    """Without its ignores each marked line, and no other, is an error."""
    text = HANDLERS.read_text("utf-8")
    bare = tmp_path / "bare.py"
    bare.write_text(re.sub(r"  # type: ignore\[[^\]]*\].*", "", text), "utf-8")
    wanted = {n for n, line in enumerate(text.splitlines(), 1) if "  # type: ignore[" in line}
    done = mypy(bare, cache)
    found = {int(n) for n in re.findall(r"bare\.py:(\d+): error", done.stdout)}
    assert found == wanted, done.stdout + done.stderr
