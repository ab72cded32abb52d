"""What a petal's code changes of the whole process while it is loaded, put back.

The rule: those after it, and petalkit, find the process as it was, and one line names who changed
it. It is for what would harm others: a relative path that leads elsewhere, files that everybody can
read, a warning that is raised in other code, a signal that ends nothing, output that nobody sees.
The rest is the petal's own affair (docs/cli.md). The trap: a stream that takes the place of
`sys.stdout` shares its buffer, and closes that when nobody holds it any more.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from typing import Any, cast

import attrs

from ..._serving.loggers import allow_again

logger = logging.getLogger("petalkit.settings")

_STREAMS = ("stdin", "stdout", "stderr")
# What ends us, what a broken connection must not end us by, and what subprocesses are awaited with.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD)
_STRICTER = 0o077  # while the mask is read, which takes setting it
_kept: list[object] = []  # streams that were put in place of ours


@attrs.frozen(eq=False)
class ProcessState:
    """How the process is at a moment; see `now`."""

    _path: list[str]
    _entries: list[str]
    _folder: str | None
    _umask: int
    _filters: list[Any]
    _handlers: dict[signal.Signals, Any]
    _streams: dict[str, Any]
    _silenced: int

    @classmethod
    def now(cls) -> ProcessState:
        """As it is now."""
        return cls(
            sys.path,
            list(sys.path),
            _current_folder(),
            _current_umask(),
            list(warnings.filters),
            {number: signal.getsignal(number) for number in _SIGNALS},
            {name: getattr(sys, name) for name in _STREAMS},
            logging.root.manager.disable,
        )

    def put_back(self, who: str) -> None:
        """Put back what is otherwise, and name who has changed it.

        Args:
            who: has run since.
        """
        for told in self._changes():
            logger.warning("%s %s", who, told)

    def _changes(self) -> Iterator[str]:
        # The streams first, since warnings go there.
        yield from self._put_back_streams()
        if allow_again(self._silenced):
            yield (
                "has silenced all loggers by logging.disable(), which is put back: set the level "
                "of a logger of your own"
            )
        yield from self._put_back_path()
        yield from self._put_back_folder()
        yield from self._put_back_umask()
        yield from self._put_back_filters()
        yield from self._put_back_handlers()

    def _put_back_streams(self) -> Iterator[str]:
        for name, stream in self._streams.items():
            found = getattr(sys, name, None)
            if found is stream or not _is_usable(stream):
                continue
            _kept.append(found)
            setattr(sys, name, stream)
            yield f"has replaced sys.{name}, which is put back: write to a stream of your own"

    def _put_back_path(self) -> Iterator[str]:
        gone = [entry for entry in self._entries if entry not in sys.path]
        if gone:
            self._path[:] = [*sys.path, *gone]
            sys.path = self._path
            yield (
                f"has taken {len(gone)} entries from sys.path, which are put back: add to it, and "
                "leave the others"
            )

    def _put_back_folder(self) -> Iterator[str]:
        found = _current_folder()
        if self._folder is None or found == self._folder:
            return
        try:
            os.chdir(self._folder)
        except OSError:  # it has been removed
            yield f"has changed the current folder to {found!r}"
        else:
            yield (
                f"has changed the current folder to {found!r}, which is put back: write absolute "
                "paths"
            )

    def _put_back_umask(self) -> Iterator[str]:
        found = _current_umask()
        if found != self._umask:
            os.umask(self._umask)
            yield f"has set the umask to {found:03o}, which is put back: set the mode of your files"

    def _put_back_filters(self) -> Iterator[str]:
        """Those that make an error of a warning: it would be raised in the code of others."""
        raising = [
            one for one in warnings.filters if one[0] == "error" and one not in self._filters
        ]
        if raising:
            left = [one for one in warnings.filters if one not in raising]
            warnings.resetwarnings()
            cast("list[Any]", warnings.filters)[:] = left
            yield (
                "makes errors of warnings, which is put back, since it does so in the code of "
                "others: use warnings.catch_warnings()"
            )

    def _put_back_handlers(self) -> Iterator[str]:
        for number, handler in self._handlers.items():
            if handler is None or signal.getsignal(number) is handler:
                continue  # None: not of Python, which cannot set it
            try:
                signal.signal(number, handler)
            except ValueError:  # not in the main thread, where nobody can have changed it
                return
            yield f"has taken {number.name}, which is put back: clean up in lifespan()"


def _current_folder() -> str | None:
    """None where it was removed."""
    try:
        return os.getcwd()
    except OSError:
        return None


def _current_umask() -> int:
    found = os.umask(_STRICTER)
    os.umask(found)
    return found


def _is_usable(stream: Any) -> bool:
    """Whether a stream can be written to; one whose buffer was taken away cannot."""
    try:
        return stream is not None and not stream.closed
    except (AttributeError, ValueError):
        return False
