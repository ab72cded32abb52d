"""Listen, until a signal comes; without the parser.

The rule: it listens on this machine alone unless a host is named, and then it says what that means,
because everybody who reaches it may publish and subscribe everything.
"""

from __future__ import annotations

import ipaddress
import resource
import signal
import sys

import attrs
import trio

from ..._serving.process.logs import configure_logging
from ...transports._broker.core.bounds import Bounds
from .._embedded_broker import EmbeddedBroker, open_embedded_broker
from .._errors import EXIT_ERROR, EXIT_OK, UsageError, report
from .._settings import variables
from .._settings.variables import LogFormat, LogLevel

DEFAULT_PORT = 1883
DEFAULT_HOST = "127.0.0.1"

_SPARE_FILES = 64  # beside those of its connections
_OPEN = (
    "{host} is more than this machine, and there is neither a password nor TLS: whoever reaches "
    "port {port} may publish and subscribe everything"
)


@attrs.frozen(kw_only=True)
class Asked:
    """What stood on the command line; the same means the same to the parser."""

    port: int = DEFAULT_PORT
    host: str = DEFAULT_HOST
    allow_origin: tuple[str, ...] = ()
    log_level: LogLevel | None = None
    log_format: LogFormat | None = None


def listen(asked: Asked, bounds: Bounds) -> int:
    """Serve; its exit code.

    Raises:
        UsageError: there is no such port.
    """
    if not 0 <= asked.port <= 65_535:
        raise UsageError(f"broker: --port must be from 0 to 65535, not {asked.port}")
    level = variables.log_level(asked.log_level, "info")
    configure_logging(level, variables.log_format(asked.log_format))
    _allow_files(bounds.max_connections + _SPARE_FILES)
    return trio.run(_serve, asked, bounds)


async def _serve(asked: Asked, bounds: Bounds) -> int:
    host, port, origins = asked.host, asked.port, frozenset(asked.allow_origin)
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
    text = f"{opened.url} and {opened.websocket_url}: MQTT 5 and 3.1.1, until Ctrl-C\n"
    sys.stdout.write(text)
    sys.stdout.flush()  # to a pipe, too


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
