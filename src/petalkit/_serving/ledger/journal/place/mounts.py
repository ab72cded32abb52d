"""What is mounted where a journal stands."""

from __future__ import annotations

import os
from pathlib import Path

from ..records import JournalError


def refuse_mounted(path: Path, table: str = "/proc/self/mountinfo") -> None:
    """Refuse a file that is mounted by itself, as a container may have it.

    What stands beside it, the lock and what SQLite has not moved into the file yet, would be each
    container's own: two runtimes would share it, and records would be lost with the container.

    Args:
        path: of the journal, without symbolic links.
        table: of what is mounted, as proc_pid_mountinfo(5) has it.

    Raises:
        JournalError: it is such a file.
    """
    try:
        with open(table, "rb") as file:
            # proc_pid_mountinfo(5): the fifth field; a space in it is written in octal.
            places = {line.split(b" ", 5)[4] for line in file}
    except (OSError, IndexError):
        return  # not Linux
    escaped = os.fsencode(path)
    for character in (b"\\", b" ", b"\t", b"\n"):
        escaped = escaped.replace(character, b"\\%03o" % ord(character))
    if escaped in places:
        reason = "is mounted as a single file; mount the folder that it is in, or name a file there"
        raise JournalError(path, reason)
