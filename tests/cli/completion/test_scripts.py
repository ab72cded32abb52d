"""Scripts for shells, in the shells themselves where they are installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from petalkit.cli._app import _COMMANDS, make_app
from petalkit.cli._completion.scripts import SHELLS, make_script
from petalkit.cli._completion.words import Words, read_words

from ...brokers import Mosquitto
from ..conftest import RunCli
from ..programs import LIMIT, WHO, Start, serve

WORDS = {one.name: one for one in read_words(make_app())}


def options(command: str) -> dict[str, object]:
    return {name: one for one in WORDS[command].options for name in one.names}


def test_every_command_and_option_is_there() -> None:
    hidden = {"complete-names"}
    assert {name.split()[0] for name in WORDS} == set(_COMMANDS) - hidden | {"help"}
    assert {"journal list", "journal show", "journal forget", "journal vacuum"} <= WORDS.keys()
    assert {"--broker", "--journal", "--no-clean-start", "--help-all"} <= options("run").keys()
    assert {"--only", "--json", "--device"} <= options("watch").keys()
    assert WORDS["call"].positionals == ("commands", "")
    assert WORDS["run"].positionals == ("files",)
    assert WORDS["completion"].choices == SHELLS


def test_what_a_value_may_be_is_known() -> None:
    found = {one.names[0]: one for one in WORDS["call"].options}
    assert found["--log-level"].choices == ("debug", "info", "warning", "error")
    assert found["--config"].kind == "files"
    assert found["--device-id"].kind == "devices"
    assert not found["--json"].takes_value
    assert found["--timeout"].takes_value
    assert found["--broker"].help.startswith("Address of the broker")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_word_means_nothing_to_a_shell(shell: str) -> None:
    hostile = Words("x", "it's `id` $(reboot) \\", (), ("files",), ())
    script = make_script(shell, [hostile, *WORDS.values()])
    assert "it's" not in script
    assert script.count("'") % 2 == make_script(shell, list(WORDS.values())).count("'") % 2


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_the_script(shell: str, run_cli: RunCli) -> None:
    outcome = run_cli("completion", shell)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == make_script(shell, list(WORDS.values()))


def test_another_shell_is_refused(run_cli: RunCli) -> None:
    assert run_cli("completion", "tcsh").code == 2


# -- in the shells

BASH = """
try() {
    COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDS=($1)
    _petalkit_complete
    echo "${COMPREPLY[*]}"
}
"""
ZSH = """
compdef() {}
compadd() { print -r -- ${(P)2} }
_describe() { local name=${@[-1]}; print -r -- ${${(P)name}%%:*} }
_files() { print files }
try() { words=(${=1}); [[ $1 == *' ' ]] && words+=(""); CURRENT=${#words}; _petalkit }
"""


def complete(shell: str, folder: Path, line: str) -> set[str]:
    """What a shell offers behind a line."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    script = folder / f"script.{shell}"
    script.write_text(make_script(shell, list(WORDS.values())))
    home = folder / "bin" / "petalkit"
    home.parent.mkdir(exist_ok=True)
    home.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m petalkit \"$@\"\n")
    home.chmod(0o755)
    line = line.replace("petalkit", str(home), 1) if shell == "bash" else line
    code = {
        "bash": f"source {script}\n{BASH}\ntry {quoted(line)}",
        "zsh": f"{ZSH}\nsource {script}\ntry {quoted(line)}",
        "fish": f"source {script}\ncomplete -C {quoted(line)}",
    }[shell]
    done = subprocess.run(
        [program, *({"bash": ["--norc"], "zsh": ["-f"], "fish": ["-N"]}[shell]), "-c", code],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        env={
            "PATH": f"{home.parent}:/usr/bin:/bin",
            "HOME": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"),
        },
    )
    assert done.stderr == ""
    if shell == "fish":
        return {one.partition("\t")[0] for one in done.stdout.splitlines()}
    return set(done.stdout.split())


def quoted(line: str) -> str:
    return "'" + line.replace("'", "'\\''") + "'"


@pytest.mark.process
@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_options_and_values(shell: str, tmp_path: Path) -> None:
    assert {"run", "call", "watch", "journal"} <= complete(shell, tmp_path, "petalkit ")
    assert "complete-names" not in complete(shell, tmp_path, "petalkit ")
    assert {"list", "show"} <= complete(shell, tmp_path, "petalkit journal ")
    assert {"--log-level", "--log-format"} <= complete(shell, tmp_path, "petalkit call --log")
    levels = {"debug", "info", "warning", "error"}
    assert complete(shell, tmp_path, "petalkit call --log-level ") == levels
    assert "--state" in complete(shell, tmp_path, "petalkit journal list --st")
    assert {"bash", "zsh", "fish"} <= complete(shell, tmp_path, "petalkit completion ")
    assert "journal" in complete(shell, tmp_path, "petalkit help jo")


def offered(shell: str, folder: Path, line: str) -> set[str]:
    """The same, with Tab again and again: a busy machine may not answer within its second."""
    limit = time.monotonic() + LIMIT
    while not (found := complete(shell, folder, line)) and time.monotonic() < limit:
        pass
    return found


@pytest.mark.broker
@pytest.mark.process
def test_a_shell_completes_what_only_the_broker_knows(
    start: Start, mosquitto: Mosquitto, example_file: Path, tmp_path: Path
) -> None:
    serve(start, mosquitto, str(example_file))
    line = f"petalkit call --broker {mosquitto.url} --organization-id acme --device-id "
    call = f"petalkit call --broker {mosquitto.url} {' '.join(WHO)} "
    installed = [shell for shell in SHELLS if shutil.which(shell)]
    for shell in installed:
        assert offered(shell, tmp_path, line) == {"Instance-1"}
        assert "example-petal/hello" in offered(shell, tmp_path, call)
    # Whoever does not answer is silence.
    mosquitto.stop()
    other = line.replace("acme", "other")
    for shell in installed:
        assert complete(shell, tmp_path, other) == set()
