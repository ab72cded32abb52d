"""Links that are lost, refused, taken over or not to be trusted; commands outlive them all."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from petalkit import Settings, open_client
from petalkit._values.messages import Message
from petalkit.transports import ConnectOptions, create_transport

from ..brokers import Certificates, Mosquitto
from .conftest import Start
from .kit import BASE, SESSION, WHO, WIRES, Proxy, Wire, observe, until

pytestmark = [pytest.mark.trio, pytest.mark.process]

StartMosquitto = Callable[..., Mosquitto]
Runs = Callable[[], list[int]]
RECONNECT = 15.0  # seconds; the first waits are at most 1, 2 and 4


@WIRES
async def test_mosquitto_is_stopped_and_started_again(
    start: Start, start_mosquitto: StartMosquitto, runs: Runs, wire: Wire
) -> None:
    mosquitto = start_mosquitto(persistence=True)
    program = start("run", "work.py", "--broker", mosquitto.url, *WHO, *wire)
    await program.connected()
    async with observe(mosquitto.url) as observer:
        await observer.send("work/wait", "in flight", seconds=0.5, n=1)
        await until(lambda: runs() == [1], lambda: program.text, RECONNECT)
    mosquitto.stop()  # not under the observer, whom it would end too
    await program.said("link lost")
    mosquitto.start()
    async with observe(mosquitto.url) as observer:
        await observer.answer("in flight", RECONNECT)
        assert (await observer.call("work/echo", "after", n=2))["n"] == 2
    assert runs() == [1, 2]


@WIRES
async def test_commands_sent_while_the_link_is_away_are_answered_after(
    start: Start, mosquitto: Mosquitto, nursery: trio.Nursery, runs: Runs, wire: Wire
) -> None:
    """QoS 1 into the session that the broker keeps; what had started goes on meanwhile."""
    proxy = Proxy(mosquitto.port)
    await nursery.start(proxy.run)
    program = start("run", "work.py", "--broker", proxy.url, *WHO, *wire)
    await program.connected()
    count = 50
    async with observe(mosquitto.url) as observer:
        await observer.send("work/wait", "before", seconds=0.2, n=-1)
        await until(lambda: runs() == [-1], lambda: program.text, RECONNECT)
        proxy.go_away()
        await program.said("link lost")
        await observer.flood("work/echo", [f"m{n}" for n in range(count)])
        await until(lambda: proxy.refused, lambda: program.text, RECONNECT)
        assert not observer.on("response")
        proxy.come_back()

        await observer.wait(lambda: len(observer.answers()) == count + 1)
        await observer.call("work/echo", "last", n=count)
        program.process.send_signal(signal.SIGTERM)
        assert await program.ended() == 0, program.text
        await observer.wait(lambda: observer.statuses()[-1] == "offline")
        answers = observer.answers()
    assert {name: len(found) for name, found in answers.items() if len(found) != 1} == {}
    assert runs() == [-1, *range(count + 1)], "in order, and none twice"


@WIRES
async def test_a_link_that_is_cut_again_and_again_under_load(
    start: Start, mosquitto: Mosquitto, nursery: trio.Nursery, runs: Runs, wire: Wire
) -> None:
    """A response whose PUBACK was lost with the link may go out twice; nothing runs twice."""
    proxy = Proxy(mosquitto.port)
    await nursery.start(proxy.run)
    program = start(
        "run", "work.py", "--broker", proxy.url, *WHO, *wire,
        "--reconnect-delay-min", "0.05", "--reconnect-delay-max", "0.1",
    )  # fmt: skip
    await program.connected()
    count = 600
    sent = 0
    async with observe(mosquitto.url) as observer:
        for cut in range(3):
            names = [f"m{n}" for n in range(sent, sent + count // 3)]
            async with trio.open_nursery() as sending:
                sending.start_soon(observer.flood, "work/tick", names)
                await observer.wait(lambda: len(observer.answers()) > sent + 20)  # noqa: B023
                proxy.go_away()
                await program.said("link lost", cut + 1)
                proxy.come_back()
            sent += len(names)
            await program.connected(cut + 2)
        await observer.wait(lambda: len(observer.answers()) == count)
        for found in observer.answers().values():
            assert all(each == found[0] for each in found), "a copy is the same answer"
    assert len(runs()) == count


# -- TLS


@WIRES
async def test_tls_with_a_client_certificate(
    start: Start, start_mosquitto: StartMosquitto, certificates: Certificates, wire: Wire
) -> None:
    mosquitto = start_mosquitto(certificates=certificates, require_client_certificate=True)
    files = {
        "ca_file": certificates.ca,
        "cert_file": certificates.client_cert,
        "key_file": certificates.client_key,
    }
    options = [
        text for name, path in files.items() for text in (f"--{name.replace('_', '-')}", str(path))
    ]
    program = start("run", "example.py", "--broker", mosquitto.url, *WHO, *wire, *options)
    await program.connected()
    async with observe(mosquitto.url, **files) as observer:
        response = await observer.call("example-petal/hello", "1", name="TLS")
        assert response["message"] == "Hello, TLS!"


async def test_a_broker_that_is_not_trusted_is_tried_again_in_plain_words(
    start: Start, start_mosquitto: StartMosquitto, certificates: Certificates, tmp_path: Path
) -> None:
    mosquitto = start_mosquitto(certificates=certificates)
    other = Certificates.make(tmp_path / "other-authority")
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(other.ca.read_bytes())
    program = start(
        "run", "example.py", "--broker", mosquitto.url, *WHO, "--ca-file", str(trusted),
        "--reconnect-delay-min", "0.1", "--reconnect-delay-max", "0.2",
    )  # fmt: skip
    await program.said(
        f"not connected to {mosquitto.url}: no TLS with .*certificate verify failed", 2
    )
    assert "Traceback" not in program.text
    trusted.write_bytes(certificates.ca.read_bytes())  # certificates are read at each attempt
    await program.connected()


async def test_nothing_goes_in_the_clear_to_another_machine(start: Start) -> None:
    # 192.0.2.0/24 is for documentation (RFC 5737); nothing is sent there.
    program = start("run", "example.py", "--broker", "mqtt://192.0.2.1:1883", *WHO)
    assert await program.ended() == 2
    assert "allow_insecure" in program.text or "allow-insecure" in program.text
    assert "Traceback" not in program.text


# -- the same session twice


@WIRES
async def test_another_client_takes_the_session_again_and_again(
    start: Start, mosquitto: Mosquitto, wire: Wire
) -> None:
    program = start(
        "run", "work.py", "--broker", mosquitto.url, *WHO, *wire,
        "--reconnect-delay-min", "0.02", "--reconnect-delay-max", "0.1",
        "--takeover-delay-max", "0.5", "--stable-after", "30",
    )  # fmt: skip
    # A session belongs to a client ID, whatever its version.
    intruder = create_transport(Settings(broker=mosquitto.url))
    suspicion = f"another client may use the client ID '{SESSION}'; waiting longer"
    times = 0
    while suspicion not in program.text:  # soon enough six times in a row
        times += 1
        assert times < 50
        await program.connected(times)
        async with intruder.connect(ConnectOptions(client_id=SESSION)):
            await program.said("link lost", times)
    assert times >= 6
    await program.connected(times + 1)
    async with observe(mosquitto.url) as observer:
        assert (await observer.call("work/echo", "mine again", n=1))["n"] == 1


async def test_call_leaves_the_devices_session_alone(start: Start, mosquitto: Mosquitto) -> None:
    program = start("run", "example.py", "--broker", mosquitto.url, *WHO)
    await program.connected()
    settings = Settings(broker=mosquitto.url, organization_id="acme", device_id="Instance-1")
    for _ in range(3):
        async with open_client(settings) as client:
            assert (await client.call("example-petal/hello", timeout=10)).success
    assert program.count("connected as client") == 1
    assert "link lost" not in program.text


# -- delivered again


async def test_what_was_not_acknowledged_comes_again_to_the_next_process(
    start: Start, mosquitto: Mosquitto, folder: Path, runs: Runs
) -> None:
    """`acknowledge=handled` and no journal, and the power goes while commands run."""
    options = ("--acknowledge", "handled", "--journal", "off")
    run = ("run", "work.py", "--broker", mosquitto.url, *WHO, *options)
    program = start(*run)
    await program.connected()
    async with observe(mosquitto.url) as observer:
        await observer.call("work/echo", "done before", n=0)
        await observer.flood("work/wait-for-file", [f"m{n}" for n in range(5)])
        await until(lambda: len(runs()) == 6, lambda: program.text, RECONNECT)
        os.kill(program.process.pid, signal.SIGKILL)
        await program.ended()
        assert len(observer.answers()) == 1
        (folder / "gate").touch()
        again = start(*run)
        await again.connected()
        await observer.wait(lambda: len(observer.answers()) == 6)
        await observer.call("work/echo", "done after", n=9)
        answers = observer.answers()
    assert all(len(found) == 1 and found[0]["success"] for found in answers.values()), answers
    assert sorted(runs()) == [0, *sorted([*range(5)] * 2), 9], "the handled one is not run again"


async def test_a_retained_command_is_refused_and_the_device_goes_on(
    start: Start, mosquitto: Mosquitto, runs: Runs
) -> None:
    async with observe(mosquitto.url) as observer:
        kept = observer.command("work/echo", "kept", {"n": 1})
        await observer.link.publish(Message(kept.topic, kept.payload, 1, True))
        program = start("run", "work.py", "--broker", mosquitto.url, *WHO)
        await program.connected()
        assert (await observer.answer("kept"))["error_code"] == "RETAINED"
        assert (await observer.call("work/echo", "live", n=2))["n"] == 2
        await observer.link.publish(Message(f"{BASE}/command", b"", 1, True))
    assert runs() == [2]


@WIRES
async def test_files_that_come_after_the_start_and_a_password_that_is_renewed(
    start: Start,
    start_mosquitto: StartMosquitto,
    certificates: Certificates,
    tmp_path: Path,
    wire: Wire,
) -> None:
    """Before the first link as after it: what is missing or wrong is told, and tried again."""
    mosquitto = start_mosquitto(certificates=certificates, users={"device": "old"})
    ca, token = tmp_path / "late-ca.pem", tmp_path / "late-token"
    options = (
        *("--broker", mosquitto.url, "--ca-file", str(ca)),
        *("--username", "device", "--password-file", str(token)),
    )
    program = start("run", "work.py", *options, *WHO, *wire)
    await program.said(f"password_file: {token} cannot be read: No such file")
    token.write_text("old\n")
    await program.said(f"ca_file: {ca} cannot be read: No such file")
    ca.write_bytes(certificates.ca.read_bytes())
    await program.connected()

    mosquitto.stop()
    mosquitto.set_users({"device": "new"})
    mosquitto.start()
    await program.said("not connected to")
    await program.said("reason code")
    token.write_text("new\n")
    await program.connected(2)
    program.process.send_signal(signal.SIGTERM)
    assert await program.ended() == 0, program.text
