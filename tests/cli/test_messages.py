"""What is said of a mistake, for people and for programs, and the pages of help."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from petalkit import ConfigError, RegistrationError, Settings, command, job, stream
from petalkit._values.errors import without_addresses
from petalkit.cli import _app
from petalkit.cli._errors import CommandFailed, explain, report, say_next

from .conftest import RunCli
from .programs import LIMIT, WHO

BAD = {
    "timeout.py": '@command("x", timeout=helper)\n    async def x(self): ...',
    "bare.py": "@command\n    async def x(self): ...",
    "over.py": 'x = command("x")(print)',
    "raises.py": '@command("x")\n    async def x(self): ...\n    raise ValueError(helper)',
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_no_error_shows_where_something_is_in_memory(
    name: str, flags: tuple[str, ...], run_cli: RunCli, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(
        "from petalkit import Petal, command\n\n"
        "def helper(): ...\n\n"
        f'class P(Petal):\n    name = "p"\n    {BAD[name]}\n'
    )
    outcome = run_cli("list", name, *flags)
    assert outcome.code == 2
    said = outcome.out + outcome.err.partition("Traceback")[0]
    assert "function" in said
    assert " at 0x" not in said
    if flags:
        assert outcome.err == ""
        assert json.loads(outcome.out)["exit_code"] == 2


def test_errors_of_ours_have_no_addresses() -> None:
    def helper() -> None: ...

    with pytest.raises(ConfigError) as wrong:
        Settings(grace=helper)  # type: ignore[arg-type]
    assert "helper" in str(wrong.value)
    assert " at 0x" not in str(wrong.value)
    assert " at 0x" not in str(RegistrationError(f"not {helper!r}", petal="p"))
    for decorator in (command, job, stream):
        with pytest.raises(TypeError) as bare:
            decorator(helper)  # type: ignore[arg-type]
        assert "helper" in str(bare.value)
        assert " at 0x" not in str(bare.value)
        with pytest.raises(TypeError) as over:
            decorator("x")(object())  # type: ignore[type-var]
        assert " at 0x" not in str(over.value)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("<function f at 0x7f1b9b9add00>", "<function f>"),
        ("<bound method A.x of <p.A object at 0x7F00>>", "<bound method A.x of <p.A object>>"),
        ("the byte at 0x10 is wrong", "the byte at 0x10 is wrong"),
    ],
)
def test_what_is_said_of_a_place_is_left(text: str, plain: str) -> None:
    assert without_addresses(text) == plain


# -- for programs


@pytest.mark.parametrize(
    ("arguments", "code", "error_code"),
    [
        (("call", "p/x", "{", "--json"), 2, "USAGE"),
        (("call", "--json"), 2, "USAGE"),
        (("jobs", "--json", "--brokr", "x"), 2, "USAGE"),
        (("devices", "--json", "--keep-alive", "0"), 2, "CONFIG"),
        (("info", "--json", "--organization-id", "a/b"), 2, "CONFIG"),
        (("list", "none.py", "--json"), 2, "USAGE"),
        (("journal", "list", "--journal", "none", "--json"), 2, "USAGE"),
        (("doctor", "--json", "--data", "{}"), 2, "USAGE"),
        (("watch", "--json", "--rate", "0"), 2, "USAGE"),
        (("call", "p/x", "--json", "--password", "hush"), 2, "USAGE"),
    ],
)
def test_a_program_gets_one_object_of_a_mistake(
    arguments: tuple[str, ...], code: int, error_code: str, run_cli: RunCli
) -> None:
    outcome = run_cli(*arguments)
    assert outcome.code == code
    (line,) = outcome.out.splitlines()
    said = json.loads(line)
    assert (said["success"], said["error_code"], said["exit_code"]) == (False, error_code, code)
    assert said["error"]
    assert "hush" not in line
    assert outcome.err == ""


def test_what_stands_behind_two_dashes_is_no_option(run_cli: RunCli) -> None:
    outcome = run_cli("cancel", "--device-id", "a/b", "--", "--json")
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("petalkit: error: device_id: ")


def test_ctrl_c_is_an_object_for_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(KeyboardInterrupt(), as_json=True) == 130
    assert json.loads(capsys.readouterr().out)["error_code"] == "INTERRUPTED"
    assert explain(KeyboardInterrupt()) == 130
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_ctrl_c_while_it_connects_is_told_too(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parser would take it, and leave by itself."""

    def press(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("petalkit.cli._caller.call.run_session", press)
    outcome = run_cli("call", "a/b", "--json", *WHO)
    assert outcome.code == 130
    assert json.loads(outcome.out)["error_code"] == "INTERRUPTED"
    outcome = run_cli("call", "a/b", *WHO)
    assert (outcome.code, outcome.out, outcome.err) == (130, "", "")


def test_what_to_do_next_has_lines_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    failed = CommandFailed("no\n\x1b[2J", hint=["one\x1b", "", "two"], details="more\n")
    assert explain(failed) == 1
    assert capsys.readouterr().err.splitlines() == [
        "petalkit: error: no\\n\\x1b[2J",
        "more",
        "petalkit: next: one\\x1b",
        "petalkit: next: two",
    ]
    assert failed.as_json()["hint"] == "one\x1b; two"


# -- help


def test_the_help_of_run_has_what_most_need(run_cli: RunCli) -> None:
    out = run_cli("run", "--help").out
    options = re.findall(r"^  (--[\[\]\w-]+)", out, re.MULTILINE)
    assert len(options) == 20
    assert len(out.splitlines()) < 100
    assert options[:3] == ["--config", "--log-level", "--log-format"]
    assert {"--broker", "--organization-id", "--journal", "--grace"} <= set(options)
    assert re.search(r"^\d+ more options: petalkit run --help-all$", out, re.MULTILINE)


@pytest.mark.parametrize("columns", ["40", "80", "200"])
@pytest.mark.parametrize("name", [one for one in _app._COMMANDS if one != "complete-names"])
def test_no_option_is_cut_in_two(
    name: str, columns: str, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    out = run_cli(name, "--help-all").out
    assert "more options" not in out
    assert not re.search(r"--[\w-]*-$", out, re.MULTILINE)
    if name == "run":
        options = set(re.findall(r"^  --(?:\[no-\])?([\w-]+)", out, re.MULTILINE))
        settings = {one.name.replace("_", "-") for one in Settings.__attrs_attrs__}
        secrets = {"password", "key-password", "sidecar-token", "compat-http-token"}
        assert {"keep-alive", "allow-insecure", "host-proxy", "strict"} <= options
        assert len(options & settings) > 120
        assert not secrets & options


@pytest.mark.parametrize("name", ["run", "call", "watch"])
def test_help_is_a_command_too(name: str, run_cli: RunCli) -> None:
    assert run_cli("help", name).out == run_cli(name, "--help").out
    assert "Commands:" in run_cli("help").out


def test_versions_are_told_wherever_they_are_asked_for(run_cli: RunCli) -> None:
    assert run_cli("call", "--version").out == run_cli("--version").out


# -- readers that have had enough


@pytest.mark.process
@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "example.py"),
        ("run", "--help-all"),
        ("doctor", "--broker", "mqtt://127.0.0.1:9", "--timeout", "0.1"),
        ("demo", "--once"),
        ("completion", "bash"),
    ],
    ids=" ".join,
)
def test_a_pipe_that_is_closed_is_no_error(arguments: tuple[str, ...], example_file: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "petalkit", *arguments],
            cwd=example_file.parent,
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    finally:
        os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 0


def test_letters_that_an_output_cannot_have_are_escaped(example_file: Path) -> None:
    text = example_file.read_text("utf-8")
    head = "class ExamplePetal(Petal):\n"
    assert head in text
    example_file.write_text(text.replace(head, f'{head}    """Größe"""\n'), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "petalkit", "list", "example.py"],
        cwd=example_file.parent,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Gr\\xf6\\xdfe" in done.stdout


def test_what_goes_wrong_is_not_on_stdout_where_stderr_was_closed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python has none then, and prints to stdout in its place: between lines for programs."""
    monkeypatch.setattr(sys, "stderr", None)
    report("it is slow", details="more", kind="warning")
    say_next(["look"])
    assert capsys.readouterr().out == ""
