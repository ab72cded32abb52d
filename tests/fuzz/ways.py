"""What leads to a broker and comes from outside: proxies, other servers, frames of a WebSocket."""

from __future__ import annotations

import contextlib

import trio
import trio.testing
from wsproto.connection import Connection, ConnectionType

from petalkit import ConfigError, ConnectFailed, Settings
from petalkit._values.settings.proxies import Proxy, is_exempt, proxy_from_environment
from petalkit._values.settings.server_references import is_allowed, read_references
from petalkit.transports._connecting.credentials import CredentialsFailed
from petalkit.transports._connecting.proxy_tunnel import HEAD_MAX, TunnelRequest
from petalkit.transports._connecting.tls import Address
from petalkit.transports._connecting.websocket import READ_SIZE, WebSocketStream
from petalkit.transports._connecting.websocket_handshake import open_websocket
from petalkit.transports._connecting.websocket_settings import read_headers

from .reader import Reader
from .scratch import scratch

_SECRET = "hunter2-hunter2"
_HOSTS = ("b.example.com", "10.1.2.3", "2001:db8::1", "localhost", "b\u00fccher.example")


def proxy_environment(data: bytes) -> None:
    """HTTPS_PROXY and NO_PROXY."""
    reader = Reader(data)
    host = reader.choice(_HOSTS)
    address = reader.text().replace("\0", "")
    if reader.byte() & 1:
        address = f"http://me:{_SECRET}@{address}"
    environment = {"HTTPS_PROXY": address, "NO_PROXY": reader.text()}
    assert is_exempt(host, 8883, environment["NO_PROXY"]) in (True, False)
    assert is_exempt(host, 8883, f"{environment['NO_PROXY']},*")
    try:
        proxy = proxy_from_environment(environment, host, 8883)
    except ConfigError as error:
        assert error.setting == "proxy"
        assert _SECRET not in str(error)
        return
    if proxy is None:
        return
    assert 0 < proxy.port < 65_536
    assert _SECRET not in f"{proxy} {proxy!r}"
    assert Settings(proxy=str(proxy)).proxy == str(proxy)  # it can be written as a setting
    if proxy.credentials is not None and proxy.credentials.isascii():
        Settings(proxy=str(proxy), proxy_credentials=proxy.credentials)


def tunnel_answer(data: bytes) -> None:
    """What a proxy answers to CONNECT, in pieces."""
    reader = Reader(data)
    size = 1 + reader.byte()
    asked = TunnelRequest("b.example.com:8883", Proxy("p", 1, f"me:{_SECRET}"))
    answer = data[1:]
    for start in range(0, len(answer), size):
        piece = answer[start : start + size]
        try:
            is_open, used = asked.receive(piece)
        except ConnectFailed as error:
            assert _SECRET not in str(error)
            assert len(str(error)) < 500
            return
        assert start < HEAD_MAX
        assert 0 <= used <= len(piece)
        if is_open:
            assert answer.lstrip(b"\r\n").startswith(b"HTTP/")
            return
        assert used == len(piece)


def server_reference(data: bytes) -> None:
    """The Server Reference of a CONNACK or DISCONNECT."""
    text = data.decode("utf-8", "replace")
    for reference in read_references(text):
        assert reference.host == reference.host.lower()
        assert not set(reference.host) & set("/@?#% []\0\n")
        assert reference.port is None or 0 < reference.port < 65_536
        assert str(Address(reference.host, reference.port or 1, tls=True))
        assert not is_allowed(reference, ("nobody.invalid",)) or reference.host == "nobody.invalid"
        assert is_allowed(reference, (f"[{reference.host}]",))


def websocket_headers(data: bytes) -> None:
    """The file of `websocket_headers_file`."""
    file = scratch() / "headers"
    file.write_bytes(data)
    try:
        found = read_headers(file)
    except CredentialsFailed as error:
        assert error.setting == "websocket_headers_file"
        return
    for name, value in found:
        assert name
        assert not set(value) & set(b"\r\n\0")
        assert not name.lower().startswith(b"sec-websocket-")


def websocket_answer(data: bytes) -> None:
    """What a server answers to the handshake."""

    async def ask() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        await theirs.send_all(data)
        theirs.send_stream.close()
        with contextlib.suppress(ConnectFailed):
            await open_websocket(ours, Address("b", 1, tls=False, resource="/mqtt"), [])
            raise AssertionError("nobody can know the token")

    trio.run(ask)


def websocket_frames(data: bytes) -> None:
    """What a server sends on an open WebSocket."""

    async def read() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        stream = WebSocketStream(ours, Connection(ConnectionType.CLIENT))
        await theirs.send_all(data)
        theirs.send_stream.close()
        received = 0
        with contextlib.suppress(trio.BrokenResourceError):
            while piece := await stream.receive_some():
                assert len(piece) <= 2 * READ_SIZE
                received += len(piece)
        assert received <= len(data)
        assert await _ends(stream)
        await stream.aclose()

    trio.run(read)


async def _ends(stream: WebSocketStream) -> bool:
    """Once it has ended, it has ended."""
    try:
        return not await stream.receive_some()
    except trio.BrokenResourceError:
        return True
