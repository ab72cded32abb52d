"""Names that were found, kept in files for a while, so that not each press of Tab asks a broker.

The rule: what is read from a file is believed as little as what a device says. The bounds: so many
names, so many bytes of a file, and so many files. Whatever goes wrong here is no names at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import attrs
import msgspec

from ..._values.basics.files import open_regular

NAMES_MAX = 1000
FILES_MAX = 100
BYTES_MAX = 300_000  # of a file: NAMES_MAX names of 256 characters
# Nothing that means something to a shell, and nothing that could be taken for an option: what is
# completed stands on somebody's command line, and Enter runs it.
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@:+-]{0,255}")


def safe_names(names: Iterable[object]) -> list[str]:
    """Those that may stand on a command line, each once, sorted."""
    found = {one for one in names if isinstance(one, str) and _SAFE.fullmatch(one)}
    return sorted(found)[:NAMES_MAX]


class _File(msgspec.Struct):
    time: float
    names: list[str]


@attrs.frozen
class Kept:
    """The names of one kind, of one broker and device.

    Attributes:
        path: the file; None where there is no place for one.
    """

    path: Path | None

    @classmethod
    def of(cls, *key: str) -> Kept:
        """Those that are known by these words."""
        folder = cache_folder()
        name = hashlib.sha256("\0".join(key).encode("utf-8", "replace")).hexdigest()[:32]
        return cls(None if folder is None else folder / f"{name}.json")

    def read(self, age: float, now: float | None = None) -> list[str] | None:
        """What was found, if that is no older; None where there is nothing.

        Args:
            age: seconds.
            now: seconds since 1970.
        """
        if self.path is None:
            return None
        try:
            with open_regular(self.path) as file:  # a pipe would be waited for, without a limit
                found = msgspec.json.decode(file.read(BYTES_MAX + 1), type=_File)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        # A time in the future is one of a clock that was wrong.
        fresh = 0 <= (time.time() if now is None else now) - found.time <= age
        return safe_names(found.names) if fresh else None

    def write(self, names: Iterable[str]) -> None:
        """Keep these; a reader finds the old ones or the new ones, never half."""
        if self.path is None:
            return
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            data = msgspec.json.encode(_File(time.time(), list(names)[:NAMES_MAX]))
            descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=".")  # 0600
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                Path(name).replace(self.path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            _forget_oldest(self.path.parent)


def _forget_oldest(folder: Path) -> None:
    files = sorted(folder.glob("*"), key=lambda one: one.lstat().st_mtime)
    for one in files[:-FILES_MAX]:
        one.unlink(missing_ok=True)


def cache_folder() -> Path | None:
    """The user's folder for what can be found again (XDG Base Directory Specification)."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(named) if named.startswith("/") else None
    if base is None:
        with contextlib.suppress(RuntimeError):  # there is no home
            base = Path.home() / ".cache"
    return None if base is None else base / "petalkit" / "completion"
