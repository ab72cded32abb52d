"""`petalkit broker`, for the parser."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ...transports._broker.core.bounds import Bounds
from .._errors import UsageError
from .._settings.variables import LogFormat, LogLevel
from .listening import DEFAULT_HOST, DEFAULT_PORT, Asked, listen
from .options import BoundsOptions


def broker(
    *,
    port: int = DEFAULT_PORT,
    host: str = DEFAULT_HOST,
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
    try:
        bound = Bounds() if bounds is None else bounds.bounds()
    except ValueError as error:
        raise UsageError(f"broker: --{str(error).replace('_', '-')}") from None
    asked = Asked(
        port=port,
        host=host,
        allow_origin=allow_origin,
        log_level=log_level,
        log_format=log_format,
    )
    return listen(asked, bound)
