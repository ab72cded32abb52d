"""Who is let in: by Host, by Origin, and with the token."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from petalkit.cli._console import server
from petalkit.cli._console.files import read_files
from petalkit.cli._console.guard import PROTOCOL, Guard
from petalkit.cli._console.server import Site
from petalkit.compat._http.inbox import Inbox

PORT = 8765
OWN = f"http://127.0.0.1:{PORT}"
pytestmark = pytest.mark.trio


class NoBridge:
    """Counts the pages that are let in."""

    is_full = False

    def __init__(self) -> None:
        self.visits = 0

    async def visit(self, page: Any) -> str:
        self.visits += 1
        await trio.lowlevel.checkpoint()
        return "seen"


class Door:
    """The site, asked without a socket."""

    def __init__(self) -> None:
        self.bridge: Any = NoBridge()
        self.guard = Guard(PORT)
        self.site = Site(self.bridge, self.guard, read_files())
        self.sent: list[Any] = []

    async def ask(self, path: str = "/", **headers: str) -> int:
        """Ask for a file; the status."""
        scope = self._scope("http", path, headers) | {"method": "GET"}
        await self._serve(scope, {"type": "http.request", "body": b"", "more_body": False})
        return int(self.sent[0]["status"])

    async def knock(self, token: str | None = None, **headers: str) -> int:
        """Open a WebSocket; 101 where it is accepted."""
        offered = [PROTOCOL, f"token.{self.guard.token if token is None else token}"]
        scope = self._scope("websocket", "/bridge", headers) | {"subprotocols": offered}
        await self._serve(scope, {"type": "websocket.connect"})
        first = self.sent[0]
        return 101 if first["type"] == "websocket.accept" else int(first["status"])

    def _scope(self, kind: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
        given = {"host": f"127.0.0.1:{PORT}", **headers}
        return {
            "type": kind,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "http_version": "1.1",
            "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in given.items()],
            "server": ("127.0.0.1", PORT),
            "client": ("127.0.0.1", 50000),
            "extensions": {"websocket.http.response": {}},
        }

    async def _serve(self, scope: dict[str, Any], event: dict[str, Any]) -> None:
        inbox = Inbox()
        await inbox.put(event)
        self.sent = []

        async def send(sent: Any) -> None:
            await trio.lowlevel.checkpoint()
            self.sent.append(sent)

        connection: Any = None
        await self.site(connection, scope, inbox, send)

    def header(self, name: str) -> str:
        headers = dict(self.sent[0]["headers"])
        return bytes(headers[name.encode()]).decode()


async def test_the_page_comes_with_a_policy_that_allows_its_own_files_only() -> None:
    door = Door()
    assert await door.ask("/") == 200
    policy = door.header("content-security-policy")
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert f"connect-src 'self' ws://127.0.0.1:{PORT};" in policy
    assert "frame-ancestors 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert door.header("x-content-type-options") == "nosniff"
    page = door.sent[1]["body"].decode()
    assert "<script>" not in page
    assert "style=" not in page
    for path in ("/console.js", "/console.css", "/icon.svg", "/licenses.txt"):
        assert await door.ask(path) == 200
    assert await door.ask("/../command.py") == 404


async def test_no_file_of_the_page_names_another_host() -> None:
    for file in read_files().values():
        text = file.content.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text


async def test_a_page_with_the_token_is_let_in() -> None:
    door = Door()
    assert await door.knock(origin=OWN) == 101
    assert door.sent[0]["subprotocol"] == PROTOCOL
    assert door.bridge.visits == 1
    assert await door.knock(host=f"localhost:{PORT}", origin=f"http://localhost:{PORT}") == 101


@pytest.mark.parametrize("token", ["", "x", "0" * 32])
async def test_a_wrong_token_is_refused(token: str) -> None:
    door = Door()
    assert await door.knock(token, origin=OWN) == 403
    assert door.bridge.visits == 0


@pytest.mark.parametrize(
    "host",
    ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:1", "", f"127.0.0.1.:{PORT}"],
)
async def test_a_name_that_is_not_ours_is_refused(host: str) -> None:
    door = Door()
    assert await door.ask(host=host) == 421
    assert await door.knock(host=host, origin=f"http://{host}") == 421
    assert door.bridge.visits == 0


@pytest.mark.parametrize(
    "headers",
    [
        {},  # browsers always say it of a WebSocket
        {"origin": "null"},
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": f"http://localhost:{PORT}"},  # which is another origin than 127.0.0.1
        {"origin": f"https://127.0.0.1:{PORT}"},
    ],
)
async def test_a_page_of_another_origin_is_refused(headers: dict[str, str]) -> None:
    door = Door()
    assert await door.knock(**headers) == 403
    assert door.bridge.visits == 0


async def test_files_are_not_given_to_pages_of_other_sites() -> None:
    door = Door()
    assert (
        await door.ask("/console.js", sec_fetch_site="cross-site", sec_fetch_mode="no-cors") == 403
    )
    assert await door.ask("/console.js", origin="https://evil.example") == 403
    assert await door.ask("/", sec_fetch_site="cross-site", sec_fetch_mode="navigate") == 200
    assert await door.ask("/console.js", sec_fetch_site="same-origin") == 200


async def test_one_page_too_many_is_told_so() -> None:
    door = Door()
    door.bridge.is_full = True
    assert await door.knock(origin=OWN) == 503
    assert b"pages are open already" in door.sent[1]["body"]


async def test_tokens_are_long_and_unlike() -> None:
    tokens = {Guard(PORT).token for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(one) == 32 for one in tokens)


async def test_it_listens_on_this_machine_only() -> None:
    assert server.HOST == "127.0.0.1"
