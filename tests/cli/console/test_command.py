"""`petalkit console` and the demo's: what is printed, refused, and served."""

from __future__ import annotations

import importlib.util
import re
import signal
import stat
import threading
import urllib.request
import webbrowser
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing
import wsproto
from wsproto.events import AcceptConnection, RejectConnection, Request

from petalkit.cli._console.command import in_browser, open_console

from ...client.long_work import CALLER, device_and_client
from ..conftest import RunCli
from ..programs import LIMIT, WHO, Start

ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)/#([\w-]{32})")


def test_without_its_packages_it_names_what_to_install(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "wsproto" else find(name)
    )
    outcome = run_cli("console", *WHO)
    assert outcome.code == 2
    assert "wsproto cannot be imported: pip install 'petalkit[console]'" in outcome.err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--demo", "--broker", "mqtt://127.0.0.1"), "leave out --broker"),
        (("--port", "65536", *WHO), "--port must be from 0 to 65535"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    words: tuple[str, ...], text: str, run_cli: RunCli
) -> None:
    outcome = run_cli("console", *words)
    assert outcome.code == 2
    assert text in outcome.err


def test_a_broker_that_is_not_there_is_told_as_call_tells_it(run_cli: RunCli) -> None:
    outcome = run_cli("console", "--broker", "mqtt://127.0.0.1:9", *WHO)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("petalkit: error: mqtt://127.0.0.1:9: ")
    assert "`petalkit doctor --broker mqtt://127.0.0.1:9" in outcome.err


def test_the_demo_that_ends_by_itself_has_no_console_to_open(run_cli: RunCli) -> None:
    outcome = run_cli("demo", "--once", "--open")
    assert outcome.code == 2
    assert "leave out --open" in outcome.err


@pytest.mark.trio
async def test_the_address_is_not_on_the_command_line_of_the_browser(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []
    is_open = threading.Event()

    def take(url: str) -> bool:
        opened.append(url)
        is_open.set()
        return True

    monkeypatch.setattr(webbrowser, "open", take)
    async with in_browser("http://127.0.0.1:1/#a&b"):
        assert await trio.to_thread.run_sync(is_open.wait, LIMIT)
        (url,) = opened
        assert "a&b" not in url
        file = Path(url.removeprefix("file://"))
        assert "http://127.0.0.1:1/#a&amp;b" in await trio.Path(file).read_text()
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert not file.parent.exists()


@pytest.mark.trio
async def test_the_page_is_served_while_a_browser_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Firefox is waited for some seconds, and one in the terminal until its end."""
    served, left = threading.Event(), threading.Event()
    seen: list[bool] = []

    def wait(url: str) -> bool:
        seen.append(served.wait(LIMIT))
        left.wait(LIMIT)
        return True

    monkeypatch.setattr(webbrowser, "open", wait)
    with trio.fail_after(LIMIT):
        async with in_browser("http://127.0.0.1:1/#a"):
            await trio.testing.wait_all_tasks_blocked()
            served.set()
            while not seen:
                await trio.lowlevel.checkpoint()
    assert seen == [True]  # and whoever leaves does not wait for it
    left.set()


@pytest.mark.trio
@pytest.mark.parametrize("error", [False, OSError("no room")])
async def test_where_there_is_no_browser_that_is_said(
    error: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(url: str) -> bool:
        if error:
            raise error
        return False

    monkeypatch.setattr(webbrowser, "open", fail)
    said = ""
    with trio.fail_after(LIMIT):
        async with in_browser("http://127.0.0.1:1/#a"):
            while not said:
                await trio.lowlevel.checkpoint()
                said = capsys.readouterr().err
    assert said.startswith("petalkit: warning: no browser could be started")
    assert "open the address yourself" in said


def knock(port: str, token: str, host: str | None = None) -> int:
    """Open the WebSocket as a browser does; the status of the answer."""
    import socket

    own = f"127.0.0.1:{port}"
    connection = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    request = Request(
        host=host or own,
        target="/bridge",
        subprotocols=["petalkit.console", f"token.{token}"],
        extra_headers=[(b"origin", f"http://{host or own}".encode())],
    )
    with socket.create_connection(("127.0.0.1", int(port)), LIMIT) as stream:
        stream.sendall(connection.send(request))
        while True:
            connection.receive_data(stream.recv(65536))
            for event in connection.events():
                if isinstance(event, AcceptConnection):
                    return 101
                if isinstance(event, RejectConnection):
                    return event.status_code


def look_at(address: str) -> None:
    """The page is there, and lets in who has its token."""
    found = ADDRESS.search(address)
    assert found
    port, token = found.groups()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=LIMIT) as response:
        assert response.headers["content-security-policy"].startswith("default-src 'none'")
        assert "petalkit console" in response.read().decode()
    assert knock(port, token) == 101
    assert knock(port, token[:-1] + ("x" if token[-1] != "x" else "y")) == 403
    assert knock(port, token, host=f"evil.example:{port}") == 421


@pytest.mark.process
@pytest.mark.parametrize("words", [("console", "--demo"), ("demo",)], ids=" ".join)
def test_it_is_served_until_a_signal(words: Any, start: Start) -> None:
    pytest.importorskip("mqtt5", reason="the embedded broker is an extra")
    program = start(*words)
    look_at(program.wait_line(ADDRESS.pattern))
    program.process.send_signal(signal.SIGINT)
    assert program.wait() == 0, "".join(program.lines)
    assert not any("Traceback" in line for line in program.lines)


@pytest.mark.trio
async def test_what_goes_wrong_beside_it_is_no_fault_of_the_page() -> None:
    """Such as a pipe that nobody reads, which ends a command quietly."""
    async with device_and_client() as (_, client):
        with pytest.raises(BrokenPipeError):
            async with open_console(client, CALLER) as address:
                assert ADDRESS.fullmatch(address)
                raise BrokenPipeError


def test_without_a_broker_the_doctor_is_the_next_step(run_cli: RunCli) -> None:
    outcome = run_cli("console", "--broker", "mqtt://127.0.0.1:1", "--organization-id", "acme")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith("petalkit: next: `petalkit doctor --broker ")
