"""`petalkit broker`: where it listens, what it says, and how it ends."""

from __future__ import annotations

import re
import signal
import socket

import mqtt5
import pytest

from petalkit.cli._broker.plain import read_plain
from petalkit.transports._broker.core.bounds import Bounds

from .conftest import RunCli
from .programs import Start


def test_a_plain_line_needs_no_parser() -> None:
    found = read_plain(["--port", "0", "--max-queued", "5", "--host", "::1", "--log-level", "info"])
    assert found is not None
    asked, bounds = found
    assert (asked.port, asked.host, asked.log_level) == (0, "::1", "info")
    assert bounds == Bounds(max_queued=5)
    assert read_plain([]) is not None


@pytest.mark.parametrize(
    "tokens",
    [
        ["--help"], ["--port"], ["--port", "x"], ["--port=1"], ["--port", "1", "--port", "2"],
        ["--max_queued", "5"], ["--max-queued", "0"], ["--allow-origin", "*"], ["x"], ["-p", "1"],
        ["--log-level", "loud"], ["--host", "a b"], ["--nothing", "1"],
    ],
)  # fmt: skip
def test_whatever_else_is_left_to_the_parser(tokens: list[str]) -> None:
    assert read_plain(tokens) is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--max-queued", "0"), "--max-queued must be from 1 to"),
        (("--port", "70000"), "--port must be from 0 to 65535"),
        (("--nothing", "1"), "--nothing"),
    ],
)
def test_a_mistake_is_one_line(words: tuple[str, ...], told: str, run_cli: RunCli) -> None:
    outcome = run_cli("broker", *words)
    assert outcome.code == 2
    assert told in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_port_that_is_taken_is_one_line_too(run_cli: RunCli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = run_cli("broker", "--port", str(port), "--max-connections", "5")
    assert outcome.code == 1
    assert outcome.err == (
        f"petalkit: error: cannot listen on 127.0.0.1, port {port}: Address already in use\n"
    )


@pytest.mark.process
@pytest.mark.parametrize("host", [(), ("--host", "0.0.0.0")])
def test_it_says_where_it_is_and_says_goodbye(host: tuple[str, ...], start: Start) -> None:
    program = start("broker", "--port", "0", *host)
    line = program.wait_line("MQTT 5 and 3.1.1, until Ctrl-C")
    found = re.match(r"mqtt://(127\.0\.0\.1|0\.0\.0\.0):(\d+) and ws://\1:\2: ", line)
    assert found, line
    warned = any("whoever reaches port" in one for one in program.lines)
    assert warned is bool(host)
    with socket.create_connection(("127.0.0.1", int(found[2])), timeout=10) as sock:
        sock.sendall(mqtt5.ConnectPacket("c", clean_start=True).write())
        assert isinstance(mqtt5.read(memoryview(sock.recv(1000)))[0], mqtt5.ConnAckPacket)
        program.process.send_signal(signal.SIGTERM)
        goodbye = mqtt5.read(memoryview(sock.recv(1000)))[0]
        assert isinstance(goodbye, mqtt5.DisconnectPacket)
        assert int(goodbye.reason_code) == 0x8B
    assert program.wait() == 0
