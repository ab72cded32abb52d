"""The real `petalkit` program, started, read and ended by a test.

Every wait here is bounded and ends as soon as what it waits for is there.
"""

from __future__ import annotations

import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

import pytest

from ..brokers import Mosquitto

LIMIT = 60.0  # seconds; a loaded machine starts slowly
WHO = ("--organization-id", "acme", "--device-id", "Instance-1")

SLOW = """
import trio
from petalkit import Petal, command

class Slow(Petal):
    name = "slow"

    @command("wait")
    async def wait(self, seconds: float):
        await trio.sleep(seconds)
        return {"waited": seconds}
"""


class Program:
    """One started `petalkit`, or another program, its output read as it comes."""

    def __init__(self, *arguments: str, python: Sequence[str] = ("-m", "petalkit.cli")) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *python, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line)
        self._queue.put(None)

    def wait_line(self, pattern: str) -> str:
        """The next line that matches, or a failure that shows all lines."""
        deadline = time.monotonic() + LIMIT
        while True:
            try:
                line = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                pytest.fail(f"no line {pattern!r} in:\n{''.join(self.lines)}")
            self.lines.append(line)
            if re.search(pattern, line):
                return line

    def wait(self) -> int:
        code = self.process.wait(LIMIT)
        self._reader.join(LIMIT)
        while (line := self._queue.get(timeout=LIMIT)) is not None:
            self.lines.append(line)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(LIMIT)
        self._reader.join(LIMIT)
        assert self.process.stdout is not None
        self.process.stdout.close()


Start = Callable[..., Program]


def petalkit(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `petalkit` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "petalkit.cli", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=LIMIT,
        check=False,
    )


def serve(start: Start, mosquitto: Mosquitto, *targets: str) -> Program:
    """Start `petalkit run`, and wait until it serves."""
    program = start("run", *targets, "--broker", mosquitto.url, *WHO)
    program.wait_line("connected as client")
    return program
