"""The command line: `petalkit run`, `list`, `call`, `watch`, `doctor` and the others.

One module per command. A user's mistake is one line on stderr and exit code 2, never a traceback
of ours; a traceback means a bug in petalkit. With `--json` it is one object on stdout.

    _errors            one line on stderr, and an exit code
    _example           the petal of `demo`
    _embedded_broker   a broker inside this program
    _settings/         from the command line, the environment and a file
    _targets/          TARGET to petal
    _given             what options of several commands mean
    _options           the options, made from the fields of `Settings`
    _output/           what commands print
    _listing/          `list`
    _schema/           `schema`
    _caller/           `call`, `jobs`, `cancel`, `devices` and `info`
    _watching/         `watch`
    _journal/          `journal`
    _running/          `run`, without the parser
    _run               `run`
    _checks/           what `doctor` looks at
    _doctor            `doctor`
    _broker/           `broker`
    _demonstration/    the device that `demo` and `console --demo` show
    _console/          `console`
    _demo              `demo`
    _completion/       `completion`
    _app               the commands put together
    __main__           `python -m petalkit.cli`

It may import everything. Begin with `_run`; a new command is a module here and a line in `_app`.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from .._serving.process import collector

__all__ = ["main"]

_SERVING = ("run", "demo")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: without the program's name; None takes those of the process, which is ours then:
            what petals leave running does not hold up its end.
    """
    if arguments is not None:
        return _run_command(arguments)
    collector.rest()  # until all is loaded that the command needs
    from .._serving.process.leaving import end_process, limit_exit
    from .._serving.process.standard_streams import release_standard_streams

    _escape_what_cannot_be_written()
    code = 1
    serves = sys.argv[1:2] and sys.argv[1] in _SERVING
    try:
        if serves:
            _hold_standard_descriptors()
            release_standard_streams()
        code = _run_command(sys.argv[1:])
    finally:
        limit_exit(code)
    if serves:
        end_process(code)
    if sys.argv[1:2] == ["complete-names"]:
        _leave(code)
    return code


def _escape_what_cannot_be_written() -> None:
    """What a device says may have letters that an output's encoding has not; on stderr it is so."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _leave(code: int) -> NoReturn:
    """End at once: a shell waits, and a thread that connects somewhere must not hold it up."""
    with contextlib.suppress(OSError, AttributeError, ValueError):
        sys.stdout.flush()
    os._exit(code)


def _run_command(arguments: Sequence[str]) -> int:
    _hold_standard_descriptors()
    collector.rest()
    try:
        if arguments and arguments[0] == "run":
            from ._running.plain import run_plain

            code = run_plain(arguments[1:])
            if code is not None:
                return code
        if arguments and arguments[0] == "broker":
            from ._broker.plain import run_plain as run_plain_broker

            code = run_plain_broker(arguments[1:])
            if code is not None:
                return code
        from ._app import run_command

        return run_command(arguments)
    finally:
        collector.wake()


def _hold_standard_descriptors() -> None:
    """Let no other file have the number of a closed output, or words meant for people end in it."""
    with contextlib.suppress(OSError):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(descriptor)
