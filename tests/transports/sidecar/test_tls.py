"""A sidecar behind TLS: real handshakes, with certificates of our own."""

from __future__ import annotations

import contextlib
import functools
import ssl
from collections.abc import AsyncGenerator
from pathlib import Path

import attrs
import h11
import pytest
import trio
import trustme

from petalkit import ConnectFailed, Settings
from petalkit._values.messages import Message
from petalkit._values.topics import TopicFilter
from petalkit.transports import ConnectOptions
from petalkit.transports.sidecar import _transport as sidecar
from petalkit.transports.sidecar._addresses import sidecar_addresses

from ..resolver import Resolver

pytestmark = pytest.mark.trio

LIMIT = 10.0  # seconds of real time, against a hang
ANSWER = b'{"success":true}'


class Client:
    """An external client that accepts everything.

    Attributes:
        authority: signs the certificate of connections from now on.
        names: that stand in it.
        asked: the paths and bodies that came.
    """

    def __init__(self, authority: trustme.CA) -> None:
        self.authority = authority
        self.names = ["localhost", "127.0.0.1"]
        self.asked: list[tuple[bytes, bytes]] = []
        self.port = 0

    async def serve_one(self, plain: trio.SocketStream) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert(*self.names).configure_cert(context)
        stream = trio.SSLStream(plain, context, server_side=True, https_compatible=True)
        with contextlib.suppress(trio.BrokenResourceError, h11.RemoteProtocolError):
            await self._answer(stream)

    async def _answer(self, stream: trio.abc.Stream) -> None:
        connection = h11.Connection(h11.SERVER)
        path = body = b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(65_536))
            elif isinstance(event, h11.Request):
                path, body = event.target, b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.asked.append((path, body))
                head = h11.Response(status_code=200, headers=[("content-length", str(len(ANSWER)))])
                said = connection.send(head), connection.send(h11.Data(data=ANSWER))
                await stream.send_all(b"".join(part or b"" for part in said))
                connection.send(h11.EndOfMessage())
                connection.start_next_cycle()
            else:
                return

    def came(self, path: bytes) -> list[bytes]:
        return [body for asked, body in self.asked if asked == path]


@pytest.fixture
async def client() -> AsyncGenerator[Client]:
    made = Client(trustme.CA())
    async with trio.open_nursery() as nursery:
        serve = functools.partial(trio.serve_tcp, made.serve_one, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        made.port = listener.socket.getsockname()[1]
        yield made
        nursery.cancel_scope.cancel()


def settings_for(client: Client, authority: trustme.CA, folder: Path) -> Settings:
    trusted = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    return Settings(
        transport="sidecar",
        sidecar_url=f"https://127.0.0.1:{client.port}",
        ca_file=str(trusted),
        callback_listen="127.0.0.1:0",
        sidecar_request_timeout=1.0,
    )


async def test_all_it_is_asked_goes_over_tls(client: Client, tmp_path: Path) -> None:
    transport = sidecar.create(settings_for(client, client.authority, tmp_path))
    done = trio.Event()
    with trio.fail_after(LIMIT):
        async with transport.connect(ConnectOptions(client_id="x")) as link:
            await link.subscribe([TopicFilter("a/command")])
            link.publish_nowait(Message("a/response", b'{"n":1}', 1), lambda _: done.set())
            await done.wait()
    assert len(client.came(b"/subscribe")) == 1
    assert b'{"n":1}' in client.came(b"/publish")[0]


async def test_a_client_of_another_authority_is_refused_and_the_reason_said(
    client: Client, tmp_path: Path
) -> None:
    transport = sidecar.create(settings_for(client, trustme.CA(), tmp_path))
    with trio.fail_after(LIMIT), pytest.raises(ConnectFailed, match="certificate verify failed"):
        async with transport.connect(ConnectOptions(client_id="x")):
            pass
    assert client.asked == []


@pytest.mark.real_time
async def test_nor_is_anything_published_to_one_that_takes_its_place(
    client: Client, tmp_path: Path
) -> None:
    transport = sidecar.create(settings_for(client, client.authority, tmp_path))
    with trio.fail_after(LIMIT):
        async with transport.connect(ConnectOptions(client_id="x", disconnect_timeout=0.1)) as link:
            client.authority = trustme.CA()
            link.publish_nowait(Message("a/response", b'{"n":1}', 1), lambda _: None)
            await trio.sleep(0.5)
    assert client.came(b"/publish") == []


@pytest.mark.parametrize(
    ("host", "options"),
    [
        ("sidecar.example.", {}),
        ("127.0.0.1", {"tls_server_name": "sidecar.example"}),
        ("other.example", None),
    ],
)
async def test_the_name_in_its_certificate_is_the_one_that_is_checked(
    client: Client, tmp_path: Path, host: str, options: dict[str, str] | None
) -> None:
    trio.socket.set_custom_hostname_resolver(Resolver())
    client.names = ["sidecar.example"]
    settings = attrs.evolve(
        settings_for(client, client.authority, tmp_path),
        sidecar_url=f"https://{host}:{client.port}",
        **(options or {}),  # type: ignore[arg-type]
    )
    done = trio.Event()
    with trio.fail_after(LIMIT), contextlib.ExitStack() as stack:
        if options is None:
            stack.enter_context(pytest.raises(ConnectFailed, match="mismatch"))
        async with sidecar.create(settings).connect(ConnectOptions(client_id="x")) as link:
            link.publish_nowait(Message("a/response", b'{"n":1}', 1), lambda _: done.set())
            await done.wait()
    assert len(client.came(b"/publish")) == (options is not None)


async def test_a_zone_leads_there_and_is_said_to_nobody() -> None:
    for zone in ("%lo", "%25lo"):
        settings = Settings(transport="sidecar", sidecar_url=f"https://[fe80::1{zone}]:44/p/")
        found = sidecar_addresses(settings)
        assert found.url == "https://[fe80::1%lo]:44/p"  # as httpx takes it
        assert (found.host, found.server_name) == ("fe80::1%lo", "fe80::1")
        assert found.authority == "[fe80::1]:44"


async def test_a_token_is_read_for_each_link(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "token"
    settings = attrs.evolve(
        settings_for(client, client.authority, tmp_path), sidecar_token_file=file
    )
    transport = sidecar.SidecarTransport(settings)
    options = ConnectOptions(client_id="x")
    with trio.fail_after(LIMIT):
        for token, problem in ((None, "cannot be read"), ("a b", "without spaces")):
            if token is not None:
                file.write_text(token)
            with pytest.raises(ConnectFailed, match=rf"^sidecar_token_file: .*{problem}"):
                async with transport.connect(options):
                    raise AssertionError("there was no token")
        assert client.asked == []
        for token in ("first", "second"):
            file.write_text(f"{token}\n")
            async with transport.connect(options) as link:
                assert b"first" in transport.app.requests._tokens  # the client knows no other
                await link.subscribe([TopicFilter("a/command")])
                assert transport.app.requests._tokens == (token.encode(),)
            assert f"token={token}".encode() in client.came(b"/subscribe")[-1]
