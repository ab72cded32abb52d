"""The way into a WebSocket: one request of HTTP, and in plain words what else than yes came back.

The rules: the sub-protocol `mqtt` is asked for and demanded (MQTT 5.0, section 6). A redirect is
told, and not followed: credentials must not go where a stranger says. The head of an answer is
bounded by h11 (16 KiB), its body is not read, and the time is whoever's who connects.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, RejectConnection, Request
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from ..._values.errors import ConnectFailed
from .tls import Address
from .websocket import READ_SIZE, WebSocketStream
from .websocket_refused import WebSocketRefused
from .websocket_settings import Headers

SUB_PROTOCOL = "mqtt"

_WORDS = {
    400: "it does not take the request for a WebSocket",
    401: "it wants credentials at that path: websocket_headers_file",
    403: "it does not allow this client there: websocket_headers_file",
    404: "it has nothing at that path; RabbitMQ serves /ws, most others /mqtt",
    405: "there is no WebSocket at that path",
    407: "it wants credentials, as a proxy does",
    426: "it wants another version of HTTP or WebSocket",
    429: "it gets too many requests",
    502: "what stands behind it does not answer",
    503: "it is not available now",
    504: "what stands behind it does not answer",
}


async def open_websocket(
    stream: trio.abc.Stream, address: Address, headers: Headers
) -> WebSocketStream:
    """Open a WebSocket on a connected stream, and give it as a stream of bytes.

    Args:
        stream: plain, or TLS; the caller closes it when this raises.
        address: with its `resource`.
        headers: more of them, such as Authorization.

    Raises:
        WebSocketRefused: the answer of HTTP is no.
        ConnectFailed: it is no HTTP, no WebSocket, not MQTT, or there was none.
    """
    where = websocket_name(address)
    connection = WSConnection(ConnectionType.CLIENT)
    request = Request(
        host=_host(address),
        target=address.resource or "/",
        subprotocols=[SUB_PROTOCOL],
        extra_headers=headers,
    )
    try:
        data = connection.send(request)
    except (LocalProtocolError, UnicodeError) as error:
        raise ConnectFailed(f"{where} cannot be asked for: {error}") from error
    try:
        await stream.send_all(data)
        while True:
            received = bytes(await stream.receive_some(READ_SIZE))
            if not received:
                raise ConnectFailed(f"no WebSocket at {where}: closed without an answer")
            if _is_accepted(connection, received, where):
                return WebSocketStream(stream, connection)
    except trio.BrokenResourceError as error:
        cause = error.__cause__ or error
        raise ConnectFailed(f"no WebSocket at {where}: {cause}") from error


def websocket_name(address: Address) -> str:
    """The address as it is written in `broker`."""
    return f"{'wss' if address.tls else 'ws'}://{address}{address.resource}"


def _is_accepted(connection: WSConnection, received: bytes, where: str) -> bool:
    """Whether the answer is yes; False where it goes on."""
    try:
        connection.receive_data(received)
        event = next(connection.events(), None)
    except RemoteProtocolError as error:
        if error.event_hint is None or str(error) == "Bad HTTP message":
            text = f"{where} answered something that is not HTTP: is it a port for WebSockets?"
            raise ConnectFailed(text) from error
        raise ConnectFailed(f"{where} does not keep to RFC 6455: {error}") from error
    except UnicodeDecodeError as error:  # of a header, which wsproto takes for ASCII
        raise ConnectFailed(f"{where} does not keep to RFC 6455: {error}") from error
    if isinstance(event, AcceptConnection):
        if event.subprotocol != SUB_PROTOCOL:
            text = f"{where} opens WebSockets, and does not say that it speaks MQTT on them"
            raise ConnectFailed(f"{text}: it chose no sub-protocol {SUB_PROTOCOL!r}")
        return True
    if isinstance(event, RejectConnection):
        raise _refusal(event, where)
    return False


def _refusal(event: RejectConnection, where: str) -> WebSocketRefused:
    status = event.status_code
    words = _WORDS.get(status)
    if 300 <= status < 400:
        words = "it sends us elsewhere, which is not followed"
        for name, value in event.headers:
            if name.lower() == b"location":
                words = f"it sends us to {_place(value)!r}, which is not followed: see broker"
    text = f"no WebSocket at {where}: the server answered {status}"
    return WebSocketRefused(text if words is None else f"{text}; {words}", status)


def _place(location: bytes) -> str:
    """Where a redirect leads, without what may be secret."""
    text = location.decode("ascii", "replace")
    try:
        url = urlsplit(text)
    except ValueError:
        return text.partition("?")[0][:200]
    host = url.netloc.rpartition("@")[2]
    return f"{url.scheme}://{host}{url.path}"[:200] if host else url.path[:200]


def _host(address: Address) -> str:
    """The header Host: the port is left out where the scheme says it (RFC 9110, section 7.2)."""
    text = str(address)
    return text.removesuffix(":443" if address.tls else ":80")
