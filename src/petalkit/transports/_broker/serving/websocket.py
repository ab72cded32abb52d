"""A client that begins with HTTP: a WebSocket of MQTT (MQTT 5.0, section 6; RFC 6455).

The rule: the sub-protocol `mqtt` is what both sides speak; a client that does not ask for it is
refused. The trap: any web page may open a WebSocket to this machine, and the browser only says from
where the page is (`Origin`). So a page is served if it is of this machine or named by whoever
started the broker; a client that is no browser says nothing, and is served.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, RejectConnection, Request
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from ..._connecting.websocket import READ_SIZE, WebSocketStream

SUB_PROTOCOL = "mqtt"

_FORBIDDEN, _BAD_REQUEST = 403, 400


class NoWebSocket(Exception):
    """The client asked for something else, and was told so."""


async def accept_websocket(
    stream: trio.abc.Stream, data: bytes, origins: Collection[str]
) -> WebSocketStream:
    """Answer the request of a client, and give its WebSocket as a stream of bytes.

    Args:
        stream: its connection.
        data: what was read of it.
        origins: pages that may connect, beside those of this machine; `*` for all.

    Raises:
        NoWebSocket: there is none.
        trio.BrokenResourceError: the client is gone.

    The time is the caller's to bound; the request is bounded by h11.
    """
    connection = WSConnection(ConnectionType.SERVER)
    try:
        while True:
            connection.receive_data(data)
            event = next(connection.events(), None)
            if isinstance(event, Request):
                break
            data = bytes(await stream.receive_some(READ_SIZE))
            if not data:
                raise NoWebSocket("closed within its request")
        refused = _refusal(event, origins)
        if refused is None:
            answer = connection.send(AcceptConnection(subprotocol=SUB_PROTOCOL))
            await stream.send_all(answer)
            return WebSocketStream(stream, connection, peer="the client")
        await stream.send_all(connection.send(RejectConnection(status_code=refused[0])))
        raise NoWebSocket(refused[1])
    except (RemoteProtocolError, LocalProtocolError, UnicodeError) as error:
        raise NoWebSocket(f"no request for a WebSocket: {error}") from error


def _refusal(request: Request, origins: Collection[str]) -> tuple[int, str] | None:
    if SUB_PROTOCOL not in request.subprotocols:
        return _BAD_REQUEST, f"it does not ask for the sub-protocol {SUB_PROTOCOL!r}"
    for name, value in request.extra_headers:
        if name.lower() == b"origin":
            origin = value.decode("ascii", "replace")
            if not is_allowed(origin, origins):
                return _FORBIDDEN, f"a page of {origin[:200]!r} may not connect"
    return None


def is_allowed(origin: str, origins: Collection[str]) -> bool:
    """Whether a page from there may connect: see `accept_websocket`."""
    if "*" in origins or origin in origins:
        return True
    try:
        host = urlsplit(origin).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
