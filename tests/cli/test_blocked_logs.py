"""Whoever reads the log stops, goes away or presses Ctrl-S: commands, stop and signals go on."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from petalkit import Settings
from petalkit.client import open_client

from ..brokers import Mosquitto
from .programs import LIMIT, WHO

pytestmark = pytest.mark.process

COMMANDS = 1000
AT_ONCE = 50
STOPPED_WITHIN = 2.0  # seconds; 0.01 are usual, and a loaded machine is slow
ENDED_WITHIN = 10.0  # seconds, of which the last words wait 0.25

# What a petal writes by itself goes the same way: printed, and by a handler of its own.
CHATTY = """
import logging, sys, warnings
import trio
from petalkit import Petal, command

own = logging.getLogger("own")
own.propagate = False
own.addHandler(logging.StreamHandler(sys.stderr))

class Chatty(Petal):
    name = "chatty"

    @command("say", concurrency=100)
    async def say(self):
        print("printed " + "x" * 100)
        own.warning("of a handler of its own")
        own.warning("%d is no number", "x")  # the traceback goes to standard error

    @command("hang", idempotent=True)
    async def hang(self):
        with trio.CancelScope(shield=True):
            await trio.sleep(600)

    @command("stop", urgent=True)
    async def stop(self):
        print("stopped")
        return {"stopped": True}
"""


class Reader:
    """Of the log of a program."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._process: subprocess.Popen[bytes] | None = None
        if kind in ("terminal", "hung up"):
            self.end, self.log = pty.openpty()
        elif kind == "socket":
            ours, theirs = socket.socketpair()
            self.end, self.log = ours.detach(), theirs.detach()
        else:
            self.end, self.log = os.pipe()
        self._text = b""

    def read_until(self, pattern: bytes) -> None:
        end = time.monotonic() + LIMIT
        while not re.search(pattern, self._text):
            assert select.select([self.end], [], [], end - time.monotonic())[0], self._text
            self._text += os.read(self.end, 65_536)

    def go_wrong(self) -> None:
        """From now on nobody reads."""
        if self.kind == "terminal":
            termios.tcflow(self.log, termios.TCOOFF)
        elif self.kind == "stopped":
            self._process = subprocess.Popen(
                ["cat"], stdin=self.end, stdout=subprocess.DEVNULL, close_fds=True
            )
            self._process.send_signal(signal.SIGSTOP)
        elif self.kind in ("gone", "hung up"):
            self.close()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(LIMIT)
            self._process = None
        for descriptor in (self.end, self.log):
            if descriptor != -1:
                os.close(descriptor)
        self.end = self.log = -1


class Served:
    """`petalkit run` whose output goes to such a reader."""

    def __init__(self, mosquitto: Mosquitto, kind: str, folder: Path) -> None:
        (folder / "chatty.py").write_text(CHATTY)
        self.settings = Settings(broker=mosquitto.url, organization_id=WHO[1], device_id=WHO[3])
        self.reader = Reader(kind)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "petalkit", "run", "chatty.py", "--broker", mosquitto.url, *WHO],
            stdin=subprocess.DEVNULL,
            stdout=self.reader.log,
            stderr=self.reader.log,
            start_new_session=True,  # the terminal of a test is not its own
        )
        try:
            self.reader.read_until(b"connected as client")
        except BaseException:
            self.close()
            raise

    async def call_all(self) -> int:
        """Call, and say how many were answered; then have it hang in a handler."""
        answered = 0
        async with open_client(self.settings) as client:

            async def call() -> None:
                nonlocal answered
                await client.call("chatty/say", timeout=LIMIT)
                answered += 1

            for _ in range(COMMANDS // AT_ONCE):
                async with trio.open_nursery() as nursery:
                    for _ in range(AT_ONCE):
                        nursery.start_soon(call)
            began = trio.current_time()
            response = await client.request("chatty/stop", timeout=LIMIT)
            assert response.fields["stopped"] is True
            assert trio.current_time() - began < STOPPED_WITHIN
        return answered

    async def hang(self) -> None:
        async with open_client(self.settings) as client:
            await client.send("chatty/hang")
            await client.call("chatty/stop", timeout=LIMIT)  # which comes after it

    def end(self, *, signals: int) -> int:
        """The exit code; the process has to end soon."""
        for _ in range(signals):
            self.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)  # two of one kind that come together are one to the kernel
        return self.process.wait(ENDED_WITHIN)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(LIMIT)
        self.reader.close()


@pytest.fixture(params=["unread", "stopped", "terminal", "socket", "gone", "hung up"])
def served(
    request: pytest.FixtureRequest, mosquitto: Mosquitto, tmp_path: Path
) -> Iterator[Served]:
    program = Served(mosquitto, request.param, tmp_path)
    try:
        program.reader.go_wrong()
        yield program
    finally:
        program.close()


def test_all_are_answered_and_two_signals_end_what_hangs(served: Served) -> None:
    assert trio.run(served.call_all) == COMMANDS
    trio.run(served.hang)
    assert served.end(signals=2) == 3


def test_all_are_answered_and_one_signal_stops_in_order(served: Served) -> None:
    assert trio.run(served.call_all) == COMMANDS
    assert served.end(signals=1) == 0


def run(
    script: str, *, limit: float = LIMIT, read: bool = True, slow: bool = False
) -> tuple[int, bytes]:
    """Run a script whose output is read at once, slowly, or not at all before its end."""
    reader, writer = os.pipe()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", script], stdout=writer, stderr=writer, stdin=subprocess.DEVNULL
        ) as process:
            os.close(writer)
            try:
                if not read:
                    return process.wait(limit), b""
                text = b""
                while data := os.read(reader, 65_536):
                    text += data
                    if slow:
                        time.sleep(0.02)
                return process.wait(limit), text
            finally:
                process.kill()
    finally:
        os.close(reader)


RELEASED = """
import sys
from petalkit._serving.process.standard_streams import release_standard_streams
release_standard_streams()
"""


def test_the_end_of_python_does_not_wait_for_the_reader() -> None:
    code, _ = run(RELEASED + "print('x' * 200_000)\nsys.exit(7)", limit=ENDED_WITHIN, read=False)
    assert code == 7


def test_an_exception_that_ends_the_process_is_read_whole() -> None:
    script = RELEASED + "print('y' * 200_000)\nraise ValueError('z' * 100_000)"
    code, text = run(script)
    assert code == 1
    assert text.startswith(b"y" * 200_000 + b"\nTraceback")
    assert text.rstrip().endswith(b"ValueError: " + b"z" * 100_000)


def test_output_and_errors_keep_their_order_where_one_reads_both() -> None:
    script = RELEASED + (
        "for number in range(2000):\n"
        "    print(f'{number:4} ' + 'x' * 100)\n"
        "    print(f'{number:4} ' + 'x' * 100, file=sys.stderr)\n"
    )
    _, text = run(script)
    numbers = [int(line[:4]) for line in text.splitlines()]
    assert numbers == sorted(numbers)
    assert len(numbers) == 4000


def test_what_a_forked_child_prints_is_read_whole() -> None:
    script = RELEASED + (
        "import multiprocessing\n"
        "def child():\n"
        "    for number in range(3000):\n"
        "        print(f'{number:4} ' + 'x' * 100)\n"
        "print('parent')\n"
        "one = multiprocessing.get_context('fork').Process(target=child)\n"
        "one.start(); one.join()\n"
    )
    _, text = run(script, slow=True)
    first, *rest = text.splitlines()
    assert first == b"parent"
    assert [int(line[:4]) for line in rest] == list(range(3000))


def test_the_streams_are_streams_to_all_who_use_them() -> None:
    script = RELEASED + (
        "import subprocess, os\n"
        "sys.stdout.buffer.write(b'bytes\\n')\n"
        "print('no line', end='')\n"
        "sys.stdout.flush()\n"
        "subprocess.run(['echo', ', of a child'], stdout=sys.stdout)\n"
        "print(sys.stdout.fileno(), sys.stderr.fileno(), sys.stdout.isatty(), sys.stdout.name)\n"
        "print('\\ud800', file=sys.stderr)\n"
    )
    assert run(script) == (0, b"bytes\nno line, of a child\n1 2 False <stdout>\n\\ud800\n")


LEFT = """
import threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
"""


def test_a_second_signal_after_the_stop_ends_what_python_waits_for(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    (tmp_path / "left.py").write_text(CHATTY + LEFT)
    with subprocess.Popen(
        [sys.executable, "-m", "petalkit", "run", "left.py", "--broker", mosquitto.url, *WHO],
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    ) as process:
        assert process.stderr is not None
        try:
            while b"connected as client" not in process.stderr.readline():
                pass
            process.send_signal(signal.SIGTERM)
            while b"petalkit.runtime stopped" not in process.stderr.readline():
                pass
            time.sleep(0.5)  # Python waits for the thread by now, mostly; if not, it is the same
            process.send_signal(signal.SIGTERM)
            assert process.wait(ENDED_WITHIN) == 3
        finally:
            process.kill()
