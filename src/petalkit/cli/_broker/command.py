"""`petalkit broker`: listen, until a signal comes.

The rule: it listens on this machine alone unless a host is named, and then it says what that means,
because everybody who reaches it may publish and subscribe everything.
"""

from __future__ import annotations

import ipaddress
import resource
import signal
from typing import Annotated

import trio
from cyclopts import Parameter
from rich.console import Console

from ..._serving.process.logs import configure_logging
from ...transports._broker.core.bounds import Bounds
from .._embedded_broker import EmbeddedBroker, open_embedded_broker
from .._errors import EXIT_ERROR, EXIT_OK, UsageError, report
from .._settings import variables
from .._settings.variables import LogFormat, LogLevel
from .options import BoundsOptions

_SPARE_FILES = 64  # beside those of its connections

_OPEN = (
    "{host} is more than this machine, and there is neither a password nor TLS: whoever reaches "
    "port {port} may publish and subscribe everything"
)


def broker(
    *,
    port: int = 1883,
    host: str = "127.0.0.1",
    allow_origin: Annotated[tuple[str, ...], Parameter(negative_iterable=())] = (),
    bounds: BoundsOptions | None = None,
    log_level: LogLevel | None = None,
    log_format: LogFormat | None = None,
) -> int:
    """Run a broker for MQTT 5 and 3.1.1, over TCP and WebSockets on the same port, until Ctrl-C.

    It is for one machine: trying things out, tests, and processes beside each other. It has no
    passwords and writes no files: sessions and retained messages are gone with it. Needs the
    extra petalkit[broker].

    Args:
        port: Where it listens; 0 lets the system choose.
        host: The address. Anything but this machine's own lets everybody in who reaches it.
        allow_origin: Web pages, such as https://example.org, that may open a WebSocket to it,
            beside those served by this machine; * for all. May be repeated.
        bounds: What it may hold and wait for.
        log_level: What to log, on stderr.
        log_format: Log lines for people, or one JSON object per line.
    """
    if not 0 <= port <= 65_535:
        raise UsageError(f"broker: --port must be from 0 to 65535, not {port}")
    try:
        bound = Bounds() if bounds is None else bounds.bounds()
    except ValueError as error:
        raise UsageError(f"broker: --{str(error).replace('_', '-')}") from None
    configure_logging(variables.log_level(log_level, "info"), variables.log_format(log_format))
    _allow_files(bound.max_connections + _SPARE_FILES)
    return trio.run(_serve, host, port, bound, frozenset(allow_origin))


async def _serve(host: str, port: int, bounds: Bounds, origins: frozenset[str]) -> int:
    try:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async with open_embedded_broker(host, port, bounds=bounds, origins=origins) as opened:
                _announce(opened)
                async for _ in signals:
                    break
    except OSError as error:
        report(f"cannot listen on {host}, port {port}: {error.strerror or error}")
        return EXIT_ERROR
    return EXIT_OK


def _announce(opened: EmbeddedBroker) -> None:
    if not _is_this_machine(opened.host):
        report(_OPEN.format(host=opened.host, port=opened.port), kind="warning")
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"{opened.url} and {opened.websocket_url}: MQTT 5 and 3.1.1, until Ctrl-C")
    console.file.flush()  # to a pipe, too


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _allow_files(count: int) -> None:
    """Let this process open as many files as it may need, as far as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
