"""`petalkit journal` as a user meets it, and where the journal of a device is."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from petalkit import ConfigError, Settings
from petalkit._serving.dispatch.after_answer.second_phase import SecondNote
from petalkit._serving.jobs.notes import JobNote, ReaderNote, Who
from petalkit._serving.ledger.forms import command_extras
from petalkit._serving.ledger.journal.operations import Noted, Requeued, Settled
from petalkit._serving.ledger.journal.store import JournalStore
from petalkit._serving.ledger.records import JournalError
from petalkit._values.job_states import JobState
from petalkit._values.messages import NO_PROPERTIES, Properties
from petalkit._values.request import Reply
from petalkit.cli._checks.machine import journal as _checks_journal
from petalkit.cli._journal.path import default_path, safe_name, with_journal
from petalkit.cli._running import serving
from petalkit.cli._settings.loading import load

from ..serving.ledger.journal.kit import MIB, accepted, done, finished, opened, posted, started
from .conftest import RunCli

WHO = ("--organization-id", "acme", "--device-id", "d")
SUCCESS = "success, answer "


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal of the device d is, when nobody says."""
    return tmp_path / "state" / "petalkit" / "d.journal"


@pytest.fixture
def store(path: Path) -> Iterator[JournalStore]:
    with opened(path) as store:
        yield store


# -- looking


def test_list_shows_what_there_is_newest_first(run_cli: RunCli, store: JournalStore) -> None:
    store.write([*done(1), *done(3, command="evil\x1b[31m/x")[:4]])
    store.write([*done(5)[:4], Settled(6, "expired"), accepted(7, None), started(7)])
    store.write([accepted(8), finished(8, "BUSY", remembered=False)])
    outcome = run_cli("journal", "list", "--device-id", "d")
    assert (outcome.code, outcome.err) == (0, "")
    *lines, summary = outcome.out.splitlines()
    assert [re.split(" {2,}", line.strip()) for line in lines] == [
        ["accepted", "state", "command", "messageId", "starts", "result"],
        ["2027-01-15T08:00:08.250Z", "finished", "demo/greet", "id-8", "0", "BUSY"],
        ["2027-01-15T08:00:07.250Z", "started", "demo/greet", "-", "1"],
        ["2027-01-15T08:00:05.250Z", "finished", "demo/greet", "id-5", "1", SUCCESS + "expired"],
        ["2027-01-15T08:00:03.250Z", "finished", "evil\\x1b[31m/x", "id-3", "1", SUCCESS + "owed"],
        ["2027-01-15T08:00:01.250Z", "finished", "demo/greet", "id-1", "1", "success"],
    ]
    assert "4 finished, 1 started, 0 accepted, 1 answer and 0 events to be sent" in summary
    assert summary.endswith(f"in use by process {os.getpid()}")


def test_list_can_be_filtered(run_cli: RunCli, store: JournalStore) -> None:
    for number in range(1, 121, 2):
        store.write(done(number, command="a/x" if number % 4 == 1 else "b/x"))

    def ids(*options: str) -> list[str]:
        outcome = run_cli("journal", "list", "--device-id", "d", "--json", *options)
        return [record["message_id"] for record in json.loads(outcome.out)["commands"]]

    assert len(ids()) == 50
    assert len(ids("--limit", "0")) == 60
    assert ids("--limit", "2") == ["id-119", "id-117"]
    assert ids("--petal", "a", "--limit", "1") == ["id-117"]
    assert ids("--message-id", "id-11") == [f"id-{n}" for n in (119, 117, 115, 113, 111, 11)]
    assert ids("--state", "accepted") == []


def test_show_explains_an_answer_from_the_record(run_cli: RunCli, store: JournalStore) -> None:
    store.write(done(1, payload=b'{"secret": 1}', expires_at=1.0e300))
    outcome = run_cli("journal", "show", "id-1", "--device-id", "d")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == (
        "demo/greet  finished\n"
        "  messageId  id-1\n"
        "  came       on org/o/device/d/command, organization o, device d\n"
        "  accepted   2027-01-15T08:00:01.250Z\n"
        "  expires    1e+300\n"
        "  started    2027-01-15T08:00:01.375Z\n"
        "  finished   2027-01-15T08:00:01.750Z, after 0.375 s: success\n"
        "  answer     acknowledged by the broker\n"
        "  a copy     gets this answer again, and is not run\n"
        "  payload    13 bytes; shown with --payload\n"
        "  response   16 bytes; shown with --payload\n"
        "\n"
    )
    outcome = run_cli("journal", "show", "id-1", "--device-id", "d", "--payload")
    assert '  payload    {"secret": 1}\n  response   {"success":true}\n' in outcome.out


def test_show_says_how_the_answer_stands(run_cli: RunCli, store: JournalStore) -> None:
    where = command_extras(NO_PROPERTIES, (Reply("to", Properties(), False),), guessed=False)
    store.write([*done(1)[:4]])
    store.write([*done(3)[:4], posted(9, 3), Settled(4, None), posted(10, 3)])
    store.write([*done(11)[:4], Settled(12, "rejected")])
    store.write([accepted(13, wait_response=False), started(13), finished(13)])
    store.write([accepted(15, wait_response=False, extras=where), finished(15)])
    store.write([accepted(17), finished(17, "X", b"")])
    store.write([accepted(19), accepted(21), started(21)])
    store.write([accepted(23), finished(23, "BUSY", remembered=False)])
    store.write([accepted(25), started(25), Requeued(25)])
    store.write([started(25), Requeued(25)])
    store.write([started(25)])

    def shown(number: int, name: str) -> str:
        out: str = run_cli("journal", "show", f"id-{number}", "--device-id", "d").out
        (line,) = (line for line in out.splitlines() if line.startswith(f"  {name} "))
        return line.removeprefix(f"  {name}").strip()

    assert shown(1, "answer") == "owed: it is sent until the broker acknowledges it"
    assert shown(3, "answer").endswith("acknowledges it (2 messages)")
    assert shown(11, "answer") == "given up: rejected"
    assert shown(13, "answer") == "none is asked for"
    assert shown(15, "answer") == "acknowledged by the broker"
    assert shown(17, "answer") == "there is none"
    assert shown(17, "started") == "never"
    assert shown(17, "finished").endswith("after 0.500 s: error X")
    assert shown(19, "answer") == "not yet"
    assert shown(19, "started") == "not yet"
    # Of an idempotent one a start that killed the process may not be on disk.
    assert shown(25, "started").endswith(", the last of at least 3 starts")
    assert shown(21, "finished") == "not yet, it runs"
    assert shown(21, "a copy") == "joins it, and is not run"
    assert shown(23, "a copy") == "is run: this one was refused before its start"


def test_an_id_that_was_used_again_is_there_each_time(run_cli: RunCli, store: JournalStore) -> None:
    store.write([*done(1, message_id="x"), *done(3, message_id="x", command="later/x")])
    out = run_cli("journal", "show", "x", "--device-id", "d").out
    assert out.index("later/x") < out.index("demo/greet")
    assert out.count("  a copy ") == 1
    assert out.index("  a copy ") < out.index("demo/greet")


def test_programs_get_json_and_no_payload_unless_asked(
    run_cli: RunCli, store: JournalStore, path: Path
) -> None:
    store.write(done(1, payload=b"\xff"))
    document = json.loads(run_cli("journal", "list", "--json", "--device-id", "d").out)
    assert document["journal"] == str(path)
    assert document["process"] == os.getpid()
    assert document["counts"] == {"finished": 1, "started": 0, "accepted": 0}
    (record,) = document["commands"]
    assert (record["message_id"], record["starts"], record["code"]) == ("id-1", 1, None)
    assert not {"payload", "response", "extras"} & set(record)
    document = json.loads(run_cli("journal", "show", "id-1", "--json", "--device-id", "d").out)
    assert document["commands"] == [record]
    out = run_cli("journal", "show", "id-1", "--json", "--payload", "--device-id", "d").out
    (record,) = json.loads(out)["commands"]
    assert (record["payload"], record["response"]) == ("\\xff", '{"success":true}')


# -- changing


def test_forget(run_cli: RunCli, store: JournalStore) -> None:
    store.write([*done(1), *done(3, message_id="id-1"), *done(5), accepted(7)])
    outcome = run_cli("journal", "forget", "id-1", "--device-id", "d")
    assert (outcome.code, outcome.out) == (0, "forgot id-1, which was there 2 times\n")
    out = run_cli("journal", "forget", "id-5", "--device-id", "d", "--json").out
    assert json.loads(out)["forgotten"] == 1
    assert store.load().remembered == {"id-7": 7}
    outcome = run_cli("journal", "forget", "id-7", "--device-id", "d")
    assert outcome.code == 1
    assert "'id-7' is not finished, and a runtime uses the journal" in outcome.err
    store.close()
    assert run_cli("journal", "forget", "id-7", "--device-id", "d").code == 0


def test_vacuum(run_cli: RunCli, path: Path) -> None:
    with opened(path) as store:
        for number in range(1, 401, 2):
            store.write(done(number, payload=b"x" * 5000))
        while store.prune(count=0, before=None):
            pass
        outcome = run_cli("journal", "vacuum", "--device-id", "d")
        assert outcome.code == 0
        assert outcome.out.startswith(f"{path}: ")
        assert path.stat().st_size < 100_000
        document = json.loads(run_cli("journal", "vacuum", "--json", "--device-id", "d").out)
        assert document["after"] == path.stat().st_size


# -- mistakes


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("list",), 2, "there is no journal"),
        (("list", "--journal", "missing"), 2, "there is no journal"),
        (("list", "--journal", "off"), 2, "the journal is off"),
        (("list", "--journal", "j"), 1, "is not an SQLite file"),
        (("list", "--journal", "db"), 1, "is an SQLite file of another program"),
        (("list", "--journal", "."), 1, "is a folder"),
        (("list", "--limit", "-1"), 2, "--limit must be 0 or more"),
        (("list", "--state", "x"), 2, "--state"),
        (("show",), 2, "ID"),
        (("show", "x", "--journal", "good"), 2, "knows no command or job of the ID 'x'"),
        (("forget", "x", "--journal", "good"), 2, "knows no command or job of the ID 'x'"),
        (("forgot", "x"), 2, "forget"),
        (("list", "--config", "none.toml"), 2, "cannot read 'none.toml'"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: tuple[str, ...], code: int, text: str, run_cli: RunCli, tmp_path: Path
) -> None:
    (tmp_path / "j").write_bytes(b"some text, which is no database" * 100)
    other = sqlite3.connect(tmp_path / "db")
    other.execute("CREATE TABLE mine (value)")
    other.close()
    with opened(tmp_path / "good"):
        pass
    outcome = run_cli("journal", *arguments)
    assert outcome.code == code
    (line,) = outcome.err.splitlines()
    assert line.startswith("petalkit: error: ")
    assert text in line


def test_looking_makes_nothing(run_cli: RunCli, tmp_path: Path) -> None:
    run_cli("journal", "list", "--device-id", "d")
    assert list(tmp_path.iterdir()) == []


# -- where it is


def test_the_default_is_in_the_state_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert default_path("d") == tmp_path / "state" / "petalkit" / "d.journal"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_path("d") == Path("/home/somebody/.local/state/petalkit/d.journal")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/petals:/var/lib/other")
    assert default_path("d") == Path("/var/lib/petals/d.journal")


def test_no_home_is_a_mistake_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(ConfigError, match="journal: there is no home folder"):
        default_path("d")


def test_no_two_devices_share_a_file(tmp_path: Path) -> None:
    long = "x" * 1000
    names = ["d", "a b", "a%20b", "..", ".", "é", "e", "\\", "a:b", long, long + "y", "x" * 100]
    safe = [safe_name(name) for name in names]
    assert len(set(safe)) == len(names)
    for name in safe:
        assert len(name) <= 200
        (tmp_path / f"{name}.journal-wal").write_text("")  # a file system takes it
    assert safe_name("Instance-1") == "Instance-1"


def loaded_journal(tmp_path: Path, toml: str = "", **given: Any) -> Path | None:
    config = tmp_path / "folder" / "p.toml"
    config.parent.mkdir(exist_ok=True)
    config.write_text(f'[petalkit]\ndevice_id = "d"\n{toml}\n')
    return with_journal(load(given, config=config)).journal


def test_who_says_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: Path) -> None:
    assert loaded_journal(tmp_path) == path
    assert loaded_journal(tmp_path, 'journal = "j"') == tmp_path / "folder" / "j"
    assert loaded_journal(tmp_path, 'journal = "off"') is None
    assert loaded_journal(tmp_path, 'journal = "./off"') == tmp_path / "folder" / "off"
    monkeypatch.setenv("PETALKIT_JOURNAL", "")
    assert loaded_journal(tmp_path) == path
    monkeypatch.setenv("PETALKIT_JOURNAL", "off")
    assert loaded_journal(tmp_path, 'journal = "j"') is None
    assert loaded_journal(tmp_path, journal="k") == Path("k").absolute()
    monkeypatch.setenv("PETALKIT_JOURNAL", "~/j")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert loaded_journal(tmp_path) == Path("/home/somebody/j")
    assert loaded_journal(tmp_path, journal="off") is None
    monkeypatch.delenv("PETALKIT_JOURNAL")
    with pytest.raises(ConfigError, match="journal: must be a path, not 7"):
        loaded_journal(tmp_path, "journal = 7")


@pytest.mark.parametrize("word", ["false", "no", "None", "0", "OFF"])
def test_words_for_none_are_no_file(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert loaded_journal(tmp_path, journal=word) is None
    assert loaded_journal(tmp_path, f'journal = "{word}"') is None
    assert Settings(journal=word).journal is None
    monkeypatch.setenv("PETALKIT_JOURNAL", word)
    assert loaded_journal(tmp_path) is None


@pytest.mark.parametrize("word", ["true", "Yes", "on", "1"])
def test_words_for_one_are_the_default_place(
    word: str, tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert loaded_journal(tmp_path, journal=word) == path
    assert loaded_journal(tmp_path, f'journal = "{word}"') == path
    monkeypatch.setenv("PETALKIT_JOURNAL", word)
    assert loaded_journal(tmp_path, "journal = false") == path
    with pytest.raises(ConfigError, match="only `petalkit run` takes"):
        Settings(journal=word)


def test_true_and_false_of_a_file(tmp_path: Path, path: Path) -> None:
    assert loaded_journal(tmp_path, "journal = false") is None
    assert loaded_journal(tmp_path, "journal = true") == path


def test_the_library_has_none_by_default() -> None:
    assert Settings().journal is None


def test_run_has_one_unless_told_otherwise(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, example_file: Path, path: Path
) -> None:
    seen: list[Path | None] = []

    def run_as_process(petals: Any, settings: Settings, advice: str) -> int:
        seen.append(settings.journal)
        return 0

    monkeypatch.setattr(serving, "run_as_process", run_as_process)
    for options in (
        (),
        ("--journal", "j"),
        ("--journal", "off"),
        ("--journal", "No"),
        ("--journal", "yes"),
    ):
        assert run_cli("run", str(example_file), *WHO, *options).code == 0
    assert seen == [path, Path("j").absolute(), None, None, path]
    assert not path.parent.exists()  # that is the runtime's to do


# -- doctor


def test_the_doctor_looks_at_it_and_changes_nothing(doctor: Any, path: Path) -> None:
    nowhere = ("--broker", "mqtts://127.0.0.1:1", *WHO)
    check = doctor(*nowhere)["journal"]
    assert (check["verdict"], check["found"]) == (
        "ok",
        f"none yet; `petalkit run` will make {path}",
    )
    assert not path.parent.exists()
    check = doctor(*nowhere, "--journal", "off")["journal"]
    assert check["verdict"] == "skipped"
    assert check["found"].startswith("off: ")
    with opened(path) as store:
        store.write([*done(1), *done(3)[:4], accepted(5)])
        check = doctor(*nowhere)["journal"]
        assert check["verdict"] == "ok"
        assert (
            f"in use by process {os.getpid()}: 2 finished commands, 1 not finished"
            in check["found"]
        )
    before = {one: one.stat() for one in path.parent.iterdir()}
    check = doctor(*nowhere)["journal"]
    assert check["verdict"] == "ok"
    assert f"{path}: 2 finished commands, 1 not finished, 1 message to be sent" in check["found"]
    after = {one: one.stat() for one in path.parent.iterdir()}
    assert {one: stat.st_mtime_ns for one, stat in after.items()} == {
        one: stat.st_mtime_ns for one, stat in before.items()
    }


IN_USE = (
    "Another `petalkit run` with it would be refused: if it serves this device already, stop it, "
    "or give this one another device_id; if it serves another device, name another file."
)


def test_the_doctor_says_what_to_do_about_a_journal_in_use(
    doctor: Any, path: Path, tmp_path: Path
) -> None:
    def check(*options: str) -> dict[str, Any]:
        found: dict[str, Any] = doctor("--broker", "mqtts://127.0.0.1:1", *WHO, *options)["journal"]
        return found

    (tmp_path / "link").symlink_to(path)
    with opened(path):
        for options in ((), ("--journal", "link")):  # the lock is beside the file itself
            found = check(*options)
            assert (found["verdict"], found["todo"]) == ("ok", [IN_USE])
            assert f"{path}, in use by process {os.getpid()}: " in found["found"]
    assert check()["todo"] == []
    with opened(tmp_path / "theirs", device_id="e"):
        found = check("--journal", "theirs")
    assert f"in use by process {os.getpid()} belongs to the device 'e'" in found["found"]


def test_the_doctor_has_nothing_against_a_file_that_the_next_run_makes_a_journal(
    doctor: Any, tmp_path: Path, run_cli: RunCli
) -> None:
    (tmp_path / "empty").touch(0o600)
    found = doctor("--broker", "mqtts://127.0.0.1:1", *WHO, "--journal", "empty")["journal"]
    assert (found["verdict"], "is empty: no runtime has used it yet" in found["found"]) == (
        "ok",
        True,
    )
    assert "start it, or name another" in run_cli("journal", "list", "--journal", "empty").err


@pytest.mark.parametrize(
    ("reason", "todo"),
    [
        ("is mounted as a single file; mount the folder", "Mount the folder"),
        ("is of version 9, from a newer petalkit; this one knows 2", "Install that version again"),
        ("files cannot be locked there; use a folder on a disk", "on a disk of this machine"),
        ("has no room: the disk is full", "Make room"),
        ("is an SQLite file of another program", "Name a file that it can be"),
    ],
)
def test_the_doctor_has_advice_for_each_reason(
    reason: str, todo: str, doctor: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise JournalError(path, reason)

    monkeypatch.setattr(_checks_journal, "refuse_mounted", refuse)
    with opened(path):
        pass
    found = doctor("--broker", "mqtts://127.0.0.1:1", *WHO)["journal"]
    assert (found["verdict"], reason in found["found"]) == ("failed", True)
    assert todo in found["todo"][0]


@pytest.mark.parametrize(
    ("what", "mode", "reason"),
    [
        ("folder", 0o777, "every user may replace files in its folder"),
        ("file", 0o666, "can be written by every user"),
    ],
)
def test_the_doctor_finds_what_all_may_write(
    what: str, mode: int, reason: str, doctor: Any, path: Path
) -> None:
    with opened(path):
        pass
    (path.parent if what == "folder" else path).chmod(mode)
    found = doctor("--broker", "mqtts://127.0.0.1:1", *WHO)["journal"]
    assert (found["verdict"], reason in found["found"]) == ("failed", True)
    assert any("chmod o-w" in todo for todo in found["todo"])
    # Once, and not again in other words.
    assert found["found"].count(str(path)) == 1
    assert len(found["todo"]) == 1


@pytest.mark.parametrize("made", [False, True])
def test_the_doctor_tells_of_a_folder_above_that_all_may_write(
    made: bool, doctor: Any, path: Path
) -> None:
    if made:
        with opened(path):
            pass
    else:
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o700)
    path.parent.parent.chmod(0o777)
    found = doctor("--broker", "mqtts://127.0.0.1:1", *WHO)["journal"]
    assert found["verdict"] == "warning"
    text = f"every user may replace what is in {str(path.parent.parent)!r} (mode 0777): chmod o-w"
    assert text in found["found"]
    assert "keep others from writing there" in found["todo"][0]


def test_the_doctor_reads_what_a_crash_has_left(doctor: Any, path: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "other") as store:
        store.write([*done(1), accepted(3)])
        path.parent.mkdir(parents=True)
        for suffix in ("", "-wal", "-log"):
            data = (tmp_path / f"other{suffix}").read_bytes()
            (path.parent / f"d.journal{suffix}").write_bytes(data)
    path.chmod(0o600)
    check = doctor("--broker", "mqtts://127.0.0.1:1", *WHO)["journal"]
    assert (check["verdict"], check["todo"]) == ("ok", [])
    assert "1 finished command, 1 not finished" in check["found"]


def test_the_doctor_finds_what_is_wrong(doctor: Any, path: Path, tmp_path: Path) -> None:
    def check(*options: str) -> dict[str, Any]:
        found: dict[str, Any] = doctor("--broker", "mqtts://127.0.0.1:1", *WHO, *options)["journal"]
        return found

    (tmp_path / "text").write_bytes(b"some text, which is no database" * 100)
    (tmp_path / "text").chmod(0o600)
    found = check("--journal", "text")
    assert (found["verdict"], "is not an SQLite file" in found["found"]) == ("failed", True)
    assert "journal = 'off'" in found["todo"][0]
    found = check("--journal", "text/folder/j")
    assert (found["verdict"], "text is no folder" in found["found"]) == ("failed", True)
    (tmp_path / "link").symlink_to("nowhere")
    found = check("--journal", "link")  # the file that it leads to is made, as by a run
    assert (found["verdict"], f"will make {tmp_path / 'nowhere'}" in found["found"]) == ("ok", True)
    with opened(tmp_path / "theirs", device_id="e"):
        pass
    found = check("--journal", "theirs")
    assert found["verdict"] == "failed"
    assert "belongs to the device 'e'" in found["found"]
    with opened(path, size_max=MIB) as store:
        number = 1
        while store.fill < 0.97:
            store.write([accepted(number, payload=b"x" * 10_000)])
            number += 1
    found = check("--journal-size", str(MIB))
    assert found["verdict"] == "warning"
    assert "it is nearly full" in found["found"]
    path.chmod(0o644)
    assert "chmod 600" in check()["todo"][0]
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)
    assert "is damaged" in check()["found"]


# -- jobs


def job_note(**changes: Any) -> bytes:
    who = Who("o", "d", "org/o/device/d")
    values: dict[str, Any] = {
        "id": "job-1",
        "name": "log/fetch",
        "who": who,
        "state": JobState.SUCCEEDED,
        "accepted_at": 1_800_000_000.0,
        "message_id": "m",
        "data": {"flight": "secret"},
        "started_at": 1_800_000_001.0,
        "ended_at": 1_800_000_009.0,
        "fields": {"result": "secret too"},
        "told": True,
    }
    return msgspec.json.encode(JobNote(**(values | changes)))


@pytest.fixture
def with_jobs(path: Path, store: JournalStore) -> JournalStore:
    second = SecondNote("cone/detect", "m2", "o", "d", "org/o/device/d")
    reader = ReaderNote("log/fetch", "s", 10.0, Who("o", "d", "b"), 1_800_000_000.0)
    running = job_note(
        id="job-2", name="motor/turn", state=JobState.RUNNING, ended_at=None, fields=None
    )
    values = (job_note(), running, msgspec.json.encode(second), msgspec.json.encode(reader))
    store.write([Noted(number, value) for number, value in enumerate(values, 1)])
    store.write([Noted(9, b"of a later version")])
    return store


def test_list_shows_jobs_and_second_phases(run_cli: RunCli, with_jobs: JournalStore) -> None:
    outcome = run_cli("journal", "list", "--device-id", "d")
    assert (outcome.code, outcome.err) == (0, "")
    *lines, summary = outcome.out.splitlines()
    assert [re.split(" {2,}", line.strip()) for line in lines] == [
        ["accepted", "state", "job", "job_id", "result"],
        ["2027-01-15T08:00:00.000Z", "running", "motor/turn", "job-2"],
        ["2027-01-15T08:00:00.000Z", "succeeded", "log/fetch", "job-1", "success"],
        ["-", "answered", "cone/detect", "m2", "second phase owed"],
    ]
    assert "2 jobs and 1 second phase, 1 reader of jobs" in summary
    assert "log/fetch" not in run_cli("journal", "list", "--device-id", "d", "--petal", "motor").out
    document = json.loads(run_cli("journal", "list", "--device-id", "d", "--json").out)
    assert [one["job_id"] for one in document["jobs"]] == ["job-2", "job-1"]
    assert document["second_phases"] == [{"command": "cone/detect", "message_id": "m2"}]
    assert "secret" not in outcome.out + json.dumps(document)


@pytest.mark.parametrize("name", ["job-1", "m"])
def test_show_explains_a_job_without_its_data(
    run_cli: RunCli, with_jobs: JournalStore, name: str
) -> None:
    outcome = run_cli("journal", "show", name, "--device-id", "d")
    assert outcome.code == 0
    assert "log/fetch  job, succeeded" in outcome.out
    assert "ended      2027-01-15T08:00:09.000Z: success" in outcome.out
    assert "secret" not in outcome.out
    assert "secret too" in run_cli("journal", "show", name, "--device-id", "d", "--payload").out
    document = json.loads(run_cli("journal", "show", name, "--device-id", "d", "--json").out)
    assert document["jobs"][-1]["job_id"] == "job-1"
    assert "secret" not in json.dumps(document)


def test_a_job_is_forgotten_once_no_runtime_knows_it(
    run_cli: RunCli, with_jobs: JournalStore
) -> None:
    outcome = run_cli("journal", "forget", "job-1", "--device-id", "d")
    assert outcome.code == 1
    assert "stop it first" in outcome.err
    with_jobs.close()
    assert run_cli("journal", "forget", "job-1", "--device-id", "d").out.strip() == "forgot job-1"
    outcome = run_cli("journal", "show", "job-1", "--device-id", "d")
    assert outcome.code == 2
    assert "no command or job of the ID" in outcome.err
