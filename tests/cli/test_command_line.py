"""The commands as a user meets them, in this process: help, list, and every readable refusal."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import trio

from petalkit import ConnectFailed, PayloadError, Settings
from petalkit._values.basics.version import __version__
from petalkit._values.errors import ErrorCode
from petalkit._values.messages import Identity, Response
from petalkit.cli import main
from petalkit.cli._app import make_app
from petalkit.cli._caller import session
from petalkit.cli._output.help import HelpPages
from petalkit.client import CallTimeout

from .conftest import RunCli
from .programs import WHO


def test_version(run_cli: RunCli) -> None:
    outcome = run_cli("--version")
    assert outcome.code == 0
    first, *rest = outcome.out.splitlines()
    assert first == f"petalkit {__version__}"
    for part in ("CPython 3.", "trio ", "asyncio-mqtt ", "paho-mqtt ", "mqtt5 ", "SQLite 3."):
        assert any(line.strip().startswith(part) for line in rest), part
    said = json.loads(run_cli("--version", "--json").out)
    assert said["petalkit"] == __version__
    assert {"python", "trio", "asyncio-mqtt", "paho-mqtt", "mqtt5", "sqlite"} <= said.keys()


COMMANDS = ("run", "list", "call", "jobs", "cancel", "devices", "info", "doctor", "console", "demo")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_its_words(command: str, run_cli: RunCli) -> None:
    outcome = run_cli(command, "--help")
    assert outcome.code == 0
    assert outcome.out.startswith(f"Usage: petalkit {command}")
    assert command in run_cli("--help").out


@pytest.mark.parametrize("command", [*COMMANDS, "journal"])
def test_a_command_is_the_same_where_only_it_is_loaded(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    pages = HelpPages(shows_all=True)
    for app in (make_app(help_pages=pages), make_app(command, help_pages=pages)):
        app([command, "--help"], exit_on_error=False, result_action="return_value")
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != ""


def test_the_help_of_run_names_the_settings_and_no_password(run_cli: RunCli) -> None:
    out = run_cli("run", "--help").out
    for option in ("--broker", "--organization-id", "--organization-file", "--device-id"):
        assert option in out
    assert "--password-file" in out
    assert "--password " not in out
    assert "Exit codes" in out


def test_list_shows_commands_parameters_and_docs(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "flight.py").write_text(
        '''
import dataclasses
import attrs
from petalkit import Command, CommandContext, Petal, command

@attrs.frozen
class Log:
    log_id: int
    folder: str = "/logs"
    tags: list[str] = attrs.Factory(list)

class Flight(Petal):
    """Reads [bold]flight[/] logs."""
    name = "flight-log-petal"
    version = "2.1.0"
    prefix = "flight-log"

    @command("fetch", timeout=5)
    async def fetch(self, data: Log, context: CommandContext, raw: Command):
        """Fetch one log.

        Slowly.
        """

    @command("land", urgent=True)
    async def land(self, altitude: float, mode: str | None = None): ...

    @command("copy", exclusive="disk", thread=True)
    def copy(self, data): ...

    @command("wipe", exclusive="disk", when_busy="wait")
    async def wipe(self): ...
'''
    )
    outcome = run_cli("list", "flight.py")
    assert outcome.err == ""
    assert outcome.code == 0
    assert outcome.out == (
        "flight-log-petal 2.1.0\n"
        "  Reads [bold]flight[/] logs.\n"
        "\n"
        "  flight-log/copy  [in a thread, exclusive 'disk', timeout 60 s]\n"
        "      data (the whole of it) = {}\n"
        "\n"
        "  flight-log/fetch  [timeout 5 s]\n"
        "      Fetch one log.\n"
        "\n"
        "      Slowly.\n"
        "      log_id: int (required)\n"
        "      folder: str = '/logs'\n"
        "      tags: list[str] = (made anew)\n"
        "\n"
        "  flight-log/land  [urgent, timeout 60 s]\n"
        "      altitude: float (required)\n"
        "      mode: str | None = None\n"
        "\n"
        "  flight-log/wipe  [exclusive 'disk', waits for its turn, timeout 60 s]\n"
        "\n"
    )
    described = json.loads(run_cli("list", "flight.py", "--json").out)["petals"][0]["commands"]
    waits = {one["name"]: one["options"]["when_busy"] for one in described}
    assert waits["flight-log/wipe"] == "wait"
    assert waits["flight-log/copy"] == "refuse"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["rnu"], 'Did you mean "run"?'),
        (["run"], "run: which petal?"),
        (["list"], "list: which petal?"),
        (["run", "example.py", "--brokr", "x"], "Did you mean --broker?"),
        (["run", "example.py", "--keep-alive", "soon"], "--keep-alive"),
        (["run", "example.py", "--keep-alive", "0"], "keep_alive: must be at least 1, not 0"),
        (["run", "example.py", "--broker", "mqtt://u:secret@h"], "must not hold credentials"),
        (["run", "example.py", "--config", "none.toml"], "cannot read 'none.toml'"),
        (["run", "example.py", "example.py"], "two petals have this name"),
        (["run", "nope.py"], "'nope.py': there is no file "),
        (["run", "example.py", "--organization-id", "a/b"], "would break the topic"),
        (["call"], "COMMAND"),
        (["call", "p/x", "{"], "DATA-JSON is not JSON"),
        (["call", "p/x", "[1]"], "DATA-JSON must be a JSON object"),
        (["call", "p/x", "@none.json"], "cannot read 'none.json'"),
        (["call", "p/x", "--timeout", "-1"], "--timeout must be seconds above 0"),
        (["call", "p/x", "--timeout", "nan"], "--timeout must be seconds above 0"),
        (["call", "p/x", "--expires-in", "0"], "--expires-in must be seconds above 0"),
        (["call", "p/x", "--expires-in", "nan"], "--expires-in must be seconds above 0, or inf"),
        (["call", "p/x", "--organization-file", "none.json"], "organization_id: is not known"),
        (["call", "p/x", *WHO, "--transport", "pigeon"], "transport: must be"),
        (["call", "p/x", *WHO, "--dialect", "latin"], "--dialect"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], text: str, run_cli: RunCli, example_file: Path
) -> None:
    outcome = run_cli(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    last = [line for line in outcome.err.splitlines() if "petalkit: next: " not in line][-1]
    assert last.startswith("petalkit: error: ")
    assert text in last
    assert "Traceback" not in outcome.err
    assert "secret" not in outcome.err


def test_a_name_from_outside_cannot_steer_the_terminal(run_cli: RunCli) -> None:
    outcome = run_cli("list", "no\x1b[2Jsuch\nthing.py")
    assert "\x1b" not in outcome.err
    assert len(outcome.err.splitlines()) == 1


class FakeClient:
    """Stands for a device: answers with `outcome`, or raises it."""

    identity = Identity("acme", "Instance-1")

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        self.calls: list[tuple[str, Any, float]] = []
        self.expires_in: float | None = None
        self.message_id: str | None = None

    async def request(
        self,
        command: str,
        data: Any,
        *,
        timeout: float,
        expires_in: float | None,
        message_id: str,
    ) -> Response:
        self.calls.append((command, data, timeout))
        self.expires_in = expires_in
        self.message_id = message_id
        await trio.lowlevel.checkpoint()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return Response(self.outcome)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    fake = FakeClient({"messageId": "m", "timestamp": "t", "success": True, "message": "Hello!"})

    @contextlib.asynccontextmanager
    async def open_client(settings: Settings, **how: Any) -> AsyncGenerator[FakeClient, None]:
        await trio.lowlevel.checkpoint()
        if isinstance(fake.outcome, ConnectFailed):
            raise fake.outcome
        yield fake

    monkeypatch.setattr(session, "open_client", open_client)
    return fake


def test_call_prints_what_matters(device: FakeClient, run_cli: RunCli) -> None:
    outcome = run_cli("call", "p/x", '{"a": 1}', "--timeout", "5")
    assert outcome.code == 0
    assert json.loads(outcome.out) == {"message": "Hello!"}
    assert device.calls == [("p/x", {"a": 1}, 5.0)]


def test_call_can_say_how_long_a_command_is_wanted(device: FakeClient, run_cli: RunCli) -> None:
    assert run_cli("call", "p/x", "--expires-in", "2.5").code == 0
    assert device.expires_in == 2.5
    assert run_cli("call", "p/x", "--expires-in", "inf").code == 0
    assert device.expires_in == math.inf
    assert run_cli("call", "p/x").code == 0
    assert device.expires_in is None


def test_call_json_prints_the_whole_response_as_one_line(
    device: FakeClient, run_cli: RunCli
) -> None:
    outcome = run_cli("call", "p/x", "--json")
    assert outcome.code == 0
    assert outcome.out.count("\n") == 1
    assert json.loads(outcome.out) == device.outcome


def test_call_reads_data_from_a_file(device: FakeClient, run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('{"from": "file"}')
    assert run_cli("call", "p/x", "@data.json").code == 0
    assert device.calls[0][1] == {"from": "file"}


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_an_answered_error_is_exit_code_1(
    flags: list[str], device: FakeClient, run_cli: RunCli
) -> None:
    device.outcome = {
        "messageId": "m",
        "success": False,
        "error": "no\x1b[2J\nway",
        "error_code": "BUSY",
        "retryable": True,
    }
    outcome = run_cli("call", "p/x", *flags)
    assert outcome.code == 1
    assert "\x1b" not in outcome.out + outcome.err
    if flags:
        assert json.loads(outcome.out) == device.outcome
    else:
        assert outcome.err == "petalkit: error: the device answered BUSY: no\\x1b[2J\\nway\n"
        assert json.loads(outcome.out) == {
            "error_code": "BUSY",
            "error": "no\x1b[2J\nway",
            "retryable": True,
        }


@pytest.mark.parametrize(
    ("retry", "advice"),
    [
        (
            "same_id",
            "it was not started; to send it again, use the same --message-id again: --message-id m",
        ),
        (
            "new_id",
            "it was started, and may have done part of its work; to repeat it, make a new call",
        ),
    ],
)
def test_call_says_how_to_send_it_again(
    retry: str, advice: str, device: FakeClient, run_cli: RunCli
) -> None:
    device.outcome = {
        "messageId": "m",
        "success": False,
        "error": "no",
        "error_code": "BUSY",
        "retryable": True,
        "retry": retry,
    }
    assert run_cli("call", "p/x").err.splitlines()[1:] == [f"petalkit: next: {advice}"]


def test_call_names_the_keys_that_the_device_ignored(device: FakeClient, run_cli: RunCli) -> None:
    device.outcome = {
        "success": True,
        "unknown_keys": [
            {"path": "data.smoth", "message": "is not a known field; did you mean 'smooth'?"},
            {"path": "data.\x1b[2J", "message": "is not a known field"},
        ],
    }
    outcome = run_cli("call", "p/x", '{"smoth": true}')
    assert (outcome.code, json.loads(outcome.out)) == (0, {"success": True})
    assert outcome.err.splitlines() == [
        "petalkit: warning: the device ignored data.smoth, which is not a known field; "
        "did you mean 'smooth'?",
        "petalkit: warning: the device ignored data.\\x1b[2J, which is not a known field",
    ]
    assert json.loads(run_cli("call", "p/x", "--json").out) == device.outcome


@pytest.mark.parametrize("own", [3, ["a"], [{"path": "x"}], {"path": "x", "message": "y"}])
def test_a_result_may_hold_unknown_keys_of_its_own(
    own: Any, device: FakeClient, run_cli: RunCli
) -> None:
    device.outcome = {"success": True, "unknown_keys": own}
    outcome = run_cli("call", "p/x")
    assert (json.loads(outcome.out), outcome.err) == ({"unknown_keys": own}, "")


HOST_HEAD = {"messageId": "m", "phase": "result", "timestamp": "t", "deviceId": "Instance-1"}


@pytest.mark.parametrize(
    ("fields", "err", "out"),
    [
        ({"status": "success", "message": "Hello!"}, "", {"message": "Hello!"}),
        ({"status": "success"}, "", {"success": True}),
        ({"status": "armed", "success": True}, "", {"status": "armed"}),
        (
            {"status": "error", "message": "later", "error_code": "BUSY", "retryable": True},
            "BUSY: later",
            {"error_code": "BUSY", "error": "later", "retryable": True},
        ),
        (
            {"status": "error", "message": "a", "error": "b"},
            "ERROR: b",
            {"error_code": "ERROR", "error": "b", "message": "a"},
        ),
        ({"status": "error"}, "ERROR: without a text", {"error_code": "ERROR", "error": ""}),
    ],
)
def test_a_response_of_the_host_is_shown_without_its_envelope(
    fields: dict[str, Any], err: str, out: Any, device: FakeClient, run_cli: RunCli
) -> None:
    device.outcome = {**HOST_HEAD, **fields}
    outcome = run_cli("call", "p/x", "--dialect", "host-0.2")
    assert outcome.code == (1 if err else 0)
    assert outcome.err == (f"petalkit: error: the device answered {err}\n" if err else "")
    assert (json.loads(outcome.out) if outcome.out else None) == out


def test_a_result_of_the_guide_may_hold_the_hosts_fields(
    device: FakeClient, run_cli: RunCli
) -> None:
    device.outcome = {"messageId": "m", "timestamp": "t", "success": True, "status": "success"}
    assert json.loads(run_cli("call", "p/x").out) == {"status": "success"}
    device.outcome = {"success": True, "deviceId": "camera", "phase": "moon"}
    assert json.loads(run_cli("call", "p/x").out) == {"deviceId": "camera", "phase": "moon"}


def test_the_message_id_of_a_call_can_be_given(device: FakeClient) -> None:
    assert main(["call", "p/x", "--message-id", "test-123", *WHO]) == 0
    assert device.message_id == "test-123"
    made = set()
    for _ in range(2):
        assert main(["call", "p/x", *WHO]) == 0
        made.add(device.message_id)
    assert len(made) == 2
    assert "test-123" not in made


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            CallTimeout("p/x", "m", 30, sent=False, expires_at=None),
            "no answer to 'p/x' within 30 s; it was not sent. "
            "Is the device there, and is it 'org/acme/device/Instance-1'?",
        ),
        (ConnectFailed("connection refused"), "mqtt://localhost:1883: connection refused"),
        (PayloadError(ErrorCode.TOO_LARGE, "too large"), "too large"),
    ],
)
def test_no_answer_is_exit_code_2(
    error: Exception, text: str, device: FakeClient, run_cli: RunCli
) -> None:
    device.outcome = error
    outcome = run_cli("call", "p/x")
    assert outcome.code == 2
    assert outcome.out == ""
    first, *more = outcome.err.splitlines()
    assert text in first
    # Where the cause may be looked for, by whom.
    named = "petalkit: next: `petalkit doctor` looks for the cause"
    assert len(more) == 1
    assert (more == [named]) is not isinstance(error, PayloadError)


def test_a_call_without_an_answer_says_what_may_still_happen(
    device: FakeClient, run_cli: RunCli
) -> None:
    end = "2026-11-30T12:00:00Z"
    device.outcome = CallTimeout("p/x", "m-7", 2, sent=True, expires_at=end)
    outcome = run_cli("call", "p/x", "--timeout", "2")
    assert outcome.code == 2
    assert f"does not start it after {end}" in outcome.err
    assert "--message-id m-7" in outcome.err


@pytest.mark.parametrize(
    ("message_id", "typed"),
    [("a b", "--message-id 'a b'"), ("-x", "--message-id=-x"), ("$(id)", "--message-id '$(id)'")],
)
def test_what_is_to_be_typed_again_is_quoted(
    message_id: str, typed: str, device: FakeClient, run_cli: RunCli
) -> None:
    device.outcome = CallTimeout("p/x", message_id, 2, sent=True, expires_at="2026-11-30T12:00:00Z")
    assert typed in run_cli("call", "p/x", "--message-id=" + message_id).err


def test_a_command_that_expires_at_once_leads_to_the_clocks(
    device: FakeClient, run_cli: RunCli
) -> None:
    device.outcome = {
        "timestamp": "2031-01-01T00:00:00Z",
        "success": False,
        "error_code": "EXPIRED",
    }
    assert "which says 2031-01-01T00:00:00Z" in run_cli("call", "p/x").err
    assert "which says" not in run_cli("call", "p/x", "--expires-in", "2").err


def test_demo_without_its_broker_names_what_to_install(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    outcome = run_cli("demo")
    assert outcome.code == 2
    assert "pip install 'petalkit[broker]'" in outcome.err


def test_main_takes_the_arguments_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["petalkit", "--version"])
    assert main() == 0
    assert __version__ in capsys.readouterr().out


CONTRACT = '''
import enum
from typing import Annotated
import attrs
import msgspec
from petalkit import Petal, command

class Mode(enum.Enum):
    FAST = "fast"
    SLOW = "slow"

@attrs.frozen
class Point:
    x: Annotated[float, msgspec.Meta(ge=-10, le=10)]
    y: float = 0.0

@attrs.frozen
class Report:
    at: Point
    done: bool

class Mover(Petal):
    name = "mover"
    version = "1.2"

    @command("move", unknown_keys="refuse")
    async def move(self, to: Point, via: list[Point] = (), mode: Mode = Mode.FAST) -> Report:
        """Move there."""

    @command("count")
    async def count(self) -> int: ...
'''


def test_list_shows_values_ranges_nested_fields_and_results(
    run_cli: RunCli, tmp_path: Path
) -> None:
    (tmp_path / "mover.py").write_text(CONTRACT)
    outcome = run_cli("list", "mover.py")
    assert outcome.err == ""
    assert outcome.out == (
        "mover 1.2\n"
        "\n"
        "  mover/count  [timeout 60 s]\n"
        "      -> int, as `result`\n"
        "\n"
        "  mover/move  [refuses unknown keys, timeout 60 s]\n"
        "      Move there.\n"
        "      to: Point (required)\n"
        "          x: float (required), at least -10, at most 10\n"
        "          y: float = 0.0\n"
        "      via: list[Point] = ()\n"
        "          Point:\n"
        "              x: float (required), at least -10, at most 10\n"
        "              y: float = 0.0\n"
        "      mode: Mode = 'fast', one of 'fast', 'slow'\n"
        "      -> Report\n"
        "          at: Point (required)\n"
        "              x: float (required), at least -10, at most 10\n"
        "              y: float = 0.0\n"
        "          done: bool (required)\n"
        "\n"
    )


def test_list_gives_json_schema(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "mover.py").write_text(CONTRACT)
    outcome = run_cli("list", "mover.py", "--json")
    assert outcome.err == ""
    (petal,) = json.loads(outcome.out)["petals"]
    assert (petal["name"], petal["version"]) == ("mover", "1.2")
    count, move = petal["commands"]
    assert count["result"] == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"result": {"type": "integer"}},
        "required": ["result"],
    }
    assert (move["name"], move["doc"]) == ("mover/move", "Move there.")
    assert move["options"]["unknown_keys"] == "refuse"
    point = {
        "title": "Point",
        "type": "object",
        "properties": {
            "x": {"type": "number", "minimum": -10, "maximum": 10},
            "y": {"type": "number", "default": 0.0},
        },
        "required": ["x"],
    }
    assert move["data"] == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "to": {"$ref": "#/$defs/Point"},
            "via": {"type": "array", "items": {"$ref": "#/$defs/Point"}},
            "mode": {"enum": ["fast", "slow"], "default": "fast"},
        },
        "required": ["to"],
        "additionalProperties": False,
        "$defs": {"Point": point},
    }
    assert move["result"]["$defs"]["Report"]["properties"]["at"] == {"$ref": "#/$defs/Point"}


def test_a_port_that_is_none_is_refused_by_the_demo(run_cli: RunCli) -> None:
    outcome = run_cli("demo", "--port", "99999")
    assert outcome.code == 2
    assert "--port must be from 0 to 65535, not 99999" in outcome.err
