"""The tools of npm, and clients made of the petal of these tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from petalkit import Petal, Settings
from petalkit.cli._schema.command import Format, Wanted, make_files
from petalkit.cli._schema.contract import Contract
from petalkit.cli._schema.sources import contract_of_petals

from .programs.camera import CameraPetal

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
NPM = HERE.parents[1] / "npm"
LIMIT = 120.0  # seconds, for a process on a busy machine
STRICT = [
    *("--strict", "--skipLibCheck", "false", "--target", "es2022", "--module", "nodenext"),
    *("--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes", "--noImplicitOverride"),
    *("--noUnusedLocals", "--noUnusedParameters", "--noImplicitReturns"),
    *("--erasableSyntaxOnly", "--verbatimModuleSyntax", "--types", "node"),
]


def contract_of(*petals: Petal) -> Contract:
    return contract_of_petals(list(petals), Settings())


@pytest.fixture(scope="session")
def camera() -> Contract:
    return contract_of(CameraPetal())


def files_of(contract: Contract, kind: Format) -> Mapping[str, str]:
    """As they are in a folder."""
    return make_files(contract, Wanted(kind), in_folder=True)


class Node:
    """Programs of npm packages."""

    def __init__(self) -> None:
        self.binary = shutil.which("node") or ""

    def project(self, folder: Path, files: Mapping[str, str]) -> Path:
        """A folder with these files in which those packages are found."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"type": "module"}')
        (folder / "node_modules").symlink_to(NPM / "node_modules")
        for name, text in files.items():
            (folder / name).write_text(text)
        return folder

    def compile(
        self, folder: Path, *more: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """All TypeScript of a folder, strictly, into `out` there."""
        sources = sorted(path.name for path in folder.glob("*.ts"))
        out = ["--outDir", "out", "--rootDir", "."]
        tsc = str(NPM / "node_modules" / "typescript" / "bin" / "tsc")
        return self.run([tsc, *STRICT, *out, *more, *sources], folder, check=check)

    def run(
        self, arguments: Sequence[str], folder: Path, *, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [self.binary, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done


@pytest.fixture(scope="session")
def node() -> Node:
    found = Node()
    if not found.binary:
        pytest.skip("NO NODE: install it (Debian: apt-get install nodejs npm) to run this")
    if not (NPM / "node_modules" / "mqtt").is_dir():
        pytest.skip("NO NPM PACKAGES: run scripts/npm")
    return found


@pytest.fixture(scope="session")
def compiled(node: Node, camera: Contract, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client of the camera with the programs that use it, compiled into `out`."""
    files = dict(files_of(camera, "typescript"))
    for path in PROGRAMS.glob("*.ts"):
        files[path.name] = path.read_text("utf-8")
    folder = node.project(tmp_path_factory.mktemp("typescript") / "project", files)
    node.compile(folder)
    return folder


class Mypy:
    """`mypy --strict`, with a cache of its own."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache

    def run(self, folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(self._cache), *names],
            cwd=folder,
            env={**os.environ, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=300.0,
            check=False,
        )


@pytest.fixture(scope="session")
def mypy(tmp_path_factory: pytest.TempPathFactory) -> Mypy:
    pytest.importorskip("mypy", reason="NO MYPY: install it to check generated clients")
    return Mypy(tmp_path_factory.mktemp("mypy"))
