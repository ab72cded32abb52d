"""Where there is no link, the doctor is named, with the options that lead to the same trouble."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from petalkit.cli._options import (
    CallSettings,
    GeneralOptions,
    HostOptions,
    RunSettings,
    advice,
    as_arguments,
)

from .conftest import RunCli
from .programs import WHO, Program


@pytest.fixture
def closed_port() -> Iterator[str]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, and not listening: refused at once
        yield f"mqtt://127.0.0.1:{held.getsockname()[1]}"


def command_in(text: str) -> list[str]:
    return shlex.split(text.split("`")[1])


def test_a_call_that_finds_no_broker(run_cli: RunCli, closed_port: str) -> None:
    outcome = run_cli("call", "a/b", "--broker", closed_port, *WHO, "--timeout", "3")
    assert outcome.code == 2
    first, second = outcome.err.splitlines()
    assert "refused" in first
    assert second.endswith("looks for the cause")
    asked = command_in(second)
    assert asked == ["petalkit", "doctor", "--broker", closed_port, *WHO]
    doctor = run_cli(*asked[1:])
    assert "Nothing listens there" in doctor.out


@pytest.mark.process
def test_a_run_that_finds_no_broker_names_it_once(closed_port: str, example_file: Path) -> None:
    waits = ("--reconnect-delay-min", "0.01", "--reconnect-delay-max", "0.01")
    program = Program("run", str(example_file), "--broker", closed_port, *WHO, *waits)
    try:
        for _ in range(6):
            program.wait_line("not connected to")
        told = [line for line in program.lines if "petalkit doctor" in line]
    finally:
        program.close()
    assert len(told) == 1
    expected = ["petalkit", "doctor", str(example_file), "--broker", closed_port, *WHO]
    asked = command_in(told[0])
    assert asked[: len(expected)] == expected
    assert "2 attempts have failed" in told[0]


def test_what_was_typed_is_typed_again(tmp_path: Path) -> None:
    settings = RunSettings(
        broker="mqtts://b:8883",
        ca_file=Path("a folder/ca.pem"),
        allow_insecure=True,
        clean_start=False,
        keep_alive=30,
        command_topics=("one", "two"),
        username="-x",
        password_file=Path("p"),
    )
    general = GeneralOptions(config=tmp_path / "c.toml")
    host = HostOptions(host_compat=True, host_proxy=("redis=none",))
    asked = command_in(advice(general, settings, ("m:Petal", "x.py"), host))
    assert asked == [
        *("petalkit", "doctor", "m:Petal", "x.py", "--host-compat", "--host-proxy", "redis=none"),
        *("--config", str(tmp_path / "c.toml"), "--broker", "mqtts://b:8883", "--username=-x"),
        *("--password-file", "p", "--ca-file", "a folder/ca.pem"),
        *("--allow-insecure", "--command-topics", "one", "--command-topics", "two"),
        *("--keep-alive", "30", "--no-clean-start"),
    ]


def test_the_doctor_takes_it_as_it_is_typed(run_cli: RunCli, closed_port: str) -> None:
    typed = as_arguments(
        {
            "broker": closed_port,
            "clean_start": False,
            "allow_insecure": True,
            "command_topics": ("one", "two"),
            "alpn": ("-x",),
            "organization_id": "-acme",
        }
    )
    outcome = run_cli("doctor", *typed, "--json")
    assert outcome.code == 1, outcome
    assert "'-acme', from" in outcome.out


def test_no_secret_and_nothing_of_the_environment_is_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PETALKIT_PASSWORD", "hush")
    monkeypatch.setenv("PETALKIT_BROKER", "mqtt://secret-host")
    text = advice(GeneralOptions(), CallSettings())
    assert text == "`petalkit doctor`, with the same PETALKIT_* variables, looks for the cause"
