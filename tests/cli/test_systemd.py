"""What systemd is told, by a socket that stands for its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from petalkit._serving.process.systemd import STATUS_INTERVAL, Systemd


class Listener:
    """systemd's end of the socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self) -> list[dict[str, str]]:
        """The datagrams that have come."""
        found: list[dict[str, str]] = []
        while True:
            try:
                text = self.socket.recv(4096).decode()
            except BlockingIOError:
                return found
            found.append(dict(line.split("=", 1) for line in text.splitlines()))


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    made = Listener(str(tmp_path / "notify"))
    yield made
    made.socket.close()


@pytest.fixture
def started(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """This process, as systemd has started it."""
    monkeypatch.setenv("NOTIFY_SOCKET", listener.socket.getsockname())
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    return monkeypatch


def test_ready_and_stopping(listener: Listener, started: pytest.MonkeyPatch) -> None:
    systemd = Systemd.from_environment()
    systemd.ready("connected")
    systemd.stopping(37.0)
    assert listener.heard() == [
        {"READY": "1", "STATUS": "connected"},
        {"STOPPING": "1", "STATUS": "stopping", "EXTEND_TIMEOUT_USEC": "37000000"},
    ]


def test_children_cannot_speak_for_the_service(
    started: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    started.setenv("WATCHDOG_USEC", "1000000")
    first = Systemd.from_environment()
    assert first.watchdog == 1.0
    assert Systemd.from_environment().watchdog is None  # as in a child that inherits the rest


@pytest.mark.trio
async def test_signs_of_life_come_twice_in_each_limit(
    listener: Listener, started: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    started.setenv("WATCHDOG_USEC", "4000000")
    systemd = Systemd.from_environment()
    with trio.move_on_after(9):
        await systemd.keep_telling(lambda: None)
    assert listener.heard() == [{"WATCHDOG": "1"}] * 5


@pytest.mark.trio
async def test_a_blocked_event_loop_gives_no_sign_of_life(
    listener: Listener, started: pytest.MonkeyPatch, mock_clock: Any
) -> None:
    started.setenv("WATCHDOG_USEC", "2000000")
    systemd = Systemd.from_environment()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(systemd.keep_telling, lambda: None)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(10)  # which nobody sees who does not come to run
        assert listener.heard() == [{"WATCHDOG": "1"}]
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_the_status_is_sent_when_it_changes(
    listener: Listener, started: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    systemd = Systemd.from_environment()
    words = iter([None, "not connected", "not connected", "connected"])
    with trio.move_on_after(3.5 * STATUS_INTERVAL):
        await systemd.keep_telling(lambda: next(words))
    assert listener.heard() == [{"STATUS": "not connected"}, {"STATUS": "connected"}]


def test_a_watchdog_of_another_process_is_not_ours(started: pytest.MonkeyPatch) -> None:
    started.setenv("WATCHDOG_USEC", "2000000")
    started.setenv("WATCHDOG_PID", "1")
    assert Systemd.from_environment().watchdog is None


@pytest.mark.parametrize("value", ["0", "-1", "soon", ""])
def test_a_watchdog_without_a_time_is_none(value: str, started: pytest.MonkeyPatch) -> None:
    started.setenv("WATCHDOG_USEC", value)
    assert Systemd.from_environment().watchdog is None


def test_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener("\0petalkit-test-notify")
    monkeypatch.setenv("NOTIFY_SOCKET", "@petalkit-test-notify")
    Systemd.from_environment().ready("here")
    assert listener.heard() == [{"READY": "1", "STATUS": "here"}]
    listener.socket.close()


@pytest.mark.trio
async def test_nobody_listens(
    started: pytest.MonkeyPatch, listener: Listener, autojump_clock: Any
) -> None:
    """No variable, no socket, one that is full: nothing waits and nothing is raised."""
    systemd = Systemd.from_environment()
    for _ in range(10_000):
        systemd.ready("x" * 100)
    listener.socket.close()
    systemd.ready("gone")
    silent = Systemd.from_environment()
    silent.ready("none")
    await silent.keep_telling(lambda: "none")
    started.setenv("NOTIFY_SOCKET", "vsock:2:1234")
    Systemd.from_environment().ready("elsewhere")
