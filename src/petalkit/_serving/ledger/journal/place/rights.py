"""Who else may write where the journal stands: refused where others could put theirs in its place.

The rule: refused is what lets any user of the machine change, replace or plant a record; told is
what only shows records, or trusts one other user. The trap: SQLite follows a symbolic link that
somebody has put where the write-ahead log is to be.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ...records import JournalError

BESIDE = ("-wal", "-shm", "-log")  # SQLite's own files, and our log


def beside(path: Path) -> list[Path]:
    """The files beside a journal that belong to it, whether they are there or not."""
    return [path.with_name(path.name + suffix) for suffix in BESIDE]


def refuse_open_folder(path: Path) -> None:
    """Refuse a folder in which everybody may replace files; nothing is made or changed.

    Args:
        path: of the journal, without symbolic links.

    Raises:
        JournalError: and what to do.
    """
    mode = _mode(path.parent)
    if mode is not None and mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        reason = (
            f"every user may replace files in its folder {str(path.parent)!r} "
            f"(mode {stat.S_IMODE(mode):04o}): chmod o-w it, or name a file in a new folder below "
            "it, which is made for its owner only"
        )
        raise JournalError(path, reason)


def refuse_open_files(path: Path) -> None:
    """Refuse a journal that others may write, or that is known by a second name.

    Args:
        path: of the journal, without symbolic links.

    Raises:
        JournalError: and what to do.
    """
    shared = bool((_mode(path.parent) or 0) & stat.S_IWOTH)  # others may make files there
    for file in (path, *beside(path)):
        try:
            found = os.lstat(file)
        except OSError:
            continue  # not there: it is made
        which = "" if file == path else f"{file.name} "
        if stat.S_ISLNK(found.st_mode):
            raise JournalError(path, f"{which}is a symbolic link; move it away")
        if found.st_mode & stat.S_IWOTH:
            mode = stat.S_IMODE(found.st_mode)
            reason = f"{which}can be written by every user (mode {mode:04o}): chmod 600 it"
            raise JournalError(path, reason)
        if shared and found.st_uid not in (os.geteuid(), 0):
            reason = (
                f"{which}was made by another user (uid {found.st_uid}) in a folder of all users: "
                "name a file in a folder of its own"
            )
            raise JournalError(path, reason)
        if found.st_nlink > 1:
            reason = (
                f"{which}has {found.st_nlink} names (hard links), and each would have a lock of "
                "its own: remove the others, or copy it"
            )
            raise JournalError(path, reason)


def doubts(path: Path) -> Iterator[str]:
    """What is used all the same, and is to be told.

    Args:
        path: of the journal, without symbolic links.
    """
    us = os.geteuid()
    try:
        file = os.stat(path)
    except OSError:
        return
    mode = stat.S_IMODE(file.st_mode)
    if mode & stat.S_IROTH:
        yield f"can be read by every user (mode {mode:04o}); what callers send is in it: chmod 600"
    if mode & stat.S_IWGRP:
        yield f"can be written by the group {file.st_gid} (mode {mode:04o}): chmod 600"
    if file.st_uid not in (us, 0):
        yield f"belongs to the user {file.st_uid}, and this process is {us}"
    yield from doubts_of_folders(path)


def doubts_of_folders(path: Path) -> Iterator[str]:
    """The same of the folders that a journal is in, or will be.

    Args:
        path: of the journal, without symbolic links.
    """
    us = os.geteuid()
    above = [one for one in path.parents if one.is_dir()]  # some may have to be made
    folder = os.stat(above[0])
    if folder.st_uid not in (us, 0):
        yield f"its folder belongs to the user {folder.st_uid}, and this process is {us}"
    mode = stat.S_IMODE(folder.st_mode)
    if mode & stat.S_IWGRP and not mode & stat.S_ISVTX:
        yield (
            f"the group {folder.st_gid} may replace files in its folder (mode {mode:04o}): "
            "chmod g-w it"
        )
    for one in above if above[0] != path.parent else above[1:]:
        found = _mode(one) or 0
        if found & stat.S_IWOTH and not found & stat.S_ISVTX:
            mode = stat.S_IMODE(found)
            yield f"every user may replace what is in {str(one)!r} (mode {mode:04o}): chmod o-w it"


def _mode(path: Path) -> int | None:
    try:
        return os.stat(path).st_mode
    except OSError:
        return None
