"""Fixtures for the command line: nothing of the caller's own environment gets in."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import pytest

from petalkit._serving.loggers import watch_handler
from petalkit.cli import main
from petalkit.cli._checks.broker import broker as _broker
from petalkit.cli._checks.broker import device as _device
from petalkit.cli._checks.broker import mqtt as _mqtt
from petalkit.cli._checks.broker import rights as _rights
from petalkit.compat import _install

from .checks.kit import Doctor, Report, quick
from .programs import Program, Start


@attrs.frozen
class Outcome:
    """What one run of the command line did."""

    code: int
    out: str
    err: str


RunCli = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def signals_reach_programs() -> Iterator[None]:
    """A program inherits what is ignored, as by nohup(1) and in the background of a shell."""
    ignored = [
        number
        for number in (signal.SIGINT, signal.SIGHUP)
        if signal.getsignal(number) is signal.SIG_IGN
    ]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(autouse=True)
def clean_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No PETALKIT_* variables, an empty current directory, and imports and logging undone.

    What would go into the user's state folder goes into the test's.
    """
    for name in list(os.environ):
        if name.startswith("PETALKIT_") or name == "STATE_DIRECTORY":
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    modules = set(sys.modules)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    watch_handler(None)
    logging.getLogger("petalkit").setLevel(logging.NOTSET)
    root.handlers[:], _ = handlers, root.setLevel(level)
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and Path(file).is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str]) -> RunCli:
    """Run `petalkit` in this process."""

    def run(*arguments: str) -> Outcome:
        code = main(arguments)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def start() -> Iterator[Start]:
    """Start `petalkit` in the background; whatever still runs at the end is killed."""
    with contextlib.ExitStack() as stack:

        def start_program(*arguments: str, **options: Sequence[str]) -> Program:
            program = Program(*arguments, **options)
            stack.callback(program.close)
            return program

        yield start_program


@pytest.fixture
def host_names() -> Iterator[None]:
    """No names of the host before a test, and none after it."""
    _install._uninstall()
    yield
    _install._uninstall()


@pytest.fixture
def doctor(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Run `petalkit doctor --json`; over loopback what is retained is there at once."""
    for module in (_broker, _device, _rights):
        monkeypatch.setattr(module, "RETAINED_WAIT", 0.3)
    monkeypatch.setattr(_mqtt, "PROBE_TIMEOUT", 1.0)

    def run(*arguments: str) -> Report:
        outcome = run_cli("doctor", "--json", *quick(*arguments))
        assert outcome.err == ""
        (line,) = outcome.out.splitlines()
        document = json.loads(line)
        assert set(document) == {"verdict", "checks"}
        return Report(outcome.code, document["verdict"], document["checks"])

    return run


EXAMPLE = '''
import attrs
from petalkit import Petal, command


@attrs.frozen
class Greeting:
    name: str = "World"


class ExamplePetal(Petal):
    """Says hello."""

    name = "example-petal"
    version = "1.0.0"

    @command("hello")
    async def hello(self, data: Greeting):
        """Greet somebody."""
        return {"message": f"Hello, {data.name}!"}
'''


@pytest.fixture
def example_file(tmp_path: Path) -> Path:
    """The petal of the README in a file."""
    path = tmp_path / "example.py"
    path.write_text(EXAMPLE)
    return path
