"""The journal of `petalkit run`: where it is, whether it can be used, and what is in it.

The trap: opening an SQLite file in the usual way makes files beside it. So what no runtime uses is
read without that; only what a crash has left is opened as the next start will.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ...._serving.identity.device import resolve_device_id
from ...._serving.ledger.journal.file import JournalFile, JournalNotReady, Summary
from ...._serving.ledger.journal.place.files import exists
from ...._serving.ledger.journal.place.lock import IN_USE_ADVICE, JournalInUse, check_unused
from ...._serving.ledger.journal.place.mounts import network_file_system, refuse_mounted
from ...._serving.ledger.journal.place.rights import (
    doubts_of_folders,
    refuse_open_files,
    refuse_open_folder,
)
from ...._serving.ledger.records import FINISHED, JournalError
from ...._values.errors import ConfigError
from ...._values.settings.settings import JOURNAL_OFF
from ..._journal.path import with_journal
from ..._settings.loading import Loaded
from ..case import user_name
from ..values import Check, Findings, counted, failed, skipped
from .files import check_mode

FREE_MIN = 4 * 1024 * 1024  # bytes on the disk: what a WAL may need
FULL = 0.95  # of its bound; below it the oldest records make room

_NAME = f"Name a file that it can be: journal; or go without one: journal = {JOURNAL_OFF!r}."
_FOLDER = "Whoever may replace a folder may replace the journal: keep others from writing there."
_MOVE = "Move it away together with what stands beside it (-wal, -log), and keep both to look into."
# What the reason says, and what to do; for all else the file is the wrong one.
_ADVICE = {
    "move it away": _MOVE,
    "it was used with": "Put back the log that stood beside it; or move both away.",
    "to go on without that": "Put its log (-log) back; or make it an empty file, to do without.",
    "from a newer petalkit": f"Install that version again. Or: {_MOVE}",
    "single file": "Mount the folder that it is in, or name a file in a folder that is mounted.",
    "cannot be locked": "Name a file on a disk of this machine: journal.",
    "kept it busy": "Try again in a while: something else, such as a vacuum, is working on it.",
    "every user": "Take the right to write away from other users: chmod o-w.",
    "hard links": "Remove the other names, or copy the file.",
    "symbolic link": "Remove it: somebody has put it there.",
    "is read-only": "Let the user that `petalkit run` runs as write the file and its folder.",
    "has no room": "Make room on the disk that it is on.",
    "reported an error": "Look into the kernel's log: the disk may have to be replaced.",
    "needs SQLite": "Run petalkit with a Python that was built with that SQLite.",
}


def check_journal(loaded: Loaded) -> Check:
    """Whether the next `petalkit run` can use its journal. Nothing is changed."""
    try:
        settings = with_journal(loaded)
        device_id = resolve_device_id(settings)
    except ConfigError as error:
        return failed("journal", str(error), _NAME)
    if settings.journal is None:
        return skipped("journal", "off: what is accepted does not outlive the process")
    path = Path(os.path.realpath(settings.journal))  # its lock is beside the file itself
    findings = Findings("journal")
    try:
        _look(findings, path, device_id, settings.journal_size)
    except JournalNotReady as error:
        findings.ok(f"{path}: {error.reason}")
    except JournalError as error:
        what = next((todo for word, todo in _ADVICE.items() if word in error.reason), _NAME)
        findings.fail(f"{path}: {error.reason}", what)
    return findings.check(nothing="")


def _look(findings: Findings, path: Path, device_id: str, size_max: int) -> None:
    refuse_open_folder(path)
    for doubt in doubts_of_folders(path):
        findings.warn(f"{path}: {doubt}", _FOLDER)
    if not exists(path):
        _check_makeable(findings, path)
        return
    refuse_open_files(path)  # and nothing more of what is refused
    check_mode(findings, "journal", path, secret=True)
    for place in (path, path.parent):
        if not os.access(place, os.W_OK, effective_ids=True):
            findings.fail(
                f"{place} cannot be written by {user_name()}",
                f"Let the user that `petalkit run` runs as write {path}, and into its folder.",
            )
            return
    refuse_mounted(path)
    for doubt in network_file_system(path):
        findings.warn(f"{path}: {doubt}", "Name a file on a disk of this machine: journal.")
    who = ""
    todo: tuple[str, ...] = ()
    try:
        check_unused(path)
    except JournalInUse as error:
        who = f", in use by process {error.process or '?'}"
        todo = (f"Another `petalkit run` with it would be refused: {IN_USE_ADVICE}.",)
    left_over = any(path.with_name(path.name + one).exists() for one in ("-wal", "-log"))
    with JournalFile.open(path, untouched=not who and not left_over) as file:
        if not who:
            file.check()
        summary = file.summary()
    if summary.device_id != device_id:
        findings.fail(
            f"{path}{who} belongs to the device {summary.device_id!r}",
            "Each device has a journal of its own: name another file, or correct device_id.",
        )
        return
    findings.ok(f"{path}{who}: {_content(summary)}", *todo)
    free = shutil.disk_usage(path.parent).free
    if free < FREE_MIN:
        findings.warn(
            f"its disk has {free} bytes left",
            "Make room: while the journal cannot be written, commands are answered UNAVAILABLE.",
        )
    if summary.used > FULL * size_max:
        findings.warn(
            f"it is nearly full: {summary.used} of {size_max} bytes",
            "Raise journal_size. What is not finished, or owed, is never dropped to make room: "
            "look for what holds it up with `petalkit journal list`.",
        )


def _content(summary: Summary) -> str:
    finished = summary.commands[FINISHED]
    left = sum(summary.commands.values()) - finished
    parts = [f"{counted(finished, 'finished command')}, {left} not finished"]
    parts.append(f"{counted(summary.owed + summary.events, 'message')} to be sent")
    parts.append(f"{summary.size} bytes")
    return ", ".join(parts)


def _check_makeable(findings: Findings, path: Path) -> None:
    folder = next(one for one in path.parents if os.path.lexists(one))
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        findings.ok(f"none yet; `petalkit run` will make {path}")
        return
    what = "cannot be written by " + user_name() if folder.is_dir() else "is no folder"
    findings.fail(f"{path} cannot be made: {folder} {what}", _NAME)
