"""Asking in memory: ASGI calls, without sockets."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import attrs
import msgspec
import trio

from petalkit import Settings
from petalkit.compat import Petal
from petalkit.compat._http.connection import Connection
from petalkit.compat._http.crossing import Lane
from petalkit.compat._http.guard import Guard
from petalkit.compat._http.health import Health
from petalkit.compat._http.inbox import Inbox
from petalkit.compat._http.requests import Requests
from petalkit.compat._http.site import make_app, make_pages
from petalkit.compat._loop.loop import open_petal_loop

LISTEN = "127.0.0.1:9000"


@attrs.frozen
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class FakeConnection:
    """All that a request tells its connection."""

    body_since: float | None = None


@attrs.define
class Asker:
    """A petal whose endpoints are asked in memory."""

    requests: Requests
    lane: Lane
    events: list[Any] = attrs.field(factory=list)

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | Sequence[bytes] = b"",
        *,
        whole: bool = True,
        **headers: str,
    ) -> Answer:
        """One request over HTTP. `whole=False`: the rest of its body does not come."""
        inbox = Inbox()
        parts = [body] if isinstance(body, bytes) else list(body)
        sent: list[Any] = []

        async def send(event: Any) -> None:
            sent.append(event)

        async def put() -> None:
            for part in parts:
                await inbox.put({"type": "http.request", "body": part, "more_body": True})
            if whole:
                await inbox.put({"type": "http.request", "body": b"", "more_body": False})

        async with trio.open_nursery() as nursery:
            nursery.start_soon(put)
            scope = make_scope("http", path, method, **headers)
            await self.requests(cast(Connection, FakeConnection()), scope, inbox, send)
            nursery.cancel_scope.cancel()
        start = sent[0]
        named = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], named, b"".join(one.get("body", b"") for one in sent[1:]))


def make_scope(kind: str, path: str, method: str = "GET", **headers: str) -> dict[str, Any]:
    plain, _, query = path.partition("?")
    named = {"host": LISTEN, "content-type": "application/json"}
    named.update({name.replace("_", "-"): value for name, value in headers.items()})
    scope: dict[str, Any] = {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.1"},
        "http_version": "1.1",
        "scheme": "http",
        "path": plain,
        "raw_path": plain.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 9000),
        "state": {},
        "extensions": {},
    }
    if kind == "http":
        scope["method"] = method
    return scope


@asynccontextmanager
async def open_asker(petal: Petal, settings: Settings | None = None) -> AsyncGenerator[Asker]:
    """Have a petal's endpoints asked, in its loop, without a runtime."""
    settings = settings or Settings()
    async with open_petal_loop(petal.name, 1.0) as loop:
        petal._loop = loop.loop
        await loop.run("startup", petal.startup)
        lane = Lane(petal.name, loop)

        async def ask(function: Any) -> Any:
            return await loop.loop.trio_as_future(function)

        pages = make_pages(petal.name, petal, None)
        assert not pages.refused
        app = make_app([pages], Health(), ask, settings.compat_http_origins)
        requests = Requests(settings, Guard(settings, LISTEN), lambda path: (lane, app))
        yield Asker(requests, lane)
