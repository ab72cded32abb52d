"""Fixtures for the stories: petals in files, and programs that end with their test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .kit import Program

Start = Callable[..., Program]

GUIDE = '''
"""The guide's petal."""
import attrs
from petalkit import Petal, command


@attrs.frozen
class Greeting:
    name: str = "World"


class ExamplePetal(Petal):
    name = "example-petal"
    version = "1.0.0"

    @command("hello")
    async def hello(self, data: Greeting):
        return {"message": f"Hello, {data.name}!"}
'''

WORK = '''
"""What a handler can do to a runtime. Every start is noted in the file `runs`."""
import math
import os
import time
from pathlib import Path

import trio
from petalkit import Petal, command


class Work(Petal):
    name = "work"
    version = "1.0.0"

    def __init__(self):
        self.stopped = trio.Event()
        self.runs = os.open("runs", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def note(self, n: int):
        os.write(self.runs, b"%d\\n" % n)

    @command("echo")
    async def echo(self, n: int):
        self.note(n)
        return {"n": n}

    @command("tick")
    async def tick(self, n: int):
        self.note(n)
        await trio.sleep(0.001)
        return {"n": n}

    @command("narrow", concurrency=2)
    async def narrow(self, n: int):
        self.note(n)
        await trio.sleep(0.001)
        return {"n": n}

    @command("wait", timeout=math.inf)
    async def wait(self, seconds: float, n: int = 0):
        self.note(n)
        await trio.sleep(seconds)
        return {"waited": seconds}

    @command("wait-for-file", timeout=math.inf)
    async def wait_for_file(self, n: int):
        self.note(n)
        while not Path("gate").exists():
            await trio.sleep(0.02)
        return {"n": n}

    @command("wait-for-stop", timeout=math.inf)
    async def wait_for_stop(self, n: int):
        await self.stopped.wait()
        return {"n": n}

    @command("stop", urgent=True)
    async def stop(self):
        self.stopped.set()

    @command("block")
    async def block(self):
        print("blocking", flush=True)
        time.sleep(300)
'''


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PETALKIT_"):
            monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the programs run: petals, and what they write."""
    made = tmp_path / "device"
    made.mkdir()
    (made / "example.py").write_text(GUIDE)
    (made / "work.py").write_text(WORK)
    return made


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Start `petalkit` in the background; whatever still runs at the end is killed."""
    with ExitStack() as stack:

        def start_program(*arguments: str) -> Program:
            program = Program(folder, *arguments)
            stack.callback(program.close)
            return program

        yield start_program


@pytest.fixture
def runs(folder: Path) -> Callable[[], list[int]]:
    """Which commands the petal `work` has started, in order."""

    def read() -> list[int]:
        file = folder / "runs"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    return read
