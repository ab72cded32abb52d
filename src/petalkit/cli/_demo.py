"""`petalkit demo`: a broker, a device and a caller in one process, to see them work."""

from __future__ import annotations

import importlib.util
import inspect
import json
import shlex
import shutil
import signal
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import trio
from cyclopts import Parameter
from rich.console import Console
from rich.syntax import Syntax

from .._serving.process.logs import configure_logging
from .._values.settings.settings import Settings
from ..client import Client
from . import _example
from ._caller.responses import readable_json
from ._console.command import (
    INSTALL,
    MOVES,
    PORT_MAX,
    in_browser,
    missing_packages,
    open_console,
)
from ._demonstration.device import open_demonstration
from ._errors import EXIT_OK, UsageError
from ._output.printing import make_console
from ._settings import variables
from ._settings.variables import LogFormat, LogLevel

CALL_TIMEOUT = 10.0  # seconds

# command, data, messageId, what to look at
_SCENES: tuple[tuple[str, Mapping[str, Any], str, str], ...] = (
    ("example-petal/hello", {"name": "Developer"}, "test-123", "A command and its response"),
    ("example-petal/hello", {"name": 42}, "test-124", "Wrong data never reaches the handler"),
    ("example-petal/helo", {}, "test-125", "A command that no petal serves"),
)


def demo(
    *,
    once: Annotated[bool, Parameter(negative=())] = False,
    open_browser: Annotated[bool, Parameter(name="--open", negative=())] = False,
    port: int = 0,
    log_level: LogLevel | None = None,
    log_format: LogFormat | None = None,
) -> int:
    """Show petalkit at work: an embedded broker, a device, a few commands.

    Then it stays up until Ctrl-C, and prints the address of a console in the browser, with a job
    under way and a live stream, and the call line to try from another terminal. Needs the extras
    petalkit[broker,console].

    Args:
        once: End after the commands.
        open_browser: Open the console in a browser.
        port: The console's port, on 127.0.0.1; 0 for any that is free.
        log_level: What to log, on stderr.
        log_format: Log lines for people, or one JSON object per line.
    """
    if importlib.util.find_spec("mqtt5") is None:
        raise UsageError("demo: the embedded broker is missing: pip install 'petalkit[broker]'")
    if (open_browser or port) and once:
        raise UsageError("demo: --once ends before there is a console: leave out --open and --port")
    if not 0 <= port <= PORT_MAX:
        raise UsageError(f"--port must be from 0 to {PORT_MAX}, not {port}")
    configure_logging(variables.log_level(log_level, "warning"), variables.log_format(log_format))
    return trio.run(_demo, once, port, open_browser)


async def _demo(once: bool, port: int, opens: bool) -> int:
    console = make_console()
    async with open_demonstration(has_flight_log=not once) as (settings, client):
        await _show(console, client)
        if once:
            return EXIT_OK
        if missing := missing_packages():
            console.print(f"\nFor the console in the browser: {INSTALL}", style="bold")
            console.print(f"(not installed: {', '.join(missing)})")
            await _stay_up(console, settings, None, opens)
        else:
            async with open_console(client, settings, port, MOVES) as address:
                await _stay_up(console, settings, address, opens)
    return EXIT_OK


async def _show(console: Console, client: Client) -> None:
    source = "\n\n".join(
        inspect.getsource(shown) for shown in (_example.Greeting, _example.ExamplePetal)
    )
    console.print("The petal:", style="bold")
    console.print(Syntax(source.rstrip(), "python", background_color="default"))
    console.print(f"\nIt serves {client.identity.base_topic}", style="bold")
    for name, data, message_id, title in _SCENES:
        response = await client.request(name, data, timeout=CALL_TIMEOUT, message_id=message_id)
        console.print(f"\n{title}:", style="bold")
        console.print(f"-> {name} {json.dumps(data)}", style="cyan")
        style = "green" if response.success else "yellow"
        console.print(f"<- {readable_json(dict(response.fields))}", style=style)


async def _stay_up(console: Console, settings: Settings, address: str | None, opens: bool) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        console.print("\nNow from another terminal, until Ctrl-C here:", style="bold")
        console.print(_call_line(settings), style="cyan")
        if address is not None:
            console.print("\nOr in a browser on this machine:", style="bold")
            console.print(address, style="cyan")
        # Printed to a pipe, the lines have to arrive too.
        console.file.flush()
        async with in_browser(address if opens else None):
            async for _ in signals:
                console.print("\nStopping.")
                return


def _call_line(settings: Settings) -> str:
    assert settings.organization_id is not None
    assert settings.device_id is not None
    return shlex.join(
        [
            *_program(),
            "call",
            "example-petal/hello",
            '{"name": "you"}',
            "--broker",
            settings.broker,
            "--organization-id",
            settings.organization_id,
            "--device-id",
            settings.device_id,
        ]
    )


def _program() -> list[str]:
    """How to start this program from anywhere: by its full path unless the PATH has it."""
    if shutil.which("petalkit") is not None:
        return ["petalkit"]
    script = sys.argv[0]
    if script.endswith("petalkit"):
        return [script]
    return [sys.executable, "-m", "petalkit.cli"]
