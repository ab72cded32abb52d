"""Where the journal stands: who else may write there, and what happens when it is taken away."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from petalkit._serving.ledger.journal.place import lock as lock_module
from petalkit._serving.ledger.journal.place import rights, watch
from petalkit._serving.ledger.journal.place.lock import JournalLock, lock_path
from petalkit._serving.ledger.journal.place.mounts import network_file_system
from petalkit._serving.ledger.records import JournalError

from .kit import done, opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(0o700)
    return folder / "d.journal"


@pytest.fixture
def journal(path: Path) -> Path:
    """One that was in use before."""
    with opened(path) as store:
        store.write(done(1))
    return path


def refused(path: Path) -> str:
    with pytest.raises(JournalError) as caught, opened(path):
        pass
    return caught.value.reason


# -- while it is in use


def test_batches_that_follow_each_other_share_a_look_until_one_finds_something_wrong(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(watch, "SHARED", 0.1)
    monkeypatch.setattr("petalkit._serving.ledger.journal.place.watch.time.monotonic", lambda: now)
    with opened(path) as store:
        store.write(done(1))
        move(path)
        now = 100.09
        store.write(done(3))
        now = 100.11
        for _ in range(2):
            with pytest.raises(JournalError, match="was deleted or replaced"):
                store.write(done(5))
        path.with_name("elsewhere").rename(path)
        store.write(done(5))


def delete(path: Path) -> None:
    path.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def move_and_link(path: Path) -> None:
    move(path)
    path.symlink_to(path.with_name("elsewhere"))


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


@pytest.mark.parametrize("how", [delete, move, move_and_link, replace])
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".lock"])
def test_what_is_taken_away_is_noticed_with_the_next_batch(
    path: Path, suffix: str, how: Callable[[Path], None]
) -> None:
    with opened(path) as store:
        store.write(done(1))
        how(path.with_name(path.name + suffix))
        for _ in range(2):  # and with each after it
            with pytest.raises(JournalError, match="deleted or replaced while it was in use"):
                store.write(done(3))


def test_two_changes_within_one_tick_of_the_file_system_are_noticed(path: Path) -> None:
    with opened(path) as store:
        store.write(done(1))
        before = path.parent.stat()
        path.with_name("d.journal-wal").unlink()
        os.utime(path.parent, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(JournalError, match="deleted or replaced"):
            store.write(done(3))


def test_a_folder_that_is_moved_is_noticed(path: Path) -> None:
    with opened(path) as store:
        store.write(done(1))
        path.parent.rename(path.parent.with_name("elsewhere"))
        with pytest.raises(JournalError, match="deleted or replaced"):
            store.write(done(3))


def test_another_journal_in_the_same_folder_is_no_reason(path: Path) -> None:
    other = path.with_name("e.journal")
    with opened(path) as store:
        store.write(done(1))
        with opened(other):
            store.write(done(3))
        store.write(done(5))


def test_what_was_put_back_is_used_again(path: Path) -> None:
    with opened(path) as store:
        lock = lock_path(path)
        lock.rename(path.with_name("elsewhere"))
        with pytest.raises(JournalError, match=r"d\.journal\.lock was deleted"):
            store.write(done(1))
        path.with_name("elsewhere").rename(lock)
        store.write(done(1))


# -- the lock


def test_a_lock_that_is_a_symbolic_link_is_neither_followed_nor_emptied(path: Path) -> None:
    theirs = path.with_name("passwd")
    theirs.write_text("root:x:0:0\n")
    lock_path(path).symlink_to(theirs)
    assert "is a symbolic link" in refused(path)
    assert theirs.read_text() == "root:x:0:0\n"


@pytest.mark.parametrize("content", ["root:x:0:0\n", "1" * 100], ids=["text", "long"])
def test_a_lock_that_is_another_file_is_not_emptied(path: Path, content: str) -> None:
    lock_path(path).write_text(content)
    assert "is no lock file of petalkit" in refused(path)
    assert lock_path(path).read_text() == content


def test_a_lock_that_is_another_name_of_a_file_is_not_emptied(path: Path) -> None:
    theirs = path.with_name("number")
    theirs.write_text("42\n")
    os.link(theirs, lock_path(path))
    assert "is no lock file of petalkit" in refused(path)
    assert theirs.read_text() == "42\n"


def test_a_lock_that_is_replaced_while_it_is_taken_locks_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = lock_module._take

    def replaced_before(descriptor: int, *others: object) -> None:
        lock_path(path).unlink()
        lock_path(path).write_text("")
        take(descriptor, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(lock_module, "_take", replaced_before)
    with pytest.raises(JournalError, match="replaced while it was being locked"):
        JournalLock(path)


# -- rights


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o703])
def test_a_folder_where_all_may_replace_files_is_refused(path: Path, mode: int) -> None:
    path.parent.chmod(mode)
    reason = refused(path)
    assert f"(mode {mode:04o})" in reason
    assert "chmod o-w it, or name a file in a new folder" in reason
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("mode", [0o1777, 0o775, 0o755, 0o700])
def test_a_folder_where_only_owners_replace_files_is_not(path: Path, mode: int) -> None:
    path.parent.chmod(mode)
    with opened(path):
        pass


def test_a_folder_that_is_reached_by_a_link_is_looked_at_itself(path: Path) -> None:
    path.parent.chmod(0o777)
    link = path.parent.with_name("link")
    link.symlink_to(path.parent)
    assert "every user may replace files" in refused(link / "d.journal")


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_a_file_that_all_may_write_is_refused(journal: Path, suffix: str) -> None:
    file = journal.with_name(journal.name + suffix)
    file.touch()
    file.chmod(0o666)
    assert "can be written by every user (mode 0666): chmod 600" in refused(journal)


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_a_link_beside_it_is_not_followed(journal: Path, suffix: str) -> None:
    theirs = journal.with_name("passwd")
    theirs.write_text("root:x:0:0\n")
    journal.with_name(journal.name + suffix).symlink_to(theirs)
    assert "is a symbolic link" in refused(journal)
    assert theirs.read_text() == "root:x:0:0\n"


def test_a_journal_of_two_names_is_refused(journal: Path) -> None:
    os.link(journal, journal.with_name("second"))
    assert "has 2 names (hard links)" in refused(journal)
    assert "has 2 names (hard links)" in refused(journal.with_name("second"))


def test_a_file_that_another_user_has_put_into_a_folder_of_all_is_refused(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.parent.chmod(0o1777)
    with opened(journal):
        pass
    monkeypatch.setattr(rights.os, "geteuid", lambda: os.getuid() + 4711)
    if os.getuid() == 0:
        os.chown(journal, 4712, -1)
    assert "was made by another user" in refused(journal)


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        (0o644, "can be read by every user (mode 0644)"),
        (0o660, "can be written by the group"),
        (0o640, None),
        (0o600, None),
    ],
)
def test_what_others_may_read_is_told_and_used(
    journal: Path, caplog: pytest.LogCaptureFixture, mode: int, text: str | None
) -> None:
    journal.chmod(mode)
    with caplog.at_level(logging.WARNING, "petalkit.journal"), opened(journal):
        pass
    assert (text in caplog.text) if text else not caplog.text


def test_a_folder_above_that_all_may_write_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a container has it: what is made below it is ours."""
    above = tmp_path / "volume"
    above.mkdir()
    above.chmod(0o777)
    with opened(above / "petalkit" / "d.journal"):
        pass
    assert f"every user may replace what is in {str(above)!r} (mode 0777)" in caplog.text
    assert (above / "petalkit").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("kind", "told"),
    [("ext4", False), ("nfs4", True), ("cifs", True), ("fuse.sshfs", True), ("fuse.ext4", False)],
)
def test_a_network_file_system_is_told(tmp_path: Path, kind: str, told: bool) -> None:
    path, table = tmp_path / "a b" / "d.journal", tmp_path / "mountinfo"
    table.write_text(
        "20 1 8:1 / / rw - ext4 /dev/a rw\n"
        f"36 20 0:40 / {tmp_path}/a\\040b rw shared:1 - {kind} server:/export rw\n"
    )
    found = list(network_file_system(path, str(table)))
    assert len(found) == told
    if told:
        assert f"network file system ({kind})" in found[0]
    assert list(network_file_system(tmp_path / "d.journal", str(table))) == []


def test_without_a_table_of_mounts_nothing_is_told(tmp_path: Path) -> None:
    assert list(network_file_system(tmp_path / "d.journal", "/no/such/table")) == []


def test_elsewhere_a_link_has_another_error(path: Path) -> None:
    lock_path(path).symlink_to(path.with_name("nowhere"))
    assert os.strerror(errno.ELOOP) not in refused(path)


def test_a_folder_that_a_group_may_write_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o770)
    with opened(folder / "d.journal"):
        pass
    assert "may replace files in its folder (mode 0770)" in caplog.text
