"""How a user's mistake becomes one line on stderr, and an exit code."""

from __future__ import annotations

import sys

from .._serving.process.log_lines import escape

EXIT_OK = 0
EXIT_ERROR = 1  # a runtime error; for `call`: the device answered with an error
EXIT_USAGE = 2  # usage or configuration; for `call` also: no answer, or no connection
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells expect


class UsageError(Exception):
    """The user has to mend something.

    Args:
        message: one line.
        details: more lines, such as the part of a traceback that is the user's own.
    """

    def __init__(self, message: str, *, details: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.details = details


def report(message: str, *, details: str = "", kind: str = "error") -> None:
    """Print an error, or a warning, as one line on stderr, with its details under it."""
    print(f"petalkit: {kind}: {escape(message)}", file=sys.stderr)  # noqa: T201
    if details:
        print(details.rstrip("\n"), file=sys.stderr)  # noqa: T201
