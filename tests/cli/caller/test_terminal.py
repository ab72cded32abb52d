"""Callers on a real terminal, with real signals, at a real broker."""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ...brokers import Mosquitto
from ..programs import LIMIT, WHO, Start, petalkit, serve

pytestmark = [pytest.mark.broker, pytest.mark.process]

LONG = """
import trio
from petalkit import Job, Petal, job, stream

class Long(Petal):
    name = "long"

    @job("copy")
    async def copy(self, job: Job, count: int = 3):
        try:
            for done in range(count):
                await job.progress(done / count, f"file [bold]{done}[/bold] \\x1b[2J")
                await trio.sleep(0.1)
        except trio.Cancelled:
            print("cleaned up", flush=True)
            raise
        return {"copied": count}

    @stream("numbers")
    async def numbers(self):
        n = 0
        while True:
            yield {"n": n}
            n += 1
            await trio.sleep(0.02)
"""
CURSOR_OFF, CURSOR_ON = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture
def device(start: Start, mosquitto: Mosquitto, tmp_path: Path) -> str:
    """The address of a broker at which a device serves."""
    (tmp_path / "long.py").write_text(LONG)
    serve(start, mosquitto, "long.py")
    return mosquitto.url


class Terminal:
    """A program with a terminal of its own, read and typed into by a test."""

    def __init__(self, *arguments: str, columns: int = 100, **environment: str) -> None:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        env = {**os.environ, "TERM": "xterm", **environment}
        env.pop("COLUMNS", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "petalkit", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=env,
            start_new_session=True,
        )
        os.close(slave)
        self._master = master
        self.text = ""

    def read_until(self, pattern: str) -> str:
        """All that was shown, once it matches."""
        deadline = time.monotonic() + LIMIT
        while not re.search(pattern, self.text):
            ready, _, _ = select.select([self._master], [], [], deadline - time.monotonic())
            if not ready or not self._read():
                pytest.fail(f"no {pattern!r} in {self.text!r}")
        return self.text

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: the program has ended
            return False
        self.text += data.decode("utf-8", "replace")
        return bool(data)

    def interrupt(self) -> None:
        """Ctrl-C, as a terminal sends it to a program."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Read all that follows, and the exit code."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            ready, _, _ = select.select([self._master], [], [], 0.1)
            if ready and not self._read():
                break
            if not ready and self.process.poll() is not None:
                break
        return self.process.wait(LIMIT)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(LIMIT)
        os.close(self._master)


@contextlib.contextmanager
def terminal(*arguments: str, **environment: str) -> Iterator[Terminal]:
    opened = Terminal(*arguments, **environment)
    try:
        yield opened
    finally:
        opened.close()


def test_a_job_on_a_terminal_has_a_bar_and_then_its_result(device: str) -> None:
    with terminal("call", "long/copy", '{"count": 8}', "--broker", device, *WHO) as seen:
        assert seen.end() == 0
    assert CURSOR_OFF in seen.text
    assert seen.text.rfind(CURSOR_ON) > seen.text.rfind(CURSOR_OFF)
    assert "long/copy" in seen.text
    assert "[bold]" in seen.text  # as it was said
    assert "\x1b[2J" not in seen.text
    assert "\\x1b[2J" in seen.text
    result = seen.text[seen.text.rindex('{\r\n  "job_id"') :]
    assert '"copied": 8' in result


def test_one_ctrl_c_cancels_the_job_and_shows_its_end(device: str) -> None:
    with terminal("call", "long/copy", '{"count": 1000}', "--broker", device, *WHO) as seen:
        seen.read_until(r"running \d")
        seen.interrupt()
        assert seen.end() == 130
    assert "cancelling job" in seen.text
    assert "ended as cancelled" in seen.text
    assert '"state": "cancelled"' in seen.text
    assert seen.text.rfind(CURSOR_ON) > seen.text.rfind(CURSOR_OFF)
    found = petalkit("jobs", "--json", "--broker", device, *WHO)
    assert json.loads(found.stdout)["jobs"] == []


def test_two_ctrl_c_leave_at_once_whatever_waits(device: str, mosquitto: Mosquitto) -> None:
    with terminal("call", "long/copy", '{"count": 1000}', "--broker", device, *WHO) as seen:
        seen.read_until(r"running \d")
        mosquitto.freeze()  # no answer, no farewell, no DISCONNECT
        try:
            seen.interrupt()
            seen.read_until("cancelling job")
            began = time.monotonic()
            seen.interrupt()
            assert seen.end() == 130
            assert time.monotonic() - began < 1.5
        finally:
            mosquitto.thaw()
    assert seen.text.rfind(CURSOR_ON) > seen.text.rfind(CURSOR_OFF)


def test_a_pipe_gets_no_escape_sequence_and_forced_colours_no_bar(device: str) -> None:
    for environment in ({}, {"FORCE_COLOR": "1"}, {"FORCE_COLOR": "1", "NO_COLOR": "1"}):
        done = subprocess.run(
            [sys.executable, "-m", "petalkit", "watch", "--count", "1", "--broker", device, *WHO],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=True,
            env={**os.environ, "TERM": "xterm", **environment},
        )
        assert ("\x1b[" in done.stdout) is (environment == {"FORCE_COLOR": "1"})
        called = subprocess.run(
            [sys.executable, "-m", "petalkit", "call", "long/copy", "--broker", device, *WHO],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=True,
            env={**os.environ, "TERM": "xterm", **environment},
        )
        assert called.stderr == ""
        assert json.loads(called.stdout)["state"] == "succeeded"


def test_a_terminal_without_colours_gets_none(device: str) -> None:
    watched = ("watch", "--count", "1", "--broker", device, *WHO)
    with terminal(*watched, NO_COLOR="1") as plain:
        assert plain.end() == 0
    with terminal(*watched) as coloured:
        assert coloured.end() == 0
    assert "\x1b[" not in plain.text
    assert "\x1b[" in coloured.text


def test_a_reader_that_has_had_enough_ends_a_watch_quietly(device: str) -> None:
    watch = subprocess.Popen(
        [
            *(sys.executable, "-m", "petalkit", "watch", "long/numbers", "--rate", "50"),
            *("--broker", device, *WHO),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watch.stdout is not None
    assert watch.stderr is not None
    try:
        assert "long/numbers" in watch.stdout.readline()
        watch.stdout.close()
        assert watch.wait(LIMIT) == 0
        assert watch.stderr.read() == ""
    finally:
        watch.kill()
        watch.wait(LIMIT)
        watch.stderr.close()


def test_a_terminated_call_leaves_the_job_and_the_terminal_as_they_were(device: str) -> None:
    with terminal("call", "long/copy", '{"count": 1000}', "--broker", device, *WHO) as seen:
        seen.read_until(r"running \d")
        seen.process.terminate()
        assert seen.end() == 143
    assert seen.text.rfind(CURSOR_ON) > seen.text.rfind(CURSOR_OFF)
    found = json.loads(petalkit("jobs", "--json", "--broker", device, *WHO).stdout)
    (job,) = found["jobs"]
    ended = petalkit("cancel", job["job_id"], "--json", "--broker", device, *WHO)
    assert ended.returncode == 0


def test_two_ctrl_c_end_a_watch_that_nobody_reads(device: str) -> None:
    """Its event loop stands in a write to a full pipe, so only the signal handler can leave."""
    reader, writer = os.pipe()
    watch = subprocess.Popen(
        [
            *(sys.executable, "-m", "petalkit", "watch", "long/numbers", "--rate", "50", "--json"),
            *("--broker", device, *WHO),
        ],
        stdout=writer,
        stderr=subprocess.DEVNULL,
    )
    os.close(writer)
    try:
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
        size, deadline = array.array("i", [0]), time.monotonic() + LIMIT
        while size[0] < 3900 and time.monotonic() < deadline:
            time.sleep(0.05)
            fcntl.ioctl(reader, termios.FIONREAD, size)
        time.sleep(0.2)
        watch.send_signal(signal.SIGINT)
        time.sleep(0.2)
        assert watch.poll() is None
        watch.send_signal(signal.SIGINT)
        assert watch.wait(5) == 130
    finally:
        watch.kill()
        watch.wait(LIMIT)
        os.close(reader)
