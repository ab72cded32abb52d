"""The commands put together, and what is made of an error that comes out of one."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cyclopts import App, CycloptsError, UnknownOptionError

from ._errors import EXIT_OK, UsageError, cause_of, explain, flush_output, report
from ._options import COMPLETE_NAMES, GENERAL, HELP_ALL, HOST_PROXY, with_host_proxy

if TYPE_CHECKING:
    from ._output.help import HelpPages

_HELP = """Structured concurrency for petals: command handlers over MQTT, on Trio.

Settings come from the command line, then PETALKIT_* variables, then --config, then defaults.

petalkit help COMMAND shows the options of a command that most need, petalkit COMMAND --help-all
shows all of them. petalkit --version names the versions of what it is made of.
"""

_HELP_FLAGS = frozenset({"--help", "-h"})
_WITH_HOST_PETALS = ("run", "list", "schema", "doctor")
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


def _add_schema(app: App) -> None:
    from ._schema.command import schema

    usage = "Usage: petalkit schema [TARGET... | --device ID] --format FORMAT [OPTIONS]"
    app.command(schema, usage=usage)


def _add_call(app: App) -> None:
    from ._caller.call import call

    app.command(call, usage="Usage: petalkit call COMMAND [DATA-JSON] [OPTIONS]")


def _add_watch(app: App) -> None:
    from ._watching.command import watch

    app.command(watch, usage="Usage: petalkit watch [NAME...] [OPTIONS]")


def _add_jobs(app: App) -> None:
    from ._caller.jobs import jobs

    app.command(jobs, usage="Usage: petalkit jobs [OPTIONS]")


def _add_cancel(app: App) -> None:
    from ._caller.jobs import cancel

    app.command(cancel, usage="Usage: petalkit cancel ID [OPTIONS]")


def _add_devices(app: App) -> None:
    from ._caller.devices import devices

    app.command(devices, usage="Usage: petalkit devices [OPTIONS]")


def _add_info(app: App) -> None:
    from ._caller.info import info

    app.command(info, usage="Usage: petalkit info [NAME] [OPTIONS]")


def _add_doctor(app: App) -> None:
    from ._doctor import doctor

    app.command(doctor, usage="Usage: petalkit doctor [TARGET...] [OPTIONS]")


def _add_journal(app: App) -> None:
    from ._journal.command import make_app

    app.command(make_app())


def _add_broker(app: App) -> None:
    from ._broker.command import broker

    app.command(broker, usage="Usage: petalkit broker [OPTIONS]")


def _add_console(app: App) -> None:
    from ._console.command import console

    app.command(console, usage="Usage: petalkit console [--broker URL | --demo] [OPTIONS]")


def _add_demo(app: App) -> None:
    from ._demo import demo

    app.command(demo, usage="Usage: petalkit demo [OPTIONS]")


def _add_completion(app: App) -> None:
    from ._completion.command import make_command

    app.command(make_command(make_app), usage="Usage: petalkit completion SHELL")


def _add_complete_names(app: App) -> None:
    from ._completion.command import print_names

    app.command(print_names, name=COMPLETE_NAMES, show=False)


# Each loads its module only when it is asked for: what another needs costs a start for nothing.
_COMMANDS = {
    "run": _add_run,
    "list": _add_list,
    "schema": _add_schema,
    "call": _add_call,
    "watch": _add_watch,
    "jobs": _add_jobs,
    "cancel": _add_cancel,
    "devices": _add_devices,
    "info": _add_info,
    "doctor": _add_doctor,
    "journal": _add_journal,
    "broker": _add_broker,
    "console": _add_console,
    "demo": _add_demo,
    "completion": _add_completion,
    COMPLETE_NAMES: _add_complete_names,  # what a script for a shell asks for
}


def make_app(command: str | None = None, *, help_pages: HelpPages | None = None) -> App:
    """Make the command line: of one command, or of all, where it is none that there is.

    Args:
        command: which one.
        help_pages: how help is shown; None where nobody can have asked for it.
    """
    looks: dict[str, Any] = {}
    if help_pages is not None:  # rich takes a twentieth of the time that a start takes
        from ._output.printing import make_console

        # Long help is read by people and by pipes; errors are ours to print.
        looks = {
            "console": make_console(),
            "error_console": make_console(stderr=True),
            "help_formatter": help_pages,
        }
    app = App(
        name="petalkit",
        help=_HELP,
        help_format="markdown",
        version_flags=(),
        group_parameters=GENERAL,
        suppress_keyboard_interrupt=False,  # or it would leave without a word for a program
        **looks,
    )
    for add in [_COMMANDS[command]] if command in _COMMANDS else _COMMANDS.values():
        add(app)
    return app


def run_command(arguments: Sequence[str]) -> int:
    """Run a command, tell a user's mistake, and return the exit code."""
    tokens = list(arguments)
    as_json = "--json" in _options_of(tokens)
    try:
        return _run(tokens, as_json=as_json)
    except BaseException as error:
        return _explain(error, as_json=as_json)


def _options_of(tokens: Sequence[str]) -> Sequence[str]:
    """Those that may be options: what stands in front of `--`."""
    return tokens[: tokens.index("--")] if "--" in tokens else tokens


def _run(tokens: list[str], *, as_json: bool) -> int:
    if tokens[:1] == ["help"]:
        tokens = [*tokens[1:], "--help"]
    if "--version" in _options_of(tokens):
        from ._output.versions import show_versions

        return show_versions(as_json=as_json)
    if tokens and tokens[0] in _WITH_HOST_PETALS:
        tokens, named = with_host_proxy(tokens)
        for one in named:
            text = (
                f"--proxy {one}: write {HOST_PROXY} {shlex.quote(one)}; --proxy is the HTTP proxy"
            )
            report(text, kind="warning")
    command = tokens[0] if tokens else None
    shows_all = HELP_ALL in _options_of(tokens)
    if shows_all:
        tokens = ["--help" if one == HELP_ALL else one for one in tokens]
    pages: HelpPages | None = None
    if command not in _COMMANDS or not _HELP_FLAGS.isdisjoint(tokens):
        from ._output.help import HelpPages as Pages

        pages = Pages(shows_all=shows_all)
    code = make_app(command, help_pages=pages)(
        tokens, exit_on_error=False, print_error=False, result_action="return_value"
    )
    if pages is not None and pages.hidden:
        print(f"{pages.hidden} more options: petalkit {command} {HELP_ALL}")  # noqa: T201
    flush_output()
    return code if isinstance(code, int) else EXIT_OK


def _option(error: UnknownOptionError) -> str:
    """The name alone: what follows it may be the secret."""
    return (error.token.keyword or error.token.value).partition("=")[0]


def _explain(error: BaseException, *, as_json: bool) -> int:
    cause = cause_of(error)
    match cause:
        case UnknownOptionError() if (name := _option(cause)) in _SECRETS:
            error = UsageError(f"{name} is no option: {_SECRETS[name]}")
        case CycloptsError():
            text = " ".join(str(cause).split())
            chain = getattr(cause, "command_chain", None) or ()
            words = " ".join(("petalkit", *chain))
            error = UsageError(f"{text} `{words} --help` shows what there is")
        case _:
            pass
    return explain(error, as_json=as_json)
