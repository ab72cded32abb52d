"""The journal's file survives what may happen to a process and to a disk.

A process that is killed stands for one that crashes. What needs a power failure, whether the disk
did what `fsync` asked for, cannot be tested here.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from petalkit._serving.ledger.journal.store import JournalStore
from petalkit._serving.ledger.records import JournalError

from .child import STRIDE, commands_of
from .kit import MIB, done, opened

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[4]
NOBODY = 65534
LIMIT = 60.0  # seconds for a process to end by itself


@contextlib.contextmanager
def child(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.serving.ledger.journal.child", *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run(*arguments: object) -> list[str]:
    with child(*arguments) as process:
        out, _ = process.communicate(timeout=LIMIT)
        assert process.returncode == 0
        return out.splitlines()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def check_batches(store: JournalStore, reported: int) -> int:
    """Every batch is there or not, up to one; return the last that is there."""
    found = store.load()
    assert found.last > 0
    numbers = sorted(found.remembered.values())
    last = numbers[-1] // STRIDE
    assert last in (reported, reported + 1)  # one may be written and not yet reported
    assert numbers == [number for batch in range(1, last + 1) for number in commands_of(batch)]
    assert [record.number for record in found.running] == commands_of(last)
    owed = [number for batch in range(1, last - 1) for number in commands_of(batch)[1::2]]
    owed += commands_of(last - 1) if last > 1 else []
    assert [message.answers for message in found.messages] == owed
    for message in found.messages:
        assert message.answers is not None
        assert message.payload == b"%d" % (message.answers // STRIDE + 1)
    return last


def test_what_was_written_outlives_being_killed_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "d.journal"
    chance = random.Random(time.time_ns())
    last = 0
    for _ in range(20):
        with child("write", path, last + 1) as process:
            reported = int(line(process))
            # Some batches later, and at any moment of one.
            for _ in range(chance.randrange(6)):
                reported = int(line(process))
            time.sleep(chance.random() * 0.01)
            process.kill()
            assert process.stdout is not None
            for late in process.stdout:
                if late.endswith("\n"):
                    reported = int(late)
            process.wait()
        with opened(path, size_max=512 * MIB) as store:
            last = check_batches(store, reported)


def test_a_process_that_holds_it_is_named_and_death_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "d.journal"
    with child("hold", path) as process:
        assert line(process) == "held"
        with pytest.raises(JournalError, match=f"process {process.pid} uses it"):
            JournalStore.open(path, device_id="d", size_max=MIB)
        process.kill()
        process.wait()
        with opened(path):
            pass


def test_no_file_may_grow(tmp_path: Path) -> None:
    path = tmp_path / "d.journal"
    reason, number = run("limited", path)
    assert "the disk reported an error" in reason
    with opened(path) as store:
        assert len(store.load().remembered) == (int(number) + 1) // 2


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    done = subprocess.run(["mount", *options, folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not possible here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    path = folder / "d.journal"
    with mounted(folder, "-t", "tmpfs", "-o", "size=1m", "tmpfs"):
        ballast = folder / "ballast"
        ballast.write_bytes(b"x" * 300_000)
        with opened(path) as store:
            number = 1
            with pytest.raises(JournalError, match="has no room: the disk is full"):
                while True:
                    store.write(done(number, payload=b"x" * 5000))
                    number += 2
            for _ in range(3):
                with pytest.raises(JournalError, match="has no room: the disk is full"):
                    store.write(done(number, payload=b"x" * 50_000))
            assert len(store.load().remembered) == (number - 1) // 2
            ballast.unlink()
            store.write(done(number, payload=b"x" * 50_000))
        with opened(path) as store:
            assert len(store.load().remembered) == (number + 1) // 2
            ballast.write_bytes(b"")
            with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * 1000)
        with pytest.raises(JournalError, match=r"no room|No space|the disk reported"):
            JournalStore.open(folder / "other", device_id="d", size_max=MIB)


def test_a_disk_that_is_read_only(tmp_path: Path) -> None:
    folder = tmp_path / "fixed"
    folder.mkdir()
    path = folder / "d.journal"
    with opened(path) as store:
        store.write(done(1))
    with mounted(folder, "--bind", "-o", "ro", str(folder)):
        for one in (path, folder / "other", folder / "new" / "other"):
            with pytest.raises(JournalError, match="Read-only file system"):
                JournalStore.open(one, device_id="d", size_max=MIB)


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that another user can look into, as pytest's is not."""
    folder = Path(tempfile.mkdtemp(prefix="petalkit-journal-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)


def as_other(path: Path) -> str:
    """What another user, or the owner without the rights, hears when opening it."""
    (reason,) = run("try_to_open", path, *([NOBODY] if os.geteuid() == 0 else []))
    return reason


def test_a_folder_that_is_read_only(folder: Path) -> None:
    folder.chmod(0o555)
    assert "Permission denied" in as_other(folder / "d.journal")
    assert "Permission denied" in as_other(folder / "new" / "d.journal")


def test_a_file_that_is_read_only(folder: Path) -> None:
    path = folder / "d.journal"
    with opened(path):
        pass
    path.chmod(0o444)
    lock = folder / "d.journal.lock"
    lock.chmod(0o666)
    folder.chmod(0o1777)
    assert "cannot be written: it, its folder or" in as_other(path)


def test_a_folder_that_takes_no_new_files(folder: Path) -> None:
    """The file itself may be written, but SQLite needs another beside it."""
    path = folder / "d.journal"
    with opened(path):
        pass
    if os.geteuid() == 0:
        for file in folder.iterdir():
            os.chown(file, NOBODY, -1)
    folder.chmod(0o555)
    assert "cannot be written: it, its folder or" in as_other(path)


def test_a_file_that_is_somebody_elses(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can leave files of another user")
    path = folder / "d.journal"
    with opened(path):
        pass
    folder.chmod(0o1777)
    assert "Permission denied" in as_other(path)  # of the lock
