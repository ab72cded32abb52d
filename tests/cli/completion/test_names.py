"""Names for a shell: within a second, from a file or the broker, and without a word."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from petalkit.cli._completion.kept import FILES_MAX, NAMES_MAX, Kept, safe_names
from petalkit.cli._completion.names import (
    FRESH,
    LIMIT,
    Typed,
    find_names,
    names_of,
    read_line,
    served_names,
)
from petalkit.cli._completion.words import Kind
from petalkit.testing import Harness, MemoryTransport, open_harness
from petalkit.transports.memory import MemoryBroker

from ...client.long_work import CALLER, LongPetal


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "petalkit" / "completion"


async def names(
    harness: Harness | MemoryBroker, kind: Kind, device: str | None = None
) -> list[str]:
    broker = harness if isinstance(harness, MemoryBroker) else harness.broker
    return await names_of(kind, Typed(CALLER, device), transport=MemoryTransport(broker))


@pytest.mark.trio
async def test_a_device_says_its_names(autojump_clock: object) -> None:
    async with open_harness(LongPetal()) as harness:
        assert await names(harness, "commands") == [
            *("long/copy", "long/detect", "long/hello"),
            *("petalkit/info", "petalkit/jobs", "petalkit/ping", "petalkit/statistics"),
        ]
        streams = ["long/broken", "long/position", "long/short"]
        assert await names(harness, "watchable") == sorted(["long/copy", *streams])
        assert await names(harness, "served") == sorted(
            ["long", "long/copy", "long/detect", "long/hello", *streams]
        )
        assert await names(harness, "devices") == ["Instance-1"]
        assert await names(harness, "starts") == ["1"]
        assert await names(harness, "commands", "Inst") == await names(harness, "commands")
        await harness.call("long/copy", {"count": 3})
        assert await names(harness, "jobs") == ["made-1"]


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@pytest.mark.trio
async def test_a_device_that_is_silent_costs_a_second_and_its_old_names_are_used(
    autojump_clock: object, cache: Path
) -> None:
    async with open_harness(LongPetal()) as harness:
        known = await names(harness, "commands")
    (path,) = files(cache)
    broker = MemoryBroker()  # where nobody answers
    began = trio.current_time()
    assert await names(broker, "commands") == known  # fresh: nobody is asked
    assert trio.current_time() == began
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "time": time.time() - FRESH - 1}))
    assert await names(broker, "commands") == known
    assert trio.current_time() - began == pytest.approx(LIMIT, abs=0.3)
    path.unlink()
    assert await names(broker, "commands") == []
    assert await names(broker, "devices") == []
    assert not files(cache)  # what was not found is not kept


def test_what_a_shell_would_run_is_no_name() -> None:
    hostile = [
        *("$(reboot)", "a b", "`id`", "a;b", "-rf", "--device-id", "~root", "a\nb", "\x1b[2J", ""),
        *("a'b", 'a"b', "a|b", "a>b", "a&b", "a\\b", "a*", "{a,b}", "x" * 257, "!1", "#", "=ls"),
        *(None, 3, ["a"], "a=b"),
    ]
    assert safe_names([*hostile, "b/c-d_e.f:1+2@x", "a", "a"]) == ["a", "b/c-d_e.f:1+2@x"]
    assert len(safe_names(str(n) for n in range(5000))) == NAMES_MAX


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b'{"time": 1}', b'{"time": "x", "names": []}', b"\xff",
        b'{"time": 1e999, "names": ["a"]}', b'{"time": 0, "names": ["a"]}', b"[" * 100_000,
        b'{"time": 99999999999, "names": ["a"]}', b'{"time": 1000, "names": [3]}',
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_no_names(content: bytes, cache: Path) -> None:
    kept = Kept.of("devices", "x")
    kept.write(["a"])
    assert kept.path is not None
    assert kept.read(60) == ["a"]
    assert kept.path.stat().st_mode & 0o777 == 0o600
    assert cache.stat().st_mode & 0o777 == 0o700
    kept.path.write_bytes(content)
    assert kept.read(60) is None
    kept.path.write_bytes(json.dumps({"time": time.time(), "names": ["$(id)", "b"]}).encode())
    assert kept.read(60) == ["b"]


def test_the_files_are_bounded(cache: Path) -> None:
    for number in range(FILES_MAX + 20):
        Kept.of("devices", str(number)).write(["a"])
    assert len(list(cache.iterdir())) == FILES_MAX
    assert Kept.of("devices", str(FILES_MAX + 19)).read(60) == ["a"]


def test_without_a_folder_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("petalkit.cli._completion.kept.cache_folder", lambda: None)
    kept = Kept.of("x")
    kept.write(["a"])
    assert kept.read(60) is None
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    Kept.of("x").write(["a"])  # a folder in which nothing can be written
    assert Kept.of("x").read(60) is None


def test_a_line_that_is_being_typed_says_where_to_ask(tmp_path: Path) -> None:
    config = tmp_path / "a b.toml"
    config.write_text('[petalkit]\norganization_id = "acme"\n')
    line = f"petalkit call --config '{config}' --broker=mqtt://h:1 --device ab --timeout 3 x '"
    typed = read_line(line)
    assert typed is not None
    assert (typed.settings.organization_id, typed.settings.broker) == ("acme", "mqtt://h:1")
    assert typed.device == "ab"
    typed = read_line("petalkit call --organization-id acme --device-id Inst")
    assert typed is not None
    assert typed.settings.device_id is None  # it is what is being typed


@pytest.mark.parametrize(
    "line",
    [
        "petalkit call --broker nonsense:// ", "petalkit call --config /none.toml ", "'", "\\",
        "petalkit call --keep-alive soon ", "petalkit call --organization-id a/b ", "\x00", "",
        "petalkit call --organization-file /none.json ",
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_silence(
    line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETALKIT_BROKER", "mqtt://127.0.0.1:9")
    assert find_names("devices", line) == []
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_pipe_in_the_place_of_kept_names_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    os.mkfifo(path)

    def write() -> None:  # waits for a reader
        with contextlib.suppress(BrokenPipeError):
            path.write_bytes(b'{"time": 1.0, "names": ["a"]}')

    writer = threading.Thread(target=write)
    writer.start()
    assert Kept(path).read(10.0, now=1.0) is None
    last = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # which lets it go
    writer.join()
    os.close(last)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["commands", "jobs", "streams", "petals", "name"]), inner, max_size=5
    ),
    max_leaves=20,
))  # fmt: skip
def test_whatever_a_device_serves_there_are_names_or_none(said: Any) -> None:
    kinds: tuple[Kind, ...] = ("commands", "watchable", "served")
    for kind in kinds:
        found = served_names(kind, said if isinstance(said, dict) else {"commands": said})
        assert isinstance(safe_names(found), list)
