"""Whatever a petal or the reader of the log does: signals end the process, and nothing is kept."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..brokers import Mosquitto
from .programs import LIMIT, SLOW, WHO, Start, petalkit, serve

pytestmark = pytest.mark.process

FORKING = """
import multiprocessing, os, time
from petalkit import Petal, command

class Forking(Petal):
    name = "forking"

    @command("fork")
    async def fork(self):
        self.child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        self.child.start()
        return {"pid": self.child.pid}

    @command("end")
    async def end(self):
        self.child.terminate()
        self.child.join(20)
        return {"code": self.child.exitcode}
"""

# Held by the standard library, in C, so that no Python runs in the main thread.
BLOCKED = """
import time
from petalkit import Petal, command

class Blocked(Petal):
    name = "blocked"

    @command("block")
    async def block(self):
        time.sleep(600)

    @command("stop", urgent=True)
    async def stop(self):
        return {"stopped": True}
"""


def call(mosquitto: Mosquitto, *arguments: str) -> dict[str, object]:
    done = petalkit("call", *arguments, "--broker", mosquitto.url, *WHO, "--json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.fixture
def children() -> Iterator[list[int]]:
    """Process numbers that are ended at the end."""
    made: list[int] = []
    yield made
    for process in made:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue


def test_a_forked_child_can_be_ended(
    start: Start, mosquitto: Mosquitto, tmp_path: Path, children: list[int]
) -> None:
    (tmp_path / "forking.py").write_text(FORKING)
    program = serve(start, mosquitto, "forking.py")
    children.append(int(str(call(mosquitto, "forking/fork")["pid"])))
    assert call(mosquitto, "forking/end")["code"] == -signal.SIGTERM
    program.process.send_signal(signal.SIGTERM)
    assert program.wait() == 0, "".join(program.lines)


def test_a_child_that_outlives_its_parent_keeps_neither_the_journal_nor_the_link(
    start: Start, mosquitto: Mosquitto, tmp_path: Path, children: list[int]
) -> None:
    (tmp_path / "forking.py").write_text(FORKING)
    program = serve(start, mosquitto, "forking.py")
    child = int(str(call(mosquitto, "forking/fork")["pid"]))
    children.append(child)
    open_sockets = [
        os.readlink(entry.path) for entry in os.scandir(f"/proc/{child}/fd") if entry.is_symlink()
    ]
    broker_port = mosquitto.url.rpartition(":")[2]
    inodes = {line.split()[9] for line in _connections_to(int(broker_port))}
    assert inodes
    assert not {f"socket:[{inode}]" for inode in inodes} & set(open_sockets)
    program.process.kill()
    program.process.wait(LIMIT)
    again = serve(start, mosquitto, "forking.py")
    again.process.send_signal(signal.SIGTERM)
    assert again.wait() == 0, "".join(again.lines)
    os.kill(child, signal.SIGKILL)  # it holds the output of its parent, as children do


def _connections_to(port: int) -> list[str]:
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return [line for line in lines if line.split()[2].endswith(f":{port:04X}")]


class Unread:
    """`petalkit run` with a log that nobody reads, and a pipe that is full."""

    def __init__(self, mosquitto: Mosquitto, *targets: str, grace: str = "10") -> None:
        self.reader, writer = os.pipe()
        arguments = ["run", *targets, "--broker", mosquitto.url, *WHO, "--log-level", "debug"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "petalkit", *arguments, "--grace", grace],
            stdin=subprocess.DEVNULL,
            stderr=writer,
        )
        self._writer = writer
        self.log = b""

    def read_until(self, pattern: str) -> None:
        end = time.monotonic() + LIMIT
        while not re.search(pattern.encode(), self.log):
            assert select.select([self.reader], [], [], end - time.monotonic())[0], self.log
            self.log += os.read(self.reader, 65_536)

    def fill(self) -> None:
        """Leave no room for one more line."""
        os.set_blocking(self._writer, False)
        try:
            while True:
                os.write(self._writer, b"\n" * 512)
        except BlockingIOError:
            os.set_blocking(self._writer, True)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(LIMIT)
        os.close(self.reader)
        os.close(self._writer)


def test_a_log_that_nobody_reads_stops_no_command_and_no_stop(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    (tmp_path / "blocked.py").write_text(BLOCKED)
    program = Unread(mosquitto, "blocked.py")
    try:
        program.read_until("connected as client")
        program.fill()
        for _ in range(3):
            assert call(mosquitto, "blocked/stop")["stopped"] is True
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(LIMIT) == 0
    finally:
        program.close()


def test_a_second_signal_ends_a_blocked_handler_with_a_log_that_nobody_reads(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    (tmp_path / "blocked.py").write_text(BLOCKED)
    program = Unread(mosquitto, "blocked.py", grace="600")
    try:
        program.read_until("connected as client")
        command = ["call", "blocked/block", "--timeout", "600", "--broker", mosquitto.url, *WHO]
        with subprocess.Popen([sys.executable, "-m", "petalkit", *command]) as caller:
            program.read_until("blocks the event loop|blocked")
            program.fill()
            program.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)  # two of one kind that come together are one to the kernel
            program.process.send_signal(signal.SIGTERM)
            assert program.process.wait(LIMIT) == 3
            caller.kill()
    finally:
        program.close()


def test_a_terminal_that_goes_away_stops_gracefully(
    start: Start, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    program = serve(start, mosquitto, "slow.py")
    caller = start("call", "slow/wait", '{"seconds": 1}', "--broker", mosquitto.url, *WHO, "--json")
    program.wait_line("received.*command=slow/wait")
    program.process.send_signal(signal.SIGHUP)
    program.wait_line("SIGHUP: stopping")
    program.process.send_signal(signal.SIGHUP)  # the shell says it too
    assert caller.wait() == 0, "".join(caller.lines)
    assert program.wait() == 0, "".join(program.lines)


def test_systemd_is_told(start: Start, mosquitto: Mosquitto, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(address))
        listener.settimeout(LIMIT)
        environment = {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "2000000"}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            program = start("run", "slow.py", "--broker", mosquitto.url, *WHO)
        heard = ""
        while not re.search(
            "READY=1.*STATUS=connected; commands: 0 running.*WATCHDOG=1", heard, 16
        ):
            heard += listener.recv(4096).decode()
        program.process.send_signal(signal.SIGTERM)
        assert program.wait() == 0, "".join(program.lines)
        while "STOPPING=1" not in heard:
            heard += listener.recv(4096).decode()


@pytest.mark.parametrize("how", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(how: str, example_file: Path) -> None:
    command = f'"{sys.executable}" -m petalkit list "{example_file}" {how}'
    done = subprocess.run(["/bin/sh", "-c", command], timeout=LIMIT, check=False)
    assert done.returncode == 0


def test_a_clean_stop_with_a_closed_output_is_clean(mosquitto: Mosquitto, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    command = (
        f'exec "{sys.executable}" -m petalkit run slow.py --broker {mosquitto.url} '
        f"{' '.join(WHO)} >&-"
    )
    with subprocess.Popen(["/bin/sh", "-c", command], stderr=subprocess.PIPE) as program:
        assert program.stderr is not None
        try:
            while b"connected as client" not in program.stderr.readline():
                pass
            program.send_signal(signal.SIGTERM)
            program.stderr.read()
            assert program.wait(LIMIT) == 0
        finally:
            program.kill()


# Python takes its handlers away before it takes modules apart.
LASTING = """
import atexit, os, time
from petalkit import Petal

class Lasting(Petal):
    name = "lasting"

class Slow:
    def __del__(self):
        os.write(2, b"taken apart\\n")
        time.sleep(20)

slow = Slow()

@atexit.register
def leave():
    os.write(2, b"at exit\\n")
    time.sleep(SECONDS)
"""


def test_no_second_signal_meets_python_without_our_handlers(
    start: Start, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    (tmp_path / "lasting.py").write_text(LASTING.replace("SECONDS", "0"))
    program = serve(start, mosquitto, "lasting.py")
    program.process.send_signal(signal.SIGTERM)
    assert program.wait() == 0, "".join(program.lines)
    assert "at exit\n" in program.lines
    assert "taken apart\n" not in program.lines


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_gives_its_exit_code_while_python_calls_what_is_left(
    number: signal.Signals, start: Start, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    (tmp_path / "lasting.py").write_text(LASTING.replace("SECONDS", "20"))
    program = serve(start, mosquitto, "lasting.py")
    program.process.send_signal(number)
    program.wait_line("at exit")
    program.process.send_signal(number)
    assert program.wait() == 3, "".join(program.lines)


SWALLOWING = """
import trio
from petalkit import Petal, command

class Bad(Petal):
    name = "bad"

    @command("swallow", timeout=0.1)
    async def swallow(self):
        print("in it", flush=True)
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()
"""


def test_a_handler_that_does_not_end_is_named_and_left_behind_after_the_stop(
    start: Start, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    (tmp_path / "bad.py").write_text(SWALLOWING)
    limits = ("--grace", "0.2", "--cleanup-timeout", "0.2")
    program = serve(start, mosquitto, "bad.py", *limits)
    petalkit("call", "bad/swallow", "--broker", mosquitto.url, *WHO, "--timeout", "0.2")
    program.wait_line("in it")
    began = time.monotonic()
    program.process.send_signal(signal.SIGTERM)
    assert program.wait() == 0, "".join(program.lines)
    assert time.monotonic() - began < 15  # its limit is far more
    assert "left behind: the handler of bad/swallow" in "".join(program.lines)
