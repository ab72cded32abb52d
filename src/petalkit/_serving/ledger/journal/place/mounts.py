"""What is mounted where a journal stands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ...records import JournalError

_NETWORK = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "sshfs", "glusterfs")
)


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
    if _escaped(path) in _mounts(table):
        reason = "is mounted as a single file; mount the folder that it is in, or name a file there"
        raise JournalError(path, reason)


def network_file_system(path: Path, table: str = "/proc/self/mountinfo") -> Iterator[str]:
    """What is to be told of a journal that lies on another machine, if that can be known.

    Args:
        path: of the journal, without symbolic links.
        table: as for `refuse_mounted`.
    """
    mounts = _mounts(table)
    for place in (path, *path.parents):
        kind = mounts.get(_escaped(place))
        if kind is not None:
            if kind in _NETWORK or (kind.startswith("fuse.") and kind[5:] in _NETWORK):
                yield (
                    f"it lies on a network file system ({kind}), whose locks other machines may "
                    "not see; use a disk of this machine"
                )
            return


def _mounts(table: str) -> dict[bytes, str]:
    """The kind of file system of each place, as the table writes it; the last one counts."""
    found: dict[bytes, str] = {}
    try:
        with open(table, "rb") as file:
            for line in file:
                # proc_pid_mountinfo(5): the fifth field; a space in it is written in octal. The
                # kind is the first after a lone dash.
                fields = line.split()
                kind = fields[fields.index(b"-", 6) + 1] if b"-" in fields[6:] else b""
                found[fields[4]] = kind.decode(errors="replace")
    except (OSError, IndexError):
        return {}  # not Linux
    return found


def _escaped(path: Path) -> bytes:
    escaped = os.fsencode(path)
    for character in (b"\\", b" ", b"\t", b"\n"):
        escaped = escaped.replace(character, b"\\%03o" % ord(character))
    return escaped
