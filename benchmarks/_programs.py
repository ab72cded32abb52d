"""The processes of the broker benchmarks: mosquitto, and the programs under test.

Each is ended by its own handle when its block is left, whatever the reason.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import attrs
import msgspec

from _common import identity, output_of
from _load import BenchmarkError, Client

START_LIMIT = 15.0  # seconds
STOP_LIMIT = 10.0

HERE = Path(__file__).resolve().parent


def find_mosquitto() -> str:
    """The binary; Debian puts it where an ordinary user's PATH does not look."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise SystemExit("mosquitto is not installed (Debian: apt-get install mosquitto)")
    return found


@attrs.frozen
class Broker:
    """A running mosquitto."""

    port: int
    pid: int


@contextlib.contextmanager
def mosquitto() -> Generator[Broker]:
    """A mosquitto of our own on a free port of loopback, with its defaults.

    But for two: TCP_NODELAY, and no bound on the messages that wait for a client, so that what is
    lost in a flood was not lost there (its default is 1000).
    """
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    with TemporaryDirectory(prefix="petalkit-benchmark-") as folder:
        config = Path(folder) / "mosquitto.conf"
        lines = [
            f"listener {port} 127.0.0.1",
            "allow_anonymous true",
            "set_tcp_nodelay true",
            "max_queued_messages 200000",
            "persistence false",
            "log_type error",
        ]
        if os.geteuid() == 0:
            lines.append("user root")  # else it gives up its rights and cannot read the folder
        config.write_text("\n".join(lines) + "\n")
        log = Path(folder) / "log"
        command = [find_mosquitto(), "-c", str(config)]
        with log.open("wb") as out, _process(command, stdout=out, stderr=out) as process:
            limit = time.monotonic() + START_LIMIT
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if time.monotonic() > limit or process.poll() is not None:
                        raise BenchmarkError(
                            f"mosquitto does not start: {log.read_text()}"
                        ) from None
                    time.sleep(0.02)
            yield Broker(port, process.pid)


@contextlib.contextmanager
def sidecar(broker: Broker) -> Generator[str]:
    """The stand-in for the external MQTT client of the guide; gives its address."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    address = f"mqtt://127.0.0.1:{broker.port}"
    # -P, since its folder has a `typing` of its own.
    command = [sys.executable, "-P", str(HERE.parent / "tests" / "sidecar_client.py")]
    with _process([*command, "--port", str(port), "--broker", address]) as process:
        limit = time.monotonic() + START_LIMIT
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > limit or process.poll() is not None:
                    raise BenchmarkError("the stand-in for the external client fails") from None
                time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"


def mosquitto_version() -> str:
    """As it says itself."""
    return output_of(find_mosquitto(), "-h").removeprefix("mosquitto version ")


@contextlib.contextmanager
def _process(
    command: Sequence[str], *, stdout: IO[bytes] | None = None, stderr: IO[bytes] | None = None
) -> Generator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def program(
    broker: Broker, device: str, command: Sequence[str]
) -> Generator[subprocess.Popen[bytes]]:
    """A program under test, from when it has told its `status` to be online."""
    topic = identity(device).topic("status")
    full = [*command, "--port", str(broker.port), "--device", device]
    with Client(broker.port, f"wait-{device}") as client, _process(full) as process:
        client.subscribe(topic)
        limit = time.monotonic() + START_LIMIT
        while not any(_is_online(payload) for _, payload in client.poll(0.1)):
            if process.poll() is not None:
                raise BenchmarkError(f"{command[1]} ended with {process.returncode}")
            if time.monotonic() > limit:
                raise BenchmarkError(f"{command[1]} is not online within {START_LIMIT} s")
        yield process


def _is_online(payload: bytes) -> bool:
    return bool(msgspec.json.decode(payload)["status"] == "online")


def petalkit_command(transport: str, *more: str) -> list[str]:
    """How petalkit is started, with this interpreter."""
    return [sys.executable, str(HERE / "_petal.py"), "--transport", transport, *more]


def shipped_command(transport: str, *more: str) -> list[str]:
    """How `petalkit run` is started, with this interpreter."""
    return [sys.executable, str(HERE / "_shipped.py"), "--transport", transport, *more]
