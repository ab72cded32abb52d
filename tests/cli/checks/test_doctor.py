"""`petalkit doctor` as a user runs it, against real brokers: each finding, and what to do."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from petalkit import Settings
from petalkit._values.messages import Message
from petalkit._values.topics import TopicFilter
from petalkit.cli._checks.broker import network as _network
from petalkit.transports import ConnectOptions, create_transport

from ...brokers import Certificates, Mosquitto, free_port
from ..conftest import RunCli
from ..programs import WHO, Program
from .kit import Doctor, quick

BASE = "org/acme/device/Instance-1"
SESSION = "petalkit-acme-Instance-1"
WIRES = pytest.mark.parametrize(
    "wire",
    [("--protocol", "3.1.1"), ("--protocol", "5"), ("--transport", "native")],
    ids=["3.1.1", "5", "native"],
)
Start = Callable[..., Mosquitto]


@pytest.fixture
def serve(mosquitto: Mosquitto) -> Iterator[Callable[..., Program]]:
    """Start `petalkit run` as this device."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> Program:
            program = Program("run", *arguments, "--broker", mosquitto.url, *WHO)
            stack.callback(program.close)
            program.wait_line("connected as client")
            return program

        yield start


def run_link(broker: Mosquitto, use: Any, **options: Any) -> Any:
    """Do something on a link of another client."""

    async def connect() -> Any:
        transport = create_transport(Settings(broker=broker.url))
        given = {"client_id": "other", "clean_start": True, "session_expiry": 0, **options}
        with trio.fail_after(20):
            async with transport.connect(ConnectOptions(**given)) as link:
                return await use(link)

    return trio.run(connect)


# -- a device that is well


@pytest.mark.process
@WIRES
def test_all_is_well(
    doctor: Doctor,
    serve: Callable[..., Program],
    mosquitto: Mosquitto,
    example_file: Path,
    wire: tuple[str, str],
) -> None:
    serve(str(example_file))
    report = doctor(
        str(example_file),
        *("--broker", mosquitto.url, *WHO, *wire, "--timeout", "20"),
        *("--call", "example-petal/hello", "--data", '{"name": "you", "nmae": 3}'),
    )
    assert report.of("failed") == report.of("warning") == set(), report
    assert (report.code, report.verdict) == (0, "ok")
    assert report.of("skipped") - {"limits"} == {"certificates", "tls"}
    assert "1 command: example-petal/hello" in report["petal"]["found"]
    assert f"{BASE}/command, {BASE}/command/edge" in report["subscribe"]["found"]
    assert f"{BASE}/debug came back" in report["publish"]["found"]
    assert "example-petal 1.0.0, 1 command: example-petal/hello" in report["info"]["found"]
    assert "answered with success" in report["call"]["found"]
    assert "it has no use for data.nmae" in report["call"]["found"]
    assert "max_queued_messages" in report["queue"]["todo"][0]


@pytest.mark.process
def test_what_runs_is_not_what_is_here(
    doctor: Doctor,
    serve: Callable[..., Program],
    mosquitto: Mosquitto,
    example_file: Path,
    tmp_path: Path,
) -> None:
    serve(str(example_file))
    text = example_file.read_text()
    newer = text.replace('"1.0.0"', '"1.1.0"').replace('"hello"', '"greet"')
    (tmp_path / "newer.py").write_text(newer)
    (tmp_path / "other.py").write_text(text.replace("example-petal", "other-petal"))
    common = ("--broker", mosquitto.url, *WHO, "--timeout", "20")
    report = doctor("newer.py", "other.py", *common)
    found = report["info"]["found"]
    assert "does not serve other-petal" in found
    assert "example-petal runs as 1.0.0, and is 1.1.0 here" in found
    assert report["info"]["verdict"] == "warning"
    report = doctor("newer.py", *common, "--call", "example-petal/greet")
    assert "lacks example-petal/greet" in report["info"]["found"]
    assert "UNKNOWN_COMMAND" in report["call"]["found"]
    assert (report["call"]["verdict"], report.code) == ("failed", 1)


def test_nothing_runs(doctor: Doctor, mosquitto: Mosquitto) -> None:
    common = ("--broker", mosquitto.url, *WHO)
    report = doctor(*common, "--call", "x/y")
    assert report["ping"]["verdict"] == "warning"
    assert "no retained status" in report["ping"]["found"]
    assert "petalkit run" in report["ping"]["todo"][0]
    assert report["info"]["verdict"] == "skipped"
    # What was asked for was not done.
    assert (report.code, report.of("failed")) == (1, {"call"})
    assert report["call"]["found"] == "not called: no runtime has answered"
    assert report["call"]["todo"]
    report = doctor(*common)
    assert (report.code, report.verdict) == (0, "warning")


def test_a_call_without_settings_is_no_success(doctor: Doctor) -> None:
    report = doctor("--transport", "pigeon", "--call", "x/y")
    assert (report.code, report.of("failed")) == (1, {"settings", "call"})


def test_a_call_without_a_broker_is_no_success(doctor: Doctor) -> None:
    report = doctor("--broker", f"mqtt://127.0.0.1:{free_port()}", *WHO, "--call", "x/y")
    assert (report.code, report.of("failed")) == (1, {"network", "call"})
    assert report["call"]["found"] == "not called: the broker cannot be reached"


@pytest.mark.parametrize(
    ("status", "todo"), [("offline", "Start `petalkit run`"), ("online", "blocked event loop")]
)
def test_nothing_answers_and_the_status_says_something(
    doctor: Doctor, mosquitto: Mosquitto, status: str, todo: str
) -> None:
    payload = json.dumps({"status": status, "petals": []}).encode()

    async def announce(link: Any) -> None:
        await link.publish(Message(f"{BASE}/status", payload, 1, True))

    run_link(mosquitto, announce)
    report = doctor("--broker", mosquitto.url, *WHO)
    assert f"status says {status}" in report["ping"]["found"]
    assert todo in report["ping"]["todo"][0]


def test_nothing_is_changed_at_the_broker(doctor: Doctor, mosquitto: Mosquitto) -> None:
    doctor("--broker", mosquitto.url, *WHO)

    async def retained(link: Any) -> list[str]:
        await link.subscribe([TopicFilter("org/#")])
        await link.publish(Message("org/mark", b""))
        return [each.topic for each in await link.receive()]

    assert run_link(mosquitto, retained) == ["org/mark"]
    came = [line for line in mosquitto.log.splitlines() if "New client connected" in line]
    assert len(came) >= 6
    assert all(" c1, " in line for line in came)  # clean sessions
    for line in came:
        client = line.split(" as ")[1].split()[0]
        assert f"Client {client} disconnected." in mosquitto.log


# -- as the device itself


@WIRES
def test_as_device_takes_the_session_and_leaves_it_as_it_was(
    doctor: Doctor, mosquitto: Mosquitto, wire: tuple[str, str]
) -> None:
    async def subscribe(link: Any) -> None:
        await link.subscribe([TopicFilter(f"{BASE}/command"), TopicFilter(f"{BASE}/command/edge")])

    async def send(link: Any) -> None:
        for payload in sent:
            link.publish_nowait(Message(f"{BASE}/command", payload), lambda _: None)
        await link.publish(Message("org/mark", b""))

    async def receive(link: Any) -> list[bytes]:
        assert link.session_present
        found: list[bytes] = []
        while len(found) <= len(sent):
            for delivery in await link.receive():
                delivery.ack()
                found.append(delivery.payload)
        return found

    # More than a link reads while nobody takes them: what comes behind them has to be read too.
    sent = [b"%d" % number for number in range(90)]
    kept = {"client_id": SESSION, "clean_start": False, "session_expiry": 3600}
    run_link(mosquitto, subscribe, **kept)
    run_link(mosquitto, send)
    report = doctor("--broker", mosquitto.url, *WHO, *wire, "--as-device")
    assert report["client"]["verdict"] == "ok"
    assert "has kept its session" in report["connect"]["found"]
    assert f"'{SESSION}'" in report["connect"]["found"]
    assert report["subscribe"]["verdict"] == report["publish"]["verdict"] == "ok"
    commands = run_link(mosquitto, receive, **kept)
    assert commands[:90] == sent
    assert b"petalkit/ping" in commands[90]  # asked first whether anything lives under the ID


@WIRES
def test_as_device_leaves_no_session_where_there_was_none(
    doctor: Doctor, mosquitto: Mosquitto, wire: tuple[str, str]
) -> None:
    report = doctor("--broker", mosquitto.url, *WHO, *wire, "--as-device")
    assert report["connect"]["verdict"] == "ok"

    async def present(link: Any) -> bool:
        found: bool = link.session_present
        return found

    kept = {"client_id": SESSION, "clean_start": False, "session_expiry": 3600}
    assert not run_link(mosquitto, present, **kept)


@pytest.mark.process
def test_as_device_does_not_throw_out_what_runs(
    doctor: Doctor, serve: Callable[..., Program], mosquitto: Mosquitto, example_file: Path
) -> None:
    serve(str(example_file))
    common = ("--broker", mosquitto.url, *WHO, "--timeout", "20")
    report = doctor(*common, "--as-device")
    assert report["client"]["verdict"] == "warning"
    assert "left to it" in report["client"]["found"]
    assert "petalkit-doctor-" in report["connect"]["found"]
    assert mosquitto.log.count(f" as {SESSION} ") == 1


# -- what the broker grants


@WIRES
def test_a_listener_without_qos_1(
    doctor: Doctor, start_mosquitto: Start, wire: tuple[str, str]
) -> None:
    broker = start_mosquitto(options={"max_qos": "0"})
    report = doctor("--broker", broker.url, *WHO, *wire)
    assert report["subscribe"]["verdict"] == "warning"
    found = f"granted with QoS 0 only: {BASE}/command, {BASE}/command/edge"
    assert report["subscribe"]["found"] == found


# -- the way there


def test_nobody_listens(doctor: Doctor) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, and not listening: refused at once
        report = doctor("--broker", f"mqtt://127.0.0.1:{held.getsockname()[1]}", *WHO)
    assert (report.code, report.verdict) == (1, "failed")
    assert "refused" in report["network"]["found"]
    assert "Nothing listens there" in report["network"]["todo"][0]
    rest = {"tls", "connect", "limits", "queue", "subscribe", "publish", "ping", "info"}
    assert rest <= report.of("skipped")
    assert report["clock"]["verdict"] == "ok"


def test_the_default_broker_is_named_as_one(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"mqtt://127.0.0.1:{held.getsockname()[1]}"
        monkeypatch.setattr(_network, "_DEFAULT_BROKER", url)
        report = doctor("--broker", url, *WHO)
    assert "broker is not set" in report["network"]["todo"][1]


def test_a_name_that_leads_nowhere(doctor: Doctor) -> None:
    report = doctor("--broker", "mqtts://broker.invalid", *WHO)
    assert "'broker.invalid'" in report["network"]["found"]
    assert report["network"]["verdict"] == "failed"


def test_plain_tcp_to_another_machine(doctor: Doctor) -> None:
    report = doctor("--broker", "mqtt://192.0.2.1", *WHO)
    assert "in the clear" in report["network"]["found"]
    assert "allow_insecure" in report["network"]["todo"][0]


@WIRES
def test_a_listener_that_never_answers(doctor: Doctor, wire: tuple[str, str]) -> None:
    started = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"mqtt://127.0.0.1:{listener.getsockname()[1]}"
        report = doctor("--broker", url, *WHO, *wire, "--connect-timeout", "0.3")
    assert time.monotonic() - started < 30
    assert report["network"]["verdict"] == "ok"
    assert report["connect"]["verdict"] == "failed"
    assert "says nothing" in report["connect"]["todo"][0]
    assert {"subscribe", "publish", "ping"} <= report.of("skipped")


def test_a_unix_socket(doctor: Doctor, start_mosquitto: Start, tmp_path: Path) -> None:
    path = tmp_path / "b.sock"
    report = doctor("--broker", f"unix://{path}", *WHO)
    assert "No such file" in report["network"]["found"]
    path.write_text("")
    report = doctor("--broker", f"unix://{path}", *WHO)
    assert "is no socket" in report["network"]["found"]
    path.unlink()
    start_mosquitto(options={"listener": f"0 {path}"})
    report = doctor("--broker", f"unix://{path}", *WHO)
    assert report["network"]["verdict"] == report["publish"]["verdict"] == "ok"


# -- TLS


def secure(broker: Mosquitto, certificates: Certificates, *more: str) -> tuple[str, ...]:
    return ("--broker", broker.url, *WHO, "--ca-file", str(certificates.ca), *more)


@WIRES
def test_tls_with_a_client_certificate(
    doctor: Doctor, start_mosquitto: Start, certificates: Certificates, wire: tuple[str, str]
) -> None:
    broker = start_mosquitto(certificates=certificates, require_client_certificate=True)
    certificates.client_key.chmod(0o600)
    pair = ("--cert-file", str(certificates.client_cert))
    pair += ("--key-file", str(certificates.client_key))
    report = doctor(*secure(broker, certificates, *pair, *wire))
    assert report.of("failed") == set(), report
    assert "fit each other" in report["certificates"]["found"]
    assert report["certificates"]["verdict"] == "ok"
    found = report["tls"]["found"]
    assert "127.0.0.1" in found
    assert "localhost" in found
    assert "good for" in found
    assert "within the days of the broker's certificate" in report["clock"]["found"]
    assert report["publish"]["verdict"] == "ok"

    report = doctor(*secure(broker, certificates, *wire))
    assert report["tls"]["verdict"] == "failed"
    assert "wants a client certificate" in report["tls"]["todo"][0]
    assert "connect" in report.of("skipped")

    stranger = Certificates.make(certificates.ca.parent / f"stranger-{wire[1]}")
    stranger.client_key.chmod(0o600)
    pair = ("--cert-file", str(stranger.client_cert), "--key-file", str(stranger.client_key))
    report = doctor(*secure(broker, certificates, *pair, *wire))
    assert "does not take the client certificate" in report["tls"]["todo"][0]


def test_alpn_that_the_broker_does_not_know(
    doctor: Doctor, start_mosquitto: Start, certificates: Certificates
) -> None:
    broker = start_mosquitto(certificates=certificates)
    report = doctor(*secure(broker, certificates, "--alpn", "x-amzn-mqtt-ca"))
    assert report["tls"]["verdict"] == "warning"
    assert "x-amzn-mqtt-ca" in report["tls"]["found"]
    assert report["connect"]["verdict"] == "ok"


def test_a_certificate_for_another_name(
    doctor: Doctor, start_mosquitto: Start, tmp_path: Path
) -> None:
    certificates = Certificates.make(tmp_path / "other", "broker.example.org")
    broker = start_mosquitto(certificates=certificates)
    report = doctor(*secure(broker, certificates))
    assert report["tls"]["verdict"] == "failed"
    assert "it is for broker.example.org" in report["tls"]["found"]
    assert "a name that stands in the certificate" in report["tls"]["todo"][0]
    assert "tls_server_name" in report["tls"]["todo"][1]
    report = doctor(*secure(broker, certificates, "--tls-server-name", "wrong.example.org"))
    assert "a name that stands in the certificate" in report["tls"]["todo"][0]
    assert "tls_server_name" in report["tls"]["todo"][0]
    named = ("--tls-server-name", "broker.example.org.")
    report = doctor(*secure(broker, certificates, *named))
    assert report["tls"]["verdict"] == report["connect"]["verdict"] == "ok"


def test_a_certificate_of_an_unknown_ca(
    doctor: Doctor, start_mosquitto: Start, certificates: Certificates, tmp_path: Path
) -> None:
    broker = start_mosquitto(certificates=certificates)
    report = doctor("--broker", broker.url, *WHO)
    assert "is not trusted" in report["tls"]["found"]
    assert "set ca_file" in report["tls"]["todo"][0]
    other = Certificates.make(tmp_path / "other")
    report = doctor(*secure(broker, other))
    assert "holds another CA" in report["tls"]["todo"][0]


@pytest.mark.parametrize(("begins", "ends"), [(-400, -30), (30, 400)], ids=["ended", "not begun"])
def test_a_certificate_out_of_its_time(
    doctor: Doctor, start_mosquitto: Start, tmp_path: Path, begins: int, ends: int
) -> None:
    certificates = Certificates.make(tmp_path / "made")
    authority = trustme.CA()
    now = datetime.now(UTC)
    made = authority.issue_cert(
        "127.0.0.1", not_before=now + timedelta(begins), not_after=now + timedelta(ends)
    )
    authority.cert_pem.write_to_path(certificates.ca)
    certificates.server_cert.write_bytes(made.cert_chain_pems[0].bytes())
    made.private_key_pem.write_to_path(certificates.server_key)
    broker = start_mosquitto(certificates=certificates)
    report = doctor(*secure(broker, certificates))
    assert report["tls"]["verdict"] == "failed"
    first, last = (f"{now + timedelta(days):%Y-%m-%d}" for days in (begins, ends))
    assert f"good from {first} to {last}" in report["tls"]["found"]
    assert "clock is right" in report["tls"]["todo"][0]
    assert report["clock"]["verdict"] == "warning"
    assert (last if ends < 0 else first) in report["clock"]["found"]


def test_a_plain_address_for_a_tls_port(
    doctor: Doctor, start_mosquitto: Start, certificates: Certificates
) -> None:
    broker = start_mosquitto(certificates=certificates)
    for wire in ("asyncio-mqtt", "native"):
        url = broker.url.replace("mqtts", "mqtt")
        report = doctor("--broker", url, *WHO, "--transport", wire)
        assert "speaks TLS, and broker says mqtt://" in report["connect"]["found"]
        assert broker.url in report["connect"]["todo"][0]


def test_a_tls_address_for_a_plain_port(doctor: Doctor, mosquitto: Mosquitto) -> None:
    report = doctor("--broker", mosquitto.url.replace("mqtt", "mqtts"), *WHO)
    assert "speaks plain MQTT, and broker says mqtts://" in report["tls"]["found"]
    assert "connect" in report.of("skipped")


def test_tls_with_a_listener_that_never_answers(doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"mqtts://127.0.0.1:{listener.getsockname()[1]}"
        report = doctor("--broker", url, *WHO, "--connect-timeout", "0.3")
    assert "answers no TLS" in report["tls"]["found"]


# -- credentials and rights


@WIRES
def test_the_wrong_password_is_refused_and_never_shown(
    doctor: Doctor, start_mosquitto: Start, tmp_path: Path, wire: tuple[str, str], run_cli: RunCli
) -> None:
    broker = start_mosquitto(users={"drone": "right"})
    (tmp_path / "password").write_text("s3cr3t-wrong\n")
    (tmp_path / "password").chmod(0o600)
    user = ("--username", "drone", "--password-file", "password")
    common = ("--broker", broker.url, *WHO, *wire)
    report = doctor(*common, *user)
    assert report["connect"]["verdict"] == "failed"
    assert "ot authorized" in report["connect"]["found"]
    assert any("--as-device" in todo for todo in report["connect"]["todo"])
    assert "The user name or the password may be wrong." in report["connect"]["todo"][0]
    assert {"limits", "queue", "subscribe", "ping"} <= report.of("skipped")
    assert "s3cr3t" not in str(report)
    assert "s3cr3t" not in run_cli("doctor", *common, *user).out

    report = doctor(*common)
    assert "No user name is set" in report["connect"]["todo"][0]
    (tmp_path / "password").write_text("right\n")
    assert doctor(*common, *user)["publish"]["verdict"] == "ok"
    (tmp_path / "name").write_text("drone\n")
    (tmp_path / "name").chmod(0o600)
    report = doctor(*common, "--username-file", "name", "--password-file", "password")
    assert report["publish"]["verdict"] == "ok"
    assert "the user name of its file" in report["connect"]["found"]


def acl(tmp_path: Path, *lines: str) -> dict[str, object]:
    path = tmp_path / "acl"
    path.write_text("\n".join(["topic readwrite $SYS/#", *lines]) + "\n")
    path.chmod(0o600)
    return {"acl_file": path}


@WIRES
def test_publishing_is_not_allowed(
    doctor: Doctor, start_mosquitto: Start, tmp_path: Path, wire: tuple[str, str]
) -> None:
    broker = start_mosquitto(options=acl(tmp_path, "topic read org/#"))
    report = doctor("--broker", broker.url, *WHO, *wire)
    check = report["publish"]
    if "3.1.1" in wire:  # acknowledged all the same
        assert check["verdict"] == "warning"
        assert "did not come back within 2 s" in check["found"]
    else:
        assert check["verdict"] == "failed"
        assert "0x87" in check["found"]
    assert f"{BASE}/debug" in check["todo"][0]


def test_listening_is_not_allowed(doctor: Doctor, start_mosquitto: Start, tmp_path: Path) -> None:
    broker = start_mosquitto(options=acl(tmp_path, "topic write org/#"))
    report = doctor("--broker", broker.url, *WHO, "--protocol", "5")
    assert report["publish"]["verdict"] == "warning"
    assert "was accepted" in report["publish"]["found"]


def test_a_retained_command_is_found(doctor: Doctor, mosquitto: Mosquitto) -> None:
    async def leave(link: Any) -> None:
        await link.publish(Message(f"{BASE}/command/edge", b"{}", 1, True))

    run_link(mosquitto, leave)
    report = doctor("--broker", mosquitto.url, *WHO)
    assert report["subscribe"]["verdict"] == "warning"
    assert f"{BASE}/command/edge" in report["subscribe"]["found"].split("; ")[0]


@pytest.mark.parametrize("wire", [("--protocol", "5"), ("--transport", "native")])
def test_the_brokers_limits_are_compared(
    doctor: Doctor, start_mosquitto: Start, wire: tuple[str, str]
) -> None:
    options = {"max_packet_size": 2000, "max_keepalive": 15, "retain_available": "false"}
    broker = start_mosquitto(options=options)
    report = doctor("--broker", broker.url, *WHO, *wire)
    found = report["limits"]["found"]
    assert "Maximum Packet Size 2000" in found
    assert "Retain Available 0" in found
    assert "Server Keep Alive 15 s in place of 20 s" in found
    assert report["limits"]["verdict"] == "failed"
    report = doctor("--broker", broker.url, *WHO, *wire, "--payload-max", "1000")
    assert "payload_max" not in report["limits"]["found"]


# -- without an ID


def test_an_unknown_id_leaves_the_broker_to_be_checked(
    doctor: Doctor, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    where = ("--broker", mosquitto.url, "--organization-file", str(tmp_path / "none.json"))
    report = doctor(*where, "--device-id", "d", "--call", "x/y")
    assert report["organization"]["verdict"] == "failed"
    assert report["connect"]["verdict"] == "ok"
    assert {"subscribe", "publish", "ping", "info"} <= report.of("skipped")
    assert report.of("failed") == {"organization", "call"}


# -- for people


def test_the_text_has_a_line_for_each_check_and_what_to_do_below(
    run_cli: RunCli, doctor: Doctor, mosquitto: Mosquitto
) -> None:
    arguments = ("--broker", mosquitto.url, *WHO)
    outcome = run_cli("doctor", *quick(*arguments))
    checks = doctor(*arguments).checks
    lines = outcome.out.splitlines()
    heads = [line.split()[:2] for line in lines if not line.startswith(" ")]
    assert heads[:-1] == [[check["verdict"], check["id"]] for check in checks]
    at = lines.index(next(line for line in lines if line.startswith("warning  ping")))
    assert lines[at + 1].strip().startswith("-> Start `petalkit run`")
    assert lines[-1].endswith("skipped")
    assert outcome.code == 0


@pytest.mark.process
def test_ctrl_c_ends_it_without_a_traceback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"mqtt://127.0.0.1:{listener.getsockname()[1]}"
        with contextlib.closing(Program("doctor", "--broker", url, *WHO)) as program:
            program.wait_line("clock")  # shown when it is known, and CONNECT waits for an answer
            program.process.send_signal(signal.SIGINT)
            assert program.wait() == 130
    assert "Traceback" not in "".join(program.lines)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--timeout", "0"], "--timeout must be seconds above 0"),
        (["--data", "{}"], "--call COMMAND"),
        (["--call", "x/y", "--data", "["], "is not JSON"),
        (["--brokr", "x"], "Did you mean --broker?"),
    ],
)
def test_usage_errors(run_cli: RunCli, arguments: list[str], text: str) -> None:
    outcome = run_cli("doctor", *arguments)
    assert outcome.code == 2
    assert text in outcome.err
    assert os.linesep not in outcome.err.rstrip()
