"""How what went wrong becomes one line on stderr or one JSON object on stdout, and an exit code.

The rule: whoever asked for JSON gets one object on stdout, whatever has happened, in the form in
which a device says "no": `success`, `error_code`, `error`. Everybody else gets one line on stderr,
and under it what to do next. The trap: most of what is told here was said by somebody else, a
device, a broker or a petal, and may not steer the terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .._serving.process.log_lines import escape
from .._values.errors import (
    ConfigError,
    PetalkitError,
    RegistrationError,
    TransportError,
    without_addresses,
)

EXIT_OK = 0
EXIT_ERROR = 1  # a runtime error; for callers: the device answered with an error
EXIT_USAGE = 2  # usage or configuration; for callers also: no answer, or no connection
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells expect

USAGE, CONFIG, PETAL, NO_CONNECTION, NO_ANSWER, INTERRUPTED, FAILED = (
    *("USAGE", "CONFIG", "PETAL", "NO_CONNECTION", "NO_ANSWER", "INTERRUPTED", "FAILED"),
)


class CommandFailed(Exception):
    """What was asked for could not be done, and why.

    Args:
        message: one line.
        code: for programs, one of those above or a device's own.
        exit_code: of the process.
        details: more lines, such as the part of a traceback that is the user's own.
        hint: what to do next, a line each.
        more: further fields for programs, such as the `message_id` of a command.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = FAILED,
        exit_code: int = EXIT_ERROR,
        details: str = "",
        hint: str | Sequence[str] = (),
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.exit_code = exit_code
        self.details = details
        self.hints = [one for one in ([hint] if isinstance(hint, str) else hint) if one]
        self.more = dict(more or {})

    def as_json(self) -> dict[str, Any]:
        """The object for programs, without an answer of a device."""
        said = {"success": False, "error_code": self.code, "error": without_addresses(self.message)}
        hints = {"hint": "; ".join(self.hints)} if self.hints else {}
        text = without_addresses(self.details).rstrip("\n")
        details = {"details": text} if text else {}
        return {**said, **self.more, **hints, **details, "exit_code": self.exit_code}


class UsageError(CommandFailed):
    """The user has to fix something.

    Args:
        message: one line.
        details: more lines, such as the part of a traceback that is the user's own.
        hint: what to do next.
    """

    def __init__(self, message: str, *, details: str = "", hint: str | Sequence[str] = ()) -> None:
        super().__init__(message, code=USAGE, exit_code=EXIT_USAGE, details=details, hint=hint)


def report(message: str, *, details: str = "", kind: str = "error") -> None:
    """Print an error, or a warning, as one line on stderr, with its details under it."""
    _say(f"petalkit: {kind}: {escape(without_addresses(message))}")
    if details:
        _say(details.rstrip("\n"))


def _say(line: str) -> None:
    """A line on stderr; nowhere where that was closed before the start, and never on stdout."""
    if sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison]
        print(line, file=sys.stderr)  # noqa: T201


def tell(failed: CommandFailed, *, as_json: bool) -> int:
    """Tell what went wrong, and return its exit code."""
    if as_json:
        import json  # which a device's start does not need

        print(json.dumps(failed.as_json()))  # noqa: T201
        flush_output()
    else:
        report(failed.message, details=failed.details)
        say_next(failed.hints)
    return failed.exit_code


def explain(error: BaseException, *, as_json: bool = False) -> int:
    """Tell what a user can do something about, and return its exit code; raise what is a bug."""
    cause = cause_of(error)
    try:
        match cause:
            case CommandFailed():
                return tell(cause, as_json=as_json)
            case ConfigError():
                return tell(_usage(cause, CONFIG), as_json=as_json)
            case RegistrationError():
                return tell(_usage(cause, PETAL), as_json=as_json)
            case PetalkitError():  # such as: no petal could start
                code = NO_CONNECTION if isinstance(cause, TransportError) else FAILED
                return tell(CommandFailed(str(cause), code=code), as_json=as_json)
            case KeyboardInterrupt():
                failed = CommandFailed("interrupted", code=INTERRUPTED, exit_code=EXIT_INTERRUPTED)
                return tell(failed, as_json=True) if as_json else failed.exit_code
            case BrokenPipeError():
                return leave_pipe()
            case _:
                raise error
    except BrokenPipeError:
        return leave_pipe()


def _usage(error: PetalkitError, code: str) -> CommandFailed:
    return CommandFailed(str(error), code=code, exit_code=EXIT_USAGE)


def leave_pipe() -> int:
    """Whoever read our output has had enough, and that is no error; the exit code.

    What is still buffered goes nowhere, so that the interpreter does not complain at its end.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, AttributeError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1 if stream is sys.stdout else 2)
    return EXIT_OK


def cause_of(error: BaseException) -> BaseException:
    """What a nursery has put into a group by itself: it does so with a single error, too."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def flush_output() -> None:
    """Write what was printed now, where a closed pipe can still be met."""
    if sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison]
        sys.stdout.flush()  # it is None where it was closed before the start


def say_next(hints: Iterable[str]) -> None:
    """Say on stderr what to do next, a line each."""
    for hint in hints:
        _say(f"petalkit: next: {escape(hint)}")
