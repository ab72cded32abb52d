"""`petalkit console` and the demo's: what is printed, refused, and served."""

from __future__ import annotations

import importlib.util
import re
import signal
import stat
import urllib.request
import webbrowser
from pathlib import Path
from typing import Any

import pytest
import wsproto
from wsproto.events import AcceptConnection, RejectConnection, Request

from petalkit.cli._console.opening import opened_in_browser

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


def test_the_address_is_not_on_the_command_line_of_the_browser(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []

    def take(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", take)
    with opened_in_browser("http://127.0.0.1:1/#a&b") as found:
        assert found
        (url,) = opened
        assert "a&b" not in url
        file = Path(url.removeprefix("file://"))
        assert "http://127.0.0.1:1/#a&amp;b" in file.read_text()
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert not file.parent.exists()


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


def test_without_a_broker_the_doctor_is_the_next_step(run_cli: RunCli) -> None:
    outcome = run_cli("console", "--broker", "mqtt://127.0.0.1:1", "--organization-id", "acme")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith("petalkit: next: `petalkit doctor --broker ")
