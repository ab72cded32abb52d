"""A plain command line of `run` is read without the parser, and means what that makes of it."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from petalkit.cli._app import make_app
from petalkit.cli._options import GeneralOptions, HostOptions, RunSettings
from petalkit.cli._running import plain as plain_module
from petalkit.cli._running.plain import read_plain
from petalkit.cli._settings import loading
from petalkit.cli._settings.variables import LogFormat, LogLevel

# Of each type some that are plain, and some that may be anything.
SAMPLES = {
    str: ["x", "mqtt://h:1", "a b", "~/x", "0", "off", "ü", "a=b", "-x", "", "{device_id}"],
    Path: ["x", "/a/b", "./off", "~/x", "off", "a//b", ".", "-", "", "a b"],
    int: ["0", "7", "007", "65536", "1e3", "1_0", "+1", "-1", "x", " 1", "\u0661", "1.0", "0x10"],
    float: ["0", "1.5", "007.250", "1e3", "inf", "nan", "1_0", "-1", "x", ".5", "5.", "\u0661"],
}
OPTIONS: dict[str, Any] = {
    **loading.setting_types(),
    "config": Path,
    "log_level": LogLevel,
    "log_format": LogFormat,
}
NAMES = sorted({*loading.loadable_fields(), "config", "log_level", "log_format"})
USUAL = ("broker", "journal", "protocol", "grace", "keep_alive", "allow_insecure", "log_level")
PARSER = make_app("run")


def by_parser(tokens: list[str]) -> Any:
    """As `read_plain` says it; the error if there is one."""
    try:
        _, bound, _ = PARSER.parse_args(["run", *tokens], exit_on_error=False, print_error=False)
    except Exception as error:
        return type(error).__name__
    found = bound.arguments
    general = found.get("general") or GeneralOptions()
    host = found.get("host") or HostOptions()
    return (
        tuple(bound.args),
        (general.config, general.log_level, general.log_format),
        (host.host_compat, host.host_proxy),
        (found.get("settings") or RunSettings()).given(),
        found.get("strict", False),
    )


def by_us(tokens: list[str]) -> Any:
    """None where it is left to the parser."""
    found = read_plain(tokens)
    if found is None:
        return None
    return (
        found.targets,
        (found.general.config, found.general.log_level, found.general.log_format),
        (found.host.host_compat, found.host.host_proxy),
        found.settings.given(),
        found.strict,
    )


def samples(kind: Any) -> list[str]:
    parts = [one for one in typing.get_args(kind) if one is not type(None)]
    if typing.get_origin(kind) is typing.Literal:
        return [*parts, parts[0].upper(), "other"]
    if parts and typing.get_origin(kind) is not tuple:
        return samples(parts[0])
    return SAMPLES.get(kind, ["x", "true", "1"])


def check(name: str) -> None:
    option = "--" + name.replace("_", "-")
    lines = [[option], ["--no-" + option[2:]], [option, "x", option, "x"]]
    for value in samples(OPTIONS[name]):
        lines.append([option, value, "a.py"])
    read = 0
    for line in lines:
        ours = by_us(line)
        if ours is not None:
            assert ours == by_parser(line), line
            read += 1
    field = loading.loadable_fields().get(name)
    is_secret = field is not None and field.metadata["secret"]
    has_parts = typing.get_origin(OPTIONS[name]) in (tuple, Mapping)
    assert (read > 0) == (not is_secret and not has_parts and name != "proxy")


@pytest.mark.parametrize("name", USUAL)
def test_usual_options_mean_the_same(name: str) -> None:
    check(name)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", NAMES)
def test_every_option_means_the_same(name: str) -> None:
    check(name)


@pytest.mark.parametrize(
    "line",
    [
        "a.py",
        "",
        "a.py b.py c:D --strict",
        "folder --host-compat --log-level debug --log-format json",
        "a.py --broker mqtt://h --organization-id o --device-id d --journal /j --grace 2.5",
        "a.py --allow-insecure --no-status-retain --keep-alive 20 --protocol 5 --config p.toml",
    ],
)
def test_usual_lines_are_plain(line: str) -> None:
    ours = by_us(line.split())
    assert ours is not None
    assert ours == by_parser(line.split())


@pytest.mark.parametrize(
    "line",
    [
        "--help", "a.py -h", "--version", "a.py --broker", "a.py --broker --strict", "a.py -v",
        "a.py --password x", "a.py --nothing", "a.py --no-broker", "a.py --broker=x", "-",
        "a.py -- b.py", "a.py --strict=true",
        "a.py --broker a --broker b", "a.py --strict --strict",
        "a.py --host-proxy x=none", "a.py --proxy x=y:z", "a.py --alpn x", "a.py --keep_alive 5",
        "a.py --protocol 6", "a.py --grace -1", "a.py --empty-alpn", "a.py --no-strict",
    ],
)  # fmt: skip
def test_all_else_is_left_to_the_parser(line: str) -> None:
    assert read_plain(line.split()) is None


def test_a_mistake_is_told_as_ever(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plain_module.run_plain(["nowhere.py", "--broker", "mqtt://127.0.0.1:9"]) == 2
    assert "petalkit: error: " in capsys.readouterr().err
    assert plain_module.run_plain([]) == 2
    assert "which petal?" in capsys.readouterr().err
    assert plain_module.run_plain(["--help"]) is None
