"""An HTTP proxy on loopback that answers CONNECT as a test says, and passes on what follows yes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

YES = b"HTTP/1.1 200 Connection established\r\n\r\n"


class ScriptedProxy:
    """Attributes:
    port: on 127.0.0.1.
    heads: the requests that came.
    """

    def __init__(self, target: int | None, answer: bytes) -> None:
        self.port = 0
        self.heads: list[bytes] = []
        self._target = target
        self._answer = answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, client: trio.SocketStream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = await client.receive_some()
            if not data:
                return
            head += bytes(data)
        self.heads.append(head)
        await client.send_all(self._answer)
        if self._target is None:
            return
        broker = await trio.open_tcp_stream("127.0.0.1", self._target)
        async with broker, trio.open_nursery() as nursery:
            nursery.start_soon(_pass_on, client, broker, nursery.cancel_scope)
            nursery.start_soon(_pass_on, broker, client, nursery.cancel_scope)


async def _pass_on(
    source: trio.SocketStream, target: trio.SocketStream, scope: trio.CancelScope
) -> None:
    try:
        async for data in source:
            await target.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    scope.cancel()


@asynccontextmanager
async def open_proxy(
    target: int | None = None, answer: bytes = YES
) -> AsyncGenerator[ScriptedProxy]:
    """Listen on a free port; `target` is the port that it leads to, whatever it is asked for."""
    proxy = ScriptedProxy(target, answer)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, proxy.serve, 0)
        proxy.port = listeners[0].socket.getsockname()[1]
        try:
            yield proxy
        finally:
            nursery.cancel_scope.cancel()
