"""Options: each name means one thing, and a path is a path however its file is called."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from petalkit import Settings
from petalkit.cli._app import make_app
from petalkit.cli._options import JournalSettings, RunSettings, with_host_proxy
from petalkit.cli._settings.loading import load

from .conftest import RunCli

COMMANDS = [
    *([name] for name in ("run", "list", "call", "jobs", "cancel", "devices", "info")),
    *([name] for name in ("doctor", "broker", "console", "demo")),
    *(["journal", name] for name in ("list", "show", "forget", "vacuum")),
]
WHO = ("--organization-id", "acme", "--device-id", "Instance-1")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_two_options_have_one_name(command: list[str]) -> None:
    _, apps, rest = make_app().parse_commands([*command])
    assert not rest
    arguments = apps[-1].assemble_argument_collection()
    counts = Counter(name for one in arguments for name in one.names if name.startswith("-"))
    assert counts
    assert {name: count for name, count in counts.items() if count > 1} == {}


@pytest.mark.parametrize("words", [("--proxy", "http://127.0.0.1:9"), ("--proxy=off",)])
def test_the_doctor_takes_the_http_proxy(words: tuple[str, ...], run_cli: RunCli) -> None:
    outcome = run_cli("doctor", *WHO, *words, "--broker", "mqtt://127.0.0.1:9", "--json")
    assert outcome.code == 1, outcome
    assert outcome.err == ""


def test_the_old_name_of_the_other_is_told_apart_by_its_form(
    run_cli: RunCli, tmp_path: Path
) -> None:
    assert with_host_proxy(["run", "--proxy", "http://h:1?a=b", "--proxy=off", "--proxy"])[1] == []
    assert with_host_proxy(["x", "--", "--proxy", "redis=none"])[1] == []
    words, found = with_host_proxy(["x", "--proxy", "redis=none", "--proxy=db=m:f"])
    assert words == ["x", "--host-proxy", "redis=none", "--host-proxy=db=m:f"]
    assert found == ["redis=none", "db=m:f"]
    outcome = run_cli("list", str(tmp_path / "x.py"), "--proxy", "redis=none")
    warning, error = outcome.err.splitlines()
    assert warning == (
        "petalkit: warning: --proxy redis=none: write --host-proxy redis=none; --proxy is the HTTP "
        "proxy"
    )
    assert "--host-proxy redis is for petals of the host: add --host-compat" in error


@pytest.mark.parametrize("word", ["off", "none", "on", "0", "TRUE"])
def test_a_file_with_the_name_of_a_word_is_written_with_its_folder(
    word: str, run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / word
    assert load({"journal": f"./{word}"}).settings.journal == here
    assert Settings(journal=Path(word)).journal == here
    outcome = run_cli("journal", "list", "--journal", f"./{word}")
    assert str(here) in outcome.err
    config = tmp_path / "c.toml"
    config.write_text(f'[petalkit]\njournal = "./{word}"\n')
    monkeypatch.chdir(tmp_path)
    assert load(config=Path("c.toml")).settings.journal == here
    monkeypatch.setenv("PETALKIT_JOURNAL", f"./{word}")
    assert load().settings.journal == here


def test_a_word_on_the_command_line_is_a_word(run_cli: RunCli) -> None:
    outcome = run_cli("journal", "list", "--journal", "off")
    assert outcome.code == 2
    assert "the journal is off" in outcome.err


def test_the_options_keep_what_was_typed() -> None:
    for options in (RunSettings, JournalSettings):
        make: Any = options
        assert make(journal="./off").given() == {"journal": "./off"}
