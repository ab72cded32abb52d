"""The doctor behind an external MQTT client: what it says, and that it disturbs no device."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from petalkit.cli._checks.plan import BROKER, DEVICE

from ...brokers import Mosquitto, free_port
from ...sidecar_client import SidecarProcess
from ..conftest import RunCli
from ..programs import WHO, Program
from .kit import Doctor


class Web:
    """A server that gives one answer, and remembers what was asked of it."""

    def __init__(self, status: int, body: bytes) -> None:
        self.asked: list[tuple[str, str, str | None]] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65_537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                asked.append((self.command, self.path, self.headers["authorization"]))
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"http://{self.address}"


@pytest.fixture
def web() -> Iterator[Callable[..., Web]]:
    with contextlib.ExitStack() as stack:

        def start(body: object = None, status: int = 200) -> Web:
            raw = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
            one = Web(status, raw)
            stack.callback(one.server.server_close)
            threading.Thread(target=one.server.serve_forever, args=(0.02,), daemon=True).start()
            stack.callback(one.server.shutdown)
            return one

        yield start


def behind(url: str, listen: str | None = None) -> tuple[str, ...]:
    """The options of a device behind a client."""
    listen = listen or f"127.0.0.1:{free_port()}"
    return ("--transport", "sidecar", "--sidecar-url", url, "--callback-listen", listen, *WHO)


# -- a device that runs


@pytest.mark.process
def test_a_running_device_keeps_its_topics(
    doctor: Doctor, mosquitto: Mosquitto, example_file: Path, tmp_path: Path
) -> None:
    with SidecarProcess(free_port(), mosquitto.url, tmp_path / "sidecar.log") as sidecar:
        trio.run(sidecar.ready)
        # The broker would be reached, if it were asked.
        where = (*behind(sidecar.url), "--broker", mosquitto.url)
        # A quiet topic is not subscribed again, so that the numbers stand.
        quiet = ("--sidecar-subscribe-interval", "0")
        with contextlib.closing(Program("run", str(example_file), *where, *quiet)) as program:
            program.wait_line("connected as client")
            before = trio.run(sidecar.faults)
            assert before["/subscribe"] == 2
            report = doctor(str(example_file), *where, "--call", "example-petal/hello")
            doctor(*behind(sidecar.url), "--broker", mosquitto.url)  # another free address
            after = trio.run(sidecar.faults)
    assert before["subscriptions"]
    for what in ("subscriptions", "/subscribe", "/unsubscribe"):
        assert after.get(what) == before.get(what), what
    assert (report.of("failed"), report.of("warning")) == ({"call"}, set()), report
    assert "a petalkit or the guide's host runs there, with 2 topics" in report["callback"]["found"]
    assert "well if it is yours" in report["callback"]["todo"][0]


def test_what_is_not_asked_says_why(doctor: Doctor, web: Callable[..., Web]) -> None:
    client = web({"status": "healthy", "broker": "up"})
    options = behind(client.url)
    report = doctor(*options, "--call", "example-petal/hello", "--as-device")
    assert (report.code, report.of("failed")) == (1, {"call"})  # it was asked for
    assert client.asked == [("GET", "/health", None)]
    assert '"broker": "up"' in report["sidecar"]["found"]
    not_asked = {*BROKER, *DEVICE, "client"} - {"clock"}
    assert report.of("skipped") == {*not_asked, "certificates", "petals"}
    assert "external client" in report["connect"]["found"]
    assert "would take the topics" in report["subscribe"]["found"]
    assert "broker itself" in report["ping"]["found"]


# -- the client


def test_nobody_is_there(doctor: Doctor) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    report = doctor(*behind(url))
    assert f"no sidecar at {url}" in report["sidecar"]["found"]
    assert "Connection refused" in report["sidecar"]["found"]
    assert "external client running? Is --sidecar-url" in report["sidecar"]["todo"][0]
    assert report["callback"]["verdict"] == "ok"  # the other address is looked at all the same
    assert report.code == 1


def test_somebody_is_there_and_says_nothing(doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        report = doctor(*behind(url), "--sidecar-probe-timeout", "0.2")
    assert "no answer within 0.2 s" in report["sidecar"]["found"]
    assert any("Somebody is there" in todo for todo in report["sidecar"]["todo"])


@pytest.mark.parametrize(("status", "todo"), [(503, "client's log"), (401, "sidecar_token")])
def test_a_client_that_is_not_well(
    doctor: Doctor, web: Callable[..., Web], status: int, todo: str
) -> None:
    report = doctor(*behind(web({"error": "no session"}, status).url))
    assert f"is not well: HTTP {status}: no session" in report["sidecar"]["found"]
    assert report["sidecar"]["verdict"] == "failed"
    assert todo in report["sidecar"]["todo"][0]


def test_the_token_is_told_to_the_client_alone_and_never_shown(
    doctor: Doctor, web: Callable[..., Web], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETALKIT_SIDECAR_TOKEN", "s3cr3t/")
    client = web({"callbackUrl": "http://127.0.0.1:3005/x?token=s3cr3t%2F", "said": "s3cr3t/"})
    stranger = web({"status": "healthy", "connected": True})
    report = doctor(*behind(client.url, stranger.address))
    assert [asked[2] for asked in client.asked] == ["Bearer s3cr3t/"]
    assert stranger.asked == [("GET", "/mqtt-callback/health", None)]
    assert "token=..." in report["sidecar"]["found"]
    assert "s3cr3t" not in str(report)
    assert "s3cr3t" not in str(doctor(*behind(client.url)))  # the free address is told to it


def test_a_certificate_that_is_not_trusted(doctor: Doctor, web: Callable[..., Web]) -> None:
    client = web({"status": "healthy"})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    client.server.socket = context.wrap_socket(client.server.socket, server_side=True)
    report = doctor(*behind(f"https://{client.address}"))
    assert "certificate verify failed" in report["sidecar"]["found"]
    assert "ca_file" in report["sidecar"]["todo"][0]


# -- where its messages come in


def test_an_address_that_is_free_stays_so(doctor: Doctor, web: Callable[..., Web]) -> None:
    listen = f"127.0.0.1:{free_port()}"
    report = doctor(*behind(web().url, listen))
    assert report["callback"]["verdict"] == "ok"
    assert f"told http://{listen}/mqtt-callback/callback" in report["callback"]["found"]
    host, _, port = listen.partition(":")
    socket.create_server((host, int(port))).close()


@pytest.mark.parametrize(
    ("body", "verdict", "text"),
    [
        ({"status": "healthy"}, "ok", "the guide's host runs there"),
        ({"status": "healthy", "connected": False}, "warning", "has no link to the sidecar"),
        ({"hello": 1}, "failed", "by neither a petalkit nor the guide's host"),
        (b"[" * 10_000, "failed", "by neither a petalkit nor the guide's host"),
    ],
    ids=["host", "no link", "other JSON", "no JSON"],
)
def test_an_address_that_is_taken(
    doctor: Doctor, web: Callable[..., Web], body: object, verdict: str, text: str
) -> None:
    report = doctor(*behind(web().url, web(body).address))
    assert report["callback"]["verdict"] == verdict
    assert text in report["callback"]["found"]
    assert "--callback-listen" in report["callback"]["todo"][0]


def test_an_address_that_is_taken_by_something_silent(
    doctor: Doctor, web: Callable[..., Web], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("petalkit.cli._checks.broker.sidecar.CALLBACK_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        report = doctor(*behind(web().url, f"127.0.0.1:{silent.getsockname()[1]}"))
    assert "gives no health: no answer within 0.2 s" in report["callback"]["found"]
    assert report["callback"]["verdict"] == "failed"


def test_an_address_of_another_machine(doctor: Doctor, web: Callable[..., Web]) -> None:
    report = doctor(*behind(web().url, "192.0.2.1:3005"), "--allow-insecure")
    assert "192.0.2.1:3005 cannot be listened on" in report["callback"]["found"]
    assert "an address of this machine" in report["callback"]["todo"][0]


def test_an_address_that_everybody_reaches_wants_a_token(
    doctor: Doctor, web: Callable[..., Web], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = (*behind(web().url, f"0.0.0.0:{free_port()}"), "--allow-insecure")
    report = doctor(*options)
    assert "whoever reaches it can send commands" in report["callback"]["found"]
    assert report["callback"]["verdict"] == "warning"
    monkeypatch.setenv("PETALKIT_SIDECAR_TOKEN", "s3cr3t")
    assert doctor(*options)["callback"]["verdict"] == "ok"


def test_an_address_that_is_not_allowed_is_not_asked(doctor: Doctor) -> None:
    report = doctor(*behind("http://192.0.2.1:3004"))
    assert "in the clear" in report["sidecar"]["found"]
    assert "allow_insecure" in report["sidecar"]["todo"][0]
    assert report["callback"]["verdict"] == "skipped"


# -- settings


def test_without_its_packages_it_says_what_to_install(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.startswith("petalkit.transports.sidecar"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "httpx", None)
    report = doctor("--transport", "sidecar", *WHO)
    assert report.of("failed") == {"settings"}
    assert "pip install 'petalkit[http]'" in report["settings"]["found"]
    assert "Install it" in report["settings"]["todo"][0]


def test_a_config_file_with_the_token_is_for_its_owner_alone(
    doctor: Doctor, web: Callable[..., Web], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "p.toml"
    config.write_text('[petalkit]\nsidecar_token = "s3cr3t"\n')
    config.chmod(0o644)
    options = (*behind(web().url), "--config", str(config))
    report = doctor(*options)
    assert "can be read by everybody" in report["settings"]["found"]
    assert "s3cr3t" not in str(report)
    config.chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert doctor(*options)["settings"]["verdict"] == "ok"
    config.chmod(0o644)
    monkeypatch.setenv("PETALKIT_SIDECAR_TOKEN", "another")
    assert doctor(*options)["settings"]["verdict"] == "ok"


@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ("--sidecar-token", "PETALKIT_SIDECAR_TOKEN or the --config file"),
        ("--password", "--password-file, PETALKIT_PASSWORD or the --config file"),
    ],
)
def test_a_secret_is_no_option_and_is_not_repeated(
    run_cli: RunCli, option: str, instead: str
) -> None:
    for arguments in ((option, "s3cr3t"), (f"{option}=s3cr3t",)):
        outcome = run_cli("run", "x", *arguments)
        assert outcome.code == 2
        assert instead in outcome.err
        assert "s3cr3t" not in outcome.err
