"""`petalkit console`: show devices in a browser, and call them."""

from __future__ import annotations

import functools
import importlib.util
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import trio
from cyclopts import Parameter

from ..._serving.waiting import beside
from ..._values.errors import TransportError
from ..._values.settings.settings import Settings
from ...client import open_client
from .._demonstration.device import open_demonstration
from .._errors import EXIT_OK, EXIT_USAGE, NO_CONNECTION, CommandFailed, UsageError
from .._options import GENERAL, CallSettings, GeneralOptions, advice
from .bridge import Bridge, Moves
from .opening import show_in_browser

PORT_MAX = 65535
_NEEDED = ("h11", "hypercorn", "starlette", "wsproto")
# So that the first look shows a job under way, a stream, and an error that was answered.
MOVES = Moves(
    watch=("flight-log/attitude", "flight-log/altitude"),
    calls=(("flight-log/fetch", {}), ("example-petal/hello", {"name": 42})),
)
INSTALL = "pip install 'petalkit[console]'"


def console(  # noqa: D417 - what is left out has its words in its class
    *,
    demo: Annotated[bool, Parameter(negative=(), group=GENERAL)] = False,
    port: Annotated[int, Parameter(group=GENERAL)] = 0,
    open_browser: Annotated[bool, Parameter(name="--open", negative=(), group=GENERAL)] = False,
    general: GeneralOptions | None = None,
    settings: Annotated[CallSettings | None, Parameter(name="*")] = None,
) -> int:
    """Show devices in a browser, and call them: a page on this machine, until Ctrl-C.

    Prints the address. Whoever has it may send commands as you may: it holds a token, which is
    another one each time. It asks the broker with the settings of petalkit call. Needs the extra
    petalkit[console].

    Args:
        demo: Show a device of this program's own, on a broker of its own: petalkit[broker,console].
        port: The port of the page, on 127.0.0.1; 0 for any that is free. [default 0]
        open_browser: Open the page in a browser.
    """
    missing = missing_packages()
    if missing:
        raise UsageError(f"console: {', '.join(missing)} cannot be imported: {INSTALL}")
    if not 0 <= port <= PORT_MAX:
        raise UsageError(f"--port must be from 0 to {PORT_MAX}, not {port}")
    general = general or GeneralOptions()
    options = settings or CallSettings()
    if demo and (given := options.given()):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"--demo has a broker and a device of its own: leave out {names}")
    general.configure_logging("warning")
    if demo:
        return trio.run(_show_demonstration, port, open_browser)
    loaded = general.load(options)
    return trio.run(_show, loaded.settings, advice(general, options), port, open_browser)


def missing_packages() -> list[str]:
    """What the page needs and is not installed."""
    return [name for name in _NEEDED if importlib.util.find_spec(name) is None]


@asynccontextmanager
async def open_console(
    client: Any, settings: Settings, port: int = 0, moves: Moves | None = None
) -> AsyncGenerator[str]:
    """Serve the console while the block runs; gives its address.

    Raises:
        UsageError: it cannot listen there.
    """
    from .server import open_server  # its packages are an extra

    bridge = Bridge(client, settings, moves)
    is_open = False
    try:
        async with (
            beside(bridge.run, "petalkit console: directory"),
            open_server(bridge, port, settings.payload_max) as address,
        ):
            is_open = True
            yield address
    except OSError as error:
        if is_open:  # it is the block's, such as that nobody reads what it prints
            raise
        raise UsageError(f"console: cannot serve the page: {error.strerror or error}") from error


async def _show(settings: Settings, hint: str, port: int, opens: bool) -> int:
    try:
        async with (
            open_client(settings) as client,
            open_console(client, settings, port) as address,
        ):
            await _stay(address, opens)
    except TransportError as error:
        url = settings.broker_url()
        text = f"{url.scheme}://{url.netloc or url.path}: {error}"
        raise CommandFailed(text, code=NO_CONNECTION, exit_code=EXIT_USAGE, hint=hint) from None
    return EXIT_OK


async def _show_demonstration(port: int, opens: bool) -> int:
    async with (
        open_demonstration() as (settings, client),
        open_console(client, settings, port, MOVES) as address,
    ):
        await _stay(address, opens)
    return EXIT_OK


async def _stay(address: str, opens: bool) -> None:
    print(f"Console: {address}", flush=True)  # noqa: T201
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with in_browser(address if opens else None):
            async for _ in signals:
                return


@asynccontextmanager
async def in_browser(address: str | None) -> AsyncGenerator[None]:
    """Open it beside the block; None for nothing."""
    if address is None:
        yield
        return
    async with beside(functools.partial(show_in_browser, address), "petalkit console: browser"):
        yield
