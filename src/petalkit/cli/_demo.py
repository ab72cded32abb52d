"""`petalkit demo`: a broker, the example petal and a caller in one process, to see it work."""

from __future__ import annotations

import importlib.util
import inspect
import json
import secrets
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

from .._serving.opening import serve
from .._serving.process.logs import configure_logging
from .._values.settings.settings import Settings
from ..client import Client, open_client
from . import _example
from ._caller.responses import readable_json
from ._errors import EXIT_ERROR, EXIT_OK, UsageError, report
from ._output.printing import make_console
from ._settings import variables
from ._settings.variables import LogFormat, LogLevel

ORGANIZATION_ID = "acme"
CALL_TIMEOUT = 10.0  # seconds
START_TIMEOUT = 30.0  # seconds for broker, petal and client together

# command, data, messageId, what to look at
_SCENES: tuple[tuple[str, Mapping[str, Any], str, str], ...] = (
    ("example-petal/hello", {"name": "Developer"}, "test-123", "A command and its response"),
    ("example-petal/hello", {"name": 42}, "test-124", "Wrong data never reaches the handler"),
    ("example-petal/helo", {}, "test-125", "A command that no petal serves"),
)


def demo(
    *,
    once: Annotated[bool, Parameter(negative=())] = False,
    log_level: LogLevel | None = None,
    log_format: LogFormat | None = None,
) -> int:
    """Show petalkit at work: an embedded broker, the example petal, a few commands.

    Then it stays up until Ctrl-C, and prints the call line to try from another terminal. Needs
    the extra petalkit[broker].

    Args:
        once: End after the commands.
        log_level: What to log, on stderr.
        log_format: Log lines for people, or one JSON object per line.
    """
    if importlib.util.find_spec("mqtt5") is None:
        raise UsageError("demo: the embedded broker is missing: pip install 'petalkit[broker]'")
    configure_logging(variables.log_level(log_level, "warning"), variables.log_format(log_format))
    return trio.run(_demo, once)


async def _demo(once: bool) -> int:
    from ._embedded_broker import open_embedded_broker  # its codec is an extra

    console = make_console()
    with trio.CancelScope(deadline=trio.current_time() + START_TIMEOUT) as start:
        async with open_embedded_broker() as broker:
            settings = Settings(
                broker=broker.url,
                transport="native",
                organization_id=ORGANIZATION_ID,
                device_id=f"Instance-{secrets.token_hex(3)}",
            )
            async with trio.open_nursery() as nursery:
                petal = _example.ExamplePetal()
                runtime = await nursery.start(serve, [petal], settings)
                async with open_client(settings) as client:
                    start.deadline = float("inf")  # started; from here a person decides
                    await _show(console, client)
                    if not once:
                        await _stay_up(console, settings)
                runtime.stop()
    if start.cancelled_caught:
        report(f"the demo did not start within {START_TIMEOUT:g} s; see --log-level info")
        return EXIT_ERROR
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


async def _stay_up(console: Console, settings: Settings) -> None:
    assert settings.organization_id is not None
    assert settings.device_id is not None
    line = shlex.join(
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
    console.print("\nNow from another terminal, until Ctrl-C here:", style="bold")
    console.print(line, style="cyan")
    # Printed to a pipe, the line has to arrive too.
    console.file.flush()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            console.print("\nStopping.")
            return


def _program() -> list[str]:
    """How to start this program from anywhere: by its full path unless the PATH has it."""
    if shutil.which("petalkit") is not None:
        return ["petalkit"]
    script = sys.argv[0]
    if script.endswith("petalkit"):
        return [script]
    return [sys.executable, "-m", "petalkit.cli"]
