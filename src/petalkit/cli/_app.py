"""The commands put together, and what is made of an error that comes out of one."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from cyclopts import App, CycloptsError, UnknownOptionError

from .._values.basics.version import __version__
from ._errors import EXIT_OK, EXIT_USAGE, cause_of, explain, flush_output, report
from ._options import GENERAL, HOST_PROXY, with_host_proxy

_HELP = """Structured concurrency for petals: command handlers over MQTT, on Trio.

Settings come from the command line, then PETALKIT_* variables, then --config, then defaults.
"""

_HELP_FLAGS = frozenset({"--help", "-h", "--version"})
_WITH_HOST_PETALS = ("run", "list", "doctor")
_SEEN = "every user sees what stands on a command line"
_SECRETS = {  # what somebody may take for an option
    "--password": f"{_SEEN}; use --password-file, PETALKIT_PASSWORD or the --config file",
    "--key-password": f"{_SEEN}; use --key-password-file, PETALKIT_KEY_PASSWORD or the --config "
    "file",
    "--proxy-credentials": f"{_SEEN}; use PETALKIT_PROXY_CREDENTIALS or the --config file",
    "--sidecar-token": f"{_SEEN}; use --sidecar-token-file, PETALKIT_SIDECAR_TOKEN or the --config "
    "file",
}


def _add_run(app: App) -> None:
    from ._run import run

    app.command(run, usage="Usage: petalkit run TARGET... [OPTIONS]")


def _add_list(app: App) -> None:
    from ._listing.command import list_commands

    app.command(list_commands, name="list", usage="Usage: petalkit list TARGET... [OPTIONS]")


def _add_call(app: App) -> None:
    from ._call import call

    app.command(call, usage="Usage: petalkit call COMMAND [DATA-JSON] [OPTIONS]")


def _add_doctor(app: App) -> None:
    from ._doctor import doctor

    app.command(doctor, usage="Usage: petalkit doctor [TARGET...] [OPTIONS]")


def _add_journal(app: App) -> None:
    from ._journal.command import make_app

    app.command(make_app())


def _add_console(app: App) -> None:
    from ._console.command import console

    app.command(console, usage="Usage: petalkit console [--broker URL | --demo] [OPTIONS]")


def _add_demo(app: App) -> None:
    from ._demo import demo

    app.command(demo, usage="Usage: petalkit demo [OPTIONS]")


# Each loads its module only when it is asked for: what another needs costs a start for nothing.
_COMMANDS = {
    "run": _add_run,
    "list": _add_list,
    "call": _add_call,
    "doctor": _add_doctor,
    "journal": _add_journal,
    "console": _add_console,
    "demo": _add_demo,
}


def make_app(command: str | None = None, *, has_help: bool = True) -> App:
    """Make the command line: of one command, or of all, where it is none that there is.

    Args:
        command: which one.
        has_help: whether it may be asked for help.
    """
    consoles: dict[str, Any] = {}
    if has_help:
        from rich.console import Console  # a twentieth of the time that a start takes

        # Long help is read by people and by pipes; errors are ours to print.
        consoles = {
            "console": Console(highlight=False),
            "error_console": Console(stderr=True, highlight=False),
        }
    app = App(
        name="petalkit",
        help=_HELP,
        version=f"petalkit {__version__}",
        help_format="markdown",
        group_parameters=GENERAL,
        **consoles,
    )
    for add in [_COMMANDS[command]] if command in _COMMANDS else _COMMANDS.values():
        add(app)
    return app


def run_command(arguments: Sequence[str]) -> int:
    """Run a command, tell a user's mistake, and return the exit code."""
    tokens = list(arguments)
    if tokens and tokens[0] in _WITH_HOST_PETALS:
        tokens, named = with_host_proxy(tokens)
        for one in named:
            text = (
                f"--proxy {one}: write {HOST_PROXY} {shlex.quote(one)}; --proxy is the HTTP proxy"
            )
            report(text, kind="warning")
    try:
        command = tokens[0] if tokens else None
        asks = command not in _COMMANDS or not _HELP_FLAGS.isdisjoint(tokens)
        code = make_app(command, has_help=asks)(
            tokens, exit_on_error=False, print_error=False, result_action="return_value"
        )
        flush_output()
    except BaseException as error:
        return _explain(error)
    return code if isinstance(code, int) else EXIT_OK


def _option(error: UnknownOptionError) -> str:
    """The name alone: what follows it may be the secret."""
    return (error.token.keyword or error.token.value).partition("=")[0]


def _explain(error: BaseException) -> int:
    cause = cause_of(error)
    match cause:
        case UnknownOptionError() if (name := _option(cause)) in _SECRETS:
            report(f"{name} is no option: {_SECRETS[name]}")
        case CycloptsError():
            report(" ".join(str(cause).split()))
        case _:
            return explain(error)
    return EXIT_USAGE
