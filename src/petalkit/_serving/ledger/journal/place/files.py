"""The folder and the file of a journal: made for their owner only, and looked at before use."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ...records import JournalError

_FOLDER_MODE = 0o700  # commands and responses are private
FILE_MODE = 0o600


def make_place(path: Path) -> None:
    """Make the folders to a journal, for their owner only, if there are none.

    Raises:
        JournalError: they cannot be made, or what is there is no file.
    """
    if exists(path):
        return
    try:
        for folder in reversed([folder for folder in path.parents if not folder.exists()]):
            folder.mkdir(_FOLDER_MODE, exist_ok=True)
    except OSError as error:
        what = f"its folder {str(path.parent)!r} cannot be made"
        raise JournalError(path, reason_of(error, what)) from None


def make_file(path: Path) -> None:
    """Make an empty file that only its owner may read, if there is none.

    Raises:
        JournalError: it cannot be made, or what is there is no file.
    """
    if exists(path):
        return
    try:
        # Only a file that was not there: nobody has locks on it that closing could drop.
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        os.close(os.open(path, flags, FILE_MODE))
        sync_folder(path)
    except OSError as error:
        raise JournalError(path, reason_of(error, "cannot be made")) from None


def sync_folder(path: Path) -> None:
    """Else the name of a file that was made in it can be lost with the power."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def exists(path: Path) -> bool:
    """Whether there is a file; refuse what can be no journal by its kind.

    Raises:
        JournalError: it is a folder, a pipe, a socket or a device, or cannot be looked at.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise JournalError(path, reason_of(error, "cannot be opened")) from None
    if stat.S_ISDIR(mode):
        raise JournalError(path, "is a folder; name a file in it")
    if not stat.S_ISREG(mode):
        raise JournalError(path, "is not a regular file")
    return True


def reason_of(error: OSError | ValueError, what: str) -> str:
    """What the operating system says of it, in our words."""
    if isinstance(error, ValueError):
        return f"{what}: the path has a null character"
    return f"{what}: {error.strerror or type(error).__name__}"
