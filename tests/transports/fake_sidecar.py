"""A sidecar in memory, on a mock clock: what it answers, what it was asked, and when it is away."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import h11
import httpx
import trio
import trio.testing

from petalkit import Settings, TopicFilter
from petalkit._values.messages import Message
from petalkit.transports import ConnectOptions, Link
from petalkit.transports.sidecar import SidecarTransport

OPTIONS = ConnectOptions(client_id="device")
COMMANDS = [TopicFilter("a/command"), TopicFilter("a/command/edge")]
Answer = tuple[int, bytes]
Clock = trio.testing.MockClock
YES: Answer = (200, b'{"success":true}')
NO: Answer = (200, b'{"success":false,"error":"no broker"}')


class FakeSidecar:
    """A sidecar without sockets: httpx asks a function, and publishing goes over memory streams.

    Attributes:
        away: nobody is there.
        health: what `/health` answers; None never does.
        answers: by path, what is answered; a function may wait first, or decide by the body.
        asked: (time, path, topic) of every request that came.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.away = False
        self.health: int | None = 200
        self.answers: dict[str, Answer | Callable[[dict[str, Any]], Awaitable[Answer]]] = {}
        self.asked: list[tuple[float, str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.under_way: Counter[str] = Counter()
        self.most_at_once = 0
        self.overlapped = False  # two of one topic at once
        self.streams: list[trio.testing.MemoryReceiveStream | trio.StapledStream[Any, Any]] = []
        self.opened = 0

    def topics(self, path: str) -> list[str]:
        return [topic for _, asked, topic in self.asked if asked == path]

    def published(self) -> list[Any]:
        return [body["payload"]["n"] for body in self.bodies]

    # -- httpx

    async def handle(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            raise httpx.ConnectError("nobody there")
        path = request.url.path
        fields = json.loads(request.content) if request.content else {}
        self.asked.append((trio.current_time(), path, fields.get("topic", "")))
        if path == "/health":
            if self.health is None:
                await trio.sleep_forever()
            return httpx.Response(self.health or 0, content=b"{}")
        status, body = await self._answer(path, fields)
        return httpx.Response(status, content=body)

    async def _answer(self, path: str, fields: dict[str, Any]) -> Answer:
        answer = self.answers.get(path, YES)
        return answer if isinstance(answer, tuple) else await answer(fields)

    # -- streams

    async def open_stream(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if self.away:
            raise OSError("nobody there")
        self.opened += 1
        ours, theirs = trio.testing.memory_stream_pair()
        self.streams.append(theirs)
        self._nursery.start_soon(self._serve, theirs)
        return ours

    def cut(self) -> None:
        """The process has died: every connection ends."""
        for stream in self.streams:
            self._nursery.start_soon(trio.aclose_forcefully, stream)
        self.streams.clear()

    async def _serve(self, stream: Any) -> None:
        state = h11.Connection(h11.SERVER)
        body = path = b""
        while True:
            event = state.next_event()
            if event is h11.NEED_DATA:
                try:
                    state.receive_data(await stream.receive_some())
                except (trio.ClosedResourceError, trio.BrokenResourceError):
                    return
            elif isinstance(event, h11.Request):
                body, path = b"", event.target
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                status, text = 200, b"{}"
                if path == b"/publish":
                    status, text = await self._publish(json.loads(body))
                data = state.send(
                    h11.Response(status_code=status, headers=[("content-length", str(len(text)))])
                )
                data += (state.send(h11.Data(data=text)) or b"") if text else b""
                data += state.send(h11.EndOfMessage()) or b""
                try:
                    await stream.send_all(data)
                except (trio.ClosedResourceError, trio.BrokenResourceError):
                    return
                state.start_next_cycle()
            else:
                return

    async def _publish(self, fields: dict[str, Any]) -> Answer:
        topic = fields["topic"]
        self.asked.append((trio.current_time(), "/publish", topic))
        self.under_way[topic] += 1
        self.most_at_once = max(self.most_at_once, self.under_way.total())
        self.overlapped = self.overlapped or self.under_way[topic] > 1
        try:
            answer = await self._answer("/publish", fields)
        finally:
            self.under_way[topic] -= 1
        if answer == YES:
            self.bodies.append(fields)
        return answer


@asynccontextmanager
async def connected(
    sidecar: FakeSidecar, options: ConnectOptions = OPTIONS, **settings: Any
) -> AsyncGenerator[Link]:
    """A link; the callback port is a real one, which nobody uses here."""
    transport = SidecarTransport(
        Settings(transport="sidecar", callback_listen="127.0.0.1:0", **settings),
        http=httpx.MockTransport(sidecar.handle),
        open_stream=sidecar.open_stream,
    )
    async with transport.connect(options) as link:
        yield link


def message(n: int, topic: str = "a/response") -> Message:
    return Message(topic, b'{"n":%d}' % n)
