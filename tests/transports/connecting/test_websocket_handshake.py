"""The way into a WebSocket: what is asked, and what is said of every answer that is not yes."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import trio
import trio.testing
from wsproto.utilities import generate_accept_token

from petalkit import ConfigError, ConnectFailed, Settings
from petalkit.transports import create_transport
from petalkit.transports._connecting.credentials import CredentialsFailed
from petalkit.transports._connecting.tls import Address, broker_address
from petalkit.transports._connecting.websocket_handshake import open_websocket
from petalkit.transports._connecting.websocket_refused import WebSocketRefused
from petalkit.transports._connecting.websocket_settings import HEADERS_MAX, Headers, read_headers

from ..websocket_peer import HERE, ServerEnd, open_pair


async def _ask(answer: bytes, *, address: Address = HERE, headers: Headers | None = None) -> bytes:
    """Open a WebSocket at a server that answers so; the request. `KEY` becomes the token."""
    ours, theirs = trio.testing.memory_stream_pair()
    request = b""

    async def serve() -> None:
        nonlocal request
        while b"\r\n\r\n" not in request:
            request += bytes(await theirs.receive_some())
        key = next(
            line.split(b": ")[1]
            for line in request.split(b"\r\n")
            if line.lower().startswith(b"sec-websocket-key")
        )
        await theirs.send_all(answer.replace(b"KEY", generate_accept_token(key)))
        await theirs.send_stream.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        try:
            await open_websocket(ours, address, headers or [])
        except ConnectFailed as error:
            kept = error
        else:
            return request
    raise kept


YES = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: KEY\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)


@pytest.mark.trio
async def test_the_request_names_host_path_and_sub_protocol() -> None:
    request = await _ask(YES, headers=[(b"Authorization", b"Bearer x")])
    lines = request.split(b"\r\n")
    assert lines[0] == b"GET /mqtt HTTP/1.1"
    assert b"Host: broker.example" in lines
    assert b"Sec-WebSocket-Protocol: mqtt" in lines
    assert b"Authorization: Bearer x" in lines
    assert b"Sec-WebSocket-Extensions" not in request  # nothing is compressed


@pytest.mark.trio
@pytest.mark.parametrize(
    ("address", "host"),
    [
        (Address("b", 8083, tls=False, resource="/mqtt"), b"b:8083"),
        (Address("b", 443, tls=True, resource="/mqtt"), b"b"),
        (Address("b", 443, tls=False, resource="/mqtt"), b"b:443"),
        (Address("::1", 80, tls=False, resource="/mqtt"), b"[::1]"),
        (Address("bücher.example", 80, tls=False, resource="/mqtt"), b"xn--bcher-kva.example"),
    ],
)
async def test_the_host_has_its_port_unless_the_scheme_says_it(
    address: Address, host: bytes
) -> None:
    assert b"Host: " + host in (await _ask(YES, address=address)).split(b"\r\n")


def _no(status: int, *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status} No\r\n{lines}Content-Length: 0\r\n\r\n".encode()


@pytest.mark.trio
@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, "nothing at that path; RabbitMQ serves /ws"),
        (401, "credentials at that path: websocket_headers_file"),
        (403, "does not allow this client"),
        (502, "what stands behind it does not answer"),
        (418, "answered 418"),
        (200, "answered 200"),
    ],
)
async def test_a_refusal_of_http_is_told_in_plain_words_with_the_path(
    status: int, words: str
) -> None:
    with pytest.raises(WebSocketRefused, match=words) as caught:
        await _ask(_no(status))
    assert caught.value.status == status
    assert "ws://broker.example:80/mqtt" in str(caught.value)


@pytest.mark.trio
async def test_a_redirect_is_named_without_its_secrets_and_not_followed() -> None:
    location = "Location: https://u:hunter2@other.example/x?token=hunter2"
    with pytest.raises(WebSocketRefused, match="not followed") as caught:
        await _ask(_no(302, location))
    assert "https://other.example/x" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.trio
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (YES.replace(b"Sec-WebSocket-Protocol: mqtt\r\n", b""), "no sub-protocol 'mqtt'"),
        (YES.replace(b"Protocol: mqtt", b"Protocol: stomp"), "unrecognized subprotocol"),
        (YES.replace(b"Protocol: mqtt", b"Protocol: \xff"), "RFC 6455"),
        (YES.replace(b"KEY", b"x"), "Bad accept token"),
        (YES.replace(b"Upgrade: websocket", b"Upgrade: h2c"), "RFC 6455"),
        (b"\x20\x02\x00\x01", "not HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "not HTTP"),
        (b"HTTP/1.1 101 x\r\nA: " + b"x" * 100_000, "not HTTP"),
        (b"HTTP/1.1 ", "closed without an answer"),
        (b"", "closed without an answer"),
    ],
    ids=["none", "other", "bytes", "token", "upgrade", "mqtt", "tls", "endless", "cut", "nothing"],
)
async def test_what_is_no_websocket_for_mqtt_is_told(answer: bytes, words: str) -> None:
    with pytest.raises(ConnectFailed, match=words):
        await _ask(answer)


@pytest.mark.trio
async def test_the_sub_protocol_is_demanded() -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ConnectFailed, match="sub-protocol")):
        await open_pair(subprotocol=None)


# -- settings


@pytest.mark.parametrize(
    ("broker", "address"),
    [
        ("ws://localhost", Address("localhost", 80, tls=False, resource="/mqtt")),
        ("ws://localhost/", Address("localhost", 80, tls=False, resource="/")),
        ("wss://b.example", Address("b.example", 443, tls=True, resource="/mqtt")),
        ("wss://b:8084/a/b%20c", Address("b", 8084, tls=True, resource="/a/b%20c")),
        ("ws://[::1]:9001/ws", Address("::1", 9001, tls=False, resource="/ws")),
    ],
)
def test_addresses_of_websockets(broker: str, address: Address) -> None:
    assert broker_address(Settings(broker=broker)) == address


def test_plain_websockets_do_not_leave_this_machine() -> None:
    with pytest.raises(ConfigError, match="use wss://"):
        broker_address(Settings(broker="ws://b.example"))
    assert broker_address(Settings(broker="ws://b.example", allow_insecure=True)).port == 80


def test_a_query_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="websocket_headers_file") as caught:
        broker_address(Settings(broker="wss://b.example/mqtt?token=hunter2"))
    assert "hunter2" not in str(caught.value)


def test_asyncio_mqtt_says_which_transport_has_websockets() -> None:
    with pytest.raises(ConfigError, match="use native"):
        create_transport(Settings(broker="ws://localhost"))


def test_the_package_that_is_missing_is_named_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("wsproto", "petalkit.transports._connecting.websocket_handshake"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    monkeypatch.delattr("petalkit.transports._connecting.websocket_handshake", raising=False)

    def missing(*args: object) -> object:
        raise ModuleNotFoundError("No module named 'wsproto'", name="wsproto")

    monkeypatch.setattr("petalkit.transports.native._transport.NativeTransport", missing)
    with pytest.raises(ConfigError, match=r"ws:// and wss:// need .*petalkit\[websocket\]"):
        create_transport(Settings(broker="ws://localhost", transport="native"))


def test_headers_need_a_websocket(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a ws:// or wss:// address") as caught:
        broker_address(Settings(websocket_headers_file=tmp_path))
    assert caught.value.setting == "websocket_headers_file"


def test_a_file_of_headers(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("# from the gateway\n\nAuthorization: Bearer a:b==\r\nX-Device:\tone two \n")
    assert read_headers(file) == [
        (b"Authorization", b"Bearer a:b=="),
        (b"X-Device", b"one two"),
    ]
    assert read_headers(None) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("hunter2", "line 1 of .* is not a header"),
        ("A: b\nA B: hunter2", "line 2 of .* is not a header"),
        (": hunter2", "is not a header"),
        ("A: hunter2\x01", "control character in the value of A"),
        ("Host: hunter2", "must not be Host"),
        ("sec-websocket-PROTOCOL: hunter2", "petalkit's own"),
        ("A: hunter2 ü", "is not ASCII"),
        ("A: " + "hunter2" * HEADERS_MAX, "is larger than"),
    ],
)
def test_what_is_no_header_is_named_by_its_line_and_not_repeated(
    tmp_path: Path, text: str, reason: str
) -> None:
    file = tmp_path / "headers"
    file.write_text(text)
    with pytest.raises(CredentialsFailed, match=reason) as caught:
        read_headers(file)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(CredentialsFailed, match="cannot be read"):
        read_headers(tmp_path / "none")


@pytest.mark.trio
async def test_headers_that_were_renewed_are_used_by_the_next_link(tmp_path: Path) -> None:
    from petalkit.transports import ConnectOptions

    file = tmp_path / "headers"
    seen: list[bytes] = []

    async def handle(stream: trio.SocketStream) -> None:
        end = ServerEnd(stream)
        while end.request is None:
            for event in await end.read():
                end.request = event  # type: ignore[assignment]
        seen.append(dict(end.request.extra_headers)[b"authorization"])

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, handle, 0)
            port = listeners[0].socket.getsockname()[1]
            settings = Settings(broker=f"ws://127.0.0.1:{port}", transport="native")
            settings = attrs.evolve(settings, websocket_headers_file=file)
            transport = create_transport(settings)
            for token in ("one", "two"):
                file.write_text(f"Authorization: {token}")
                with pytest.raises(ConnectFailed, match="closed without an answer"):
                    async with transport.connect(ConnectOptions(client_id="c")):
                        pass
            nursery.cancel_scope.cancel()
    assert seen == [b"one", b"two"]
