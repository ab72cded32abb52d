"""The scripts find a Python that works, whatever the names on the PATH promise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"


def find_python(**environment: str) -> subprocess.CompletedProcess[str]:
    """What `find_python` of scripts/_environment finds, or how it fails."""
    command = '. "$(dirname "$0")/_environment"; find_python; echo "$python_version $python"'
    return subprocess.run(
        ["/bin/sh", "-euc", command, str(SCRIPTS / "test")],
        env={**os.environ, "PETALKIT_PYTHON": "", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def program(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "script",
    [
        "demo",
        "docs",
        "test",
        "check",
        "fuzz",
        "load",
        "npm",
        "page",
        "pictures",
        "_environment",
        "_mosquitto",
    ],
)
def test_a_posix_shell_can_read_it(script: str) -> None:
    subprocess.run(["/bin/sh", "-n", SCRIPTS / script], check=True, timeout=60)


def test_a_shim_that_only_says_not_installed_is_passed_over(tmp_path: Path) -> None:
    for name in ("python3", "python3.12", "python3.13", "python3.11"):
        program(tmp_path, name, 'echo "pyenv: $0: command not found" >&2; exit 127')
    real = tmp_path / "real"
    real.mkdir()
    (real / "python").symlink_to(sys.executable)
    found = find_python(PATH=f"{tmp_path}:{real}:{os.environ['PATH']}")
    assert found.returncode == 0, found.stderr
    version, path = found.stdout.strip().split(" ", 1)
    assert (3, 11) <= tuple(map(int, version.split(".")[:2])) < (3, 14)
    assert not path.startswith(f"{tmp_path}/python")


def test_an_old_python_is_passed_over(tmp_path: Path) -> None:
    """It runs the probe, prints nothing, and is no candidate."""
    program(tmp_path, "python3", "exit 0")
    found = find_python(PATH=f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert found.returncode == 0, found.stderr
    assert not found.stdout.strip().endswith(f"{tmp_path}/python3")


def test_a_named_python_that_does_not_work_is_refused(tmp_path: Path) -> None:
    named = program(tmp_path, "python3", "exit 127")
    found = find_python(PETALKIT_PYTHON=str(named))
    assert found.returncode == 1
    assert "is not a working Python 3.11 to 3.13" in found.stderr


def test_a_python_that_cannot_make_environments_says_what_to_install(tmp_path: Path) -> None:
    named = program(tmp_path, "python3", "echo 3.12.0 cannot /usr/bin/python3")
    found = find_python(PETALKIT_PYTHON=str(named))
    assert found.returncode == 1
    assert "apt-get install python3-venv" in found.stderr


def test_where_there_is_no_fuzzer_that_is_said_and_is_no_failure(tmp_path: Path) -> None:
    """CI goes on after this exit code, and after no other."""
    named = program(
        tmp_path, "python3", 'case "$*" in *-c*) echo macOS-14 ;; *) echo 3.12.0 venv "$0" ;; esac'
    )
    done = subprocess.run(
        [SCRIPTS / "fuzz", "1"],
        env={**os.environ, "PETALKIT_PYTHON": str(named)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 69
    assert done.stderr == "NOT FUZZED: there is no wheel of atheris for Python 3.12.0 on macOS-14\n"
    assert "= 69 ]" in (ROOT / ".ci" / "run").read_text()
