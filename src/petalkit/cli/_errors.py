"""How a user's mistake becomes one line on stderr, and an exit code."""

from __future__ import annotations

import os
import sys

from .._serving.process.log_lines import escape
from .._values.errors import ConfigError, PetalkitError, RegistrationError

EXIT_OK = 0
EXIT_ERROR = 1  # a runtime error; for `call`: the device answered with an error
EXIT_USAGE = 2  # usage or configuration; for `call` also: no answer, or no connection
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells expect


class UsageError(Exception):
    """The user has to fix something.

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


def explain(error: BaseException) -> int:
    """Tell a user's mistake, and return its exit code; raise what is none."""
    cause = cause_of(error)
    match cause:
        case UsageError():
            report(cause.message, details=cause.details)
        case ConfigError() | RegistrationError():
            report(str(cause))
        case PetalkitError():  # such as: no petal could start
            report(str(cause))
            return EXIT_ERROR
        case KeyboardInterrupt():
            return EXIT_INTERRUPTED
        case BrokenPipeError():
            # Whoever read our output has had enough. What is still buffered goes nowhere, so
            # that the interpreter does not complain at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_OK
        case _:
            raise error
    return EXIT_USAGE


def cause_of(error: BaseException) -> BaseException:
    """What a nursery has put into a group by itself: it does so with a single error, too."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def flush_output() -> None:
    """Write what was printed now, where a closed pipe can still be met."""
    if sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison]
        sys.stdout.flush()  # it is None where it was closed before the start
