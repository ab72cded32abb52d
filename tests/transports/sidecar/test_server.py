"""The connections of our endpoint: bounded, closed when they are idle, and ended with it."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from hypercorn.events import Closed, RawData
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from petalkit import Settings
from petalkit.transports.sidecar import SidecarTransport
from petalkit.transports.sidecar._callback import connections, idle
from petalkit.transports.sidecar._callback.app import CallbackApp
from petalkit.transports.sidecar._callback.server import CallbackServer

pytestmark = pytest.mark.trio

LIMIT = 10.0  # seconds of real time, against a hang
HEAD = (
    b"POST /mqtt-callback/callback HTTP/1.1\r\nhost: localhost\r\n"
    b"content-type: application/json\r\n"
)
REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"


Reach = Callable[[int], Awaitable[trio.SocketStream]]


@pytest.fixture
async def reach() -> AsyncGenerator[Reach]:
    """Connect to a port; closed after the test."""
    streams: list[trio.SocketStream] = []

    async def connect(port: int) -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        streams.append(stream)
        return stream

    yield connect
    for stream in streams:
        await trio.aclose_forcefully(stream)


class App:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.gate = trio.Event()
        self.gate.set()
        self.under_way = 0
        self.fails = False
        self._begun = trio.Event()

    async def wait_under_way(self, count: int) -> None:
        """Wait until so many requests have come."""
        while self.under_way < count:
            await self._begun.wait()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        self.under_way += 1
        self._begun.set()
        self._begun = trio.Event()
        await self.gate.wait()
        if self.fails:
            raise RuntimeError("a bug")
        headers = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"done"})


async def ask(stream: trio.SocketStream, request: bytes = REQUEST) -> bytes:
    await stream.send_all(request)
    got = b""
    while not got.endswith(b"done"):
        part = await stream.receive_some(1000)
        assert part, got
        got += part
    return got


async def is_closed(stream: trio.SocketStream) -> bool:
    with trio.fail_after(LIMIT):
        try:
            return not await stream.receive_some(1000)
        except trio.BrokenResourceError:
            return True


async def test_one_connection_serves_many_and_each_answer_is_one_packet(reach: Reach) -> None:
    async with CallbackServer(4).serve(App(), "127.0.0.1", 0) as port:
        stream = await reach(port)
        with trio.fail_after(LIMIT):
            for _ in range(1500):  # more than Hypercorn keeps a connection for by itself
                await stream.send_all(REQUEST)
                got = await stream.receive_some(1000)
                assert got.startswith(b"HTTP/1.1 200")
                assert got.endswith(b"\r\n\r\ndone")
                assert b"server:" not in got.lower()


async def test_it_continues_when_a_client_waits_for_that(reach: Reach) -> None:
    async with CallbackServer(4).serve(App(), "127.0.0.1", 0) as port:
        stream = await reach(port)
        head, _, body = REQUEST.partition(b"\r\n\r\n")
        with trio.fail_after(LIMIT):
            await stream.send_all(head + b"\r\nexpect: 100-continue\r\n\r\n")
            assert b"100" in await stream.receive_some(1000)
            assert b"200" in await ask(stream, body)


@pytest.mark.parametrize("chunk", [1, 100, 60_000])
@pytest.mark.parametrize("length", [True, False])
async def test_a_body_that_is_refused_while_it_comes_gives_its_place_back(
    reach: Reach, chunk: int, length: bool
) -> None:
    server = CallbackServer(1)
    app = CallbackApp(Settings(transport="sidecar", payload_max=128), server.is_crowded)
    head = HEAD
    if length:
        body = head + b"content-length: 2000000\r\n\r\n" + b"x" * 2_000_000
    else:
        one = b"%x\r\n%b\r\n" % (chunk, b"x" * chunk)
        body = head + b"transfer-encoding: chunked\r\n\r\n" + one * (200_000 // chunk)
    async with server.serve(app, "127.0.0.1", 0) as port:
        for _ in range(2):
            stream = await reach(port)
            with trio.fail_after(LIMIT):
                try:
                    await stream.send_all(body)
                    while await stream.receive_some(1000):
                        pass
                except trio.BrokenResourceError:
                    pass  # it was closed with much of the body unread
        assert app.refused == {"too large": 2}


HALF = {
    "body": HEAD + b"content-length: 100\r\n\r\n{",
    "chunks": HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n",
    "head": HEAD,
    "nothing": b"",
}
WHOLE = HEAD + b"content-length: 2\r\n\r\n{}"


@pytest.mark.real_time
@pytest.mark.parametrize("trickles", [False, True])
@pytest.mark.parametrize("half", HALF.values(), ids=HALF)
async def test_half_a_request_cannot_hold_all_places(
    reach: Reach, half: bytes, *, trickles: bool
) -> None:
    """Four times as many as there are places, and a whole one behind them."""
    server = CallbackServer(4)
    app = CallbackApp(Settings(transport="sidecar"), server.is_crowded, server.bodies)

    async def trickle(stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            while half:
                await stream.send_all(b" " if half.endswith(b"{") else b"1\r\n \r\n")
                await trio.sleep(0.05)

    async with server.serve(app, "127.0.0.1", 0) as port, trio.open_nursery() as nursery:
        for _ in range(16):
            stream = await reach(port)
            await stream.send_all(half)
            if trickles:
                nursery.start_soon(trickle, stream)
        began = trio.current_time()
        good = await reach(port)
        with trio.fail_after(LIMIT):
            await good.send_all(WHOLE)
            assert b" 400 " in await good.receive_some(1000)  # {} is no message
        assert trio.current_time() - began < 5  # 0.1 s for each two of them; by themselves, 40 s
        nursery.cancel_scope.cancel()


@pytest.mark.real_time
async def test_half_a_body_has_a_second_when_others_wait_and_is_told(reach: Reach) -> None:
    server = CallbackServer(1)
    app = CallbackApp(Settings(transport="sidecar"), server.is_crowded, server.bodies)
    async with server.serve(app, "127.0.0.1", 0) as port:
        slow, good = await reach(port), await reach(port)
        await slow.send_all(HALF["body"])
        began = trio.current_time()
        with trio.fail_after(LIMIT):
            await good.send_all(WHOLE)
            said = await slow.receive_some(1000)
            assert b" 408 " in said
            assert b"connection: close" in said
            assert 0.9 < trio.current_time() - began < 3
            assert await is_closed(slow)
            assert b" 400 " in await good.receive_some(1000)
    assert app.refused["slow"] == 1
    assert len(server.bodies) == 0


@pytest.mark.real_time
async def test_half_a_body_has_its_time_while_nobody_waits(reach: Reach) -> None:
    server = CallbackServer(2)
    app = CallbackApp(Settings(transport="sidecar"), server.is_crowded, server.bodies)
    async with server.serve(app, "127.0.0.1", 0) as port:
        slow = await reach(port)
        await slow.send_all(HALF["body"])
        with trio.fail_after(LIMIT):
            await trio.sleep(1.5)
            assert len(server.bodies) == 1
            await slow.send_all(b" " * 98 + b"}")
            assert b" 400 " in await slow.receive_some(1000)


@pytest.mark.parametrize(("count", "status"), [(97, b" 400 "), (98, b" 431 "), (3000, b" 431 ")])
async def test_a_head_has_so_many_headers(reach: Reach, count: int, status: bytes) -> None:
    server = CallbackServer(1)
    app = CallbackApp(Settings(transport="sidecar"), server.is_crowded, server.bodies)
    head, _, rest = WHOLE.partition(b"\r\n\r\n")
    async with server.serve(app, "127.0.0.1", 0) as port:
        for _ in range(2):
            stream = await reach(port)
            with trio.fail_after(LIMIT):
                await stream.send_all(head + b"\r\na:b" * count + b"\r\n\r\n" + rest)
                assert status in await stream.receive_some(1000)


@pytest.mark.parametrize(
    "bad",
    [
        b"transfer-encoding: gzip\r\n",
        b"transfer-encoding: chunked, chunked\r\n",
        b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        b"content-length: 2\r\ncontent-length: 3\r\n",
        b"content-length: -2\r\n",
        b"content-length: 2\r\ntransfer-encoding: chunked\r\n",
        b"host: localhost\r\ncontent-length: 2\r\n",
        b"x : y\r\ncontent-length: 2\r\n",
    ],
)
async def test_a_head_that_two_may_read_in_two_ways_ends_its_connection(
    reach: Reach, bad: bytes
) -> None:
    server = CallbackServer(1)
    app = CallbackApp(Settings(transport="sidecar"), server.is_crowded, server.bodies)
    async with server.serve(app, "127.0.0.1", 0) as port:
        stream = await reach(port)
        with trio.fail_after(LIMIT):
            await stream.send_all(HEAD + bad + b"\r\n0\r\n\r\n" + WHOLE)
            said = await stream.receive_some(1000)
            assert said.split(b" ", 2)[1] in (b"400", b"501")
            assert said.count(b"HTTP/1.1") == 1
            assert await is_closed(stream)


@pytest.mark.parametrize("rest", [b"", b"\0\0\0\4\0\0\0\0\0", b"\0\0\x10", b"\xff" * 60])
async def test_http_2_is_refused_and_keeps_no_place(reach: Reach, rest: bytes) -> None:
    async with CallbackServer(1).serve(App(), "127.0.0.1", 0) as port:
        stream = await reach(port)
        with trio.fail_after(LIMIT):
            await stream.send_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + rest)
            assert b" 505 " in await stream.receive_some(1000)
            assert await is_closed(stream)
            await ask(await reach(port))


@pytest.mark.parametrize("more", [b"", b"sec-websocket-version: 12\r\n"])
async def test_a_websocket_is_taken_for_a_plain_request(reach: Reach, more: bytes) -> None:
    upgrade = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    async with CallbackServer(1).serve(App(), "127.0.0.1", 0) as port:
        stream = await reach(port)
        with trio.fail_after(LIMIT):
            await ask(stream, upgrade + more + b"\r\n")
            await ask(stream)


async def test_who_takes_no_answers_keeps_no_place(
    reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SEND_MAX", 0.2)
    async with CallbackServer(1).serve(App(), "127.0.0.1", 0) as port:
        greedy = await reach(port)

        async def ask_on() -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                while True:
                    await greedy.send_all(REQUEST * 1000)

        with trio.fail_after(6 * LIMIT):
            await ask_on()
            await ask(await reach(port))


class SlowStart:
    """Hypercorn's task group, while an application is being started."""

    def __init__(self) -> None:
        self.starting, self.gate = trio.Event(), trio.Event()
        self.told: list[str] = []

    async def spawn_app(self, *_: object) -> Callable[[Any], Awaitable[None]]:
        self.starting.set()
        await self.gate.wait()

        async def put(message: Any) -> None:
            self.told.append(message["type"])

        return put


async def test_an_application_that_starts_as_its_client_goes_is_told() -> None:
    """Or it waits for the rest of its request for ever, and keeps the place."""
    group = SlowStart()

    async def send(_: object) -> None:
        await trio.lowlevel.checkpoint()

    http: Any = connections.Http1(
        App(),  # type: ignore[arg-type]
        connections.make_config(),
        WorkerContext(None),
        group,  # type: ignore[arg-type]
        ConnectionState({}),
        False,
        None,
        None,
        send,  # type: ignore[arg-type]
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(http.handle, RawData(REQUEST))
        await group.starting.wait()
        await http.handle(Closed())  # the answer before it could not be written
        group.gate.set()
    await http.handle(RawData(REQUEST))  # nothing more is started
    assert group.told == ["http.disconnect"]


async def test_no_more_connections_than_allowed_and_busy_ones_are_left_alone(reach: Reach) -> None:
    app, server = App(), CallbackServer(2)
    app.gate = trio.Event()
    async with server.serve(app, "127.0.0.1", 0) as port, trio.open_nursery() as nursery:
        with trio.fail_after(LIMIT):
            streams = [await reach(port) for _ in range(4)]
            for stream in streams:
                nursery.start_soon(ask, stream)
            await app.wait_under_way(2)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert app.under_way == 2
            assert server.is_crowded()
            app.gate.set()  # all four are answered
    assert app.under_way == 4


async def test_an_idle_connection_makes_room(reach: Reach) -> None:
    server = CallbackServer(2)
    async with server.serve(App(), "127.0.0.1", 0) as port:
        first, second = [await reach(port) for _ in range(2)]
        await ask(first)
        await ask(second)
        await ask(first)
        third = await reach(port)
        with trio.fail_after(LIMIT):
            await ask(third)
        assert await is_closed(second), "not the one that was idle the longest"


async def test_those_who_say_nothing_make_room_too(reach: Reach) -> None:
    async with CallbackServer(2).serve(App(), "127.0.0.1", 0) as port:
        silent = [await reach(port) for _ in range(5)]
        with trio.fail_after(LIMIT):
            await ask(await reach(port))
        assert await is_closed(silent[0])


async def test_as_many_as_allowed_are_kept(reach: Reach) -> None:
    async with CallbackServer(2).serve(App(), "127.0.0.1", 0) as port:
        streams = [await reach(port) for _ in range(2)]
        with trio.fail_after(LIMIT):
            for _ in range(20):
                for stream in streams:
                    await ask(stream)


@pytest.mark.parametrize("sent", [b"", b"POST / HT", REQUEST])
async def test_who_says_nothing_is_not_kept(
    reach: Reach, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle, "IDLE_MAX", 0.2)
    async with CallbackServer(2).serve(App(), "127.0.0.1", 0) as port:
        stream = await reach(port)
        if sent == REQUEST:
            await ask(stream)
        else:
            await stream.send_all(sent)
        assert await is_closed(stream)


async def test_a_request_on_a_connection_that_is_being_closed_is_not_begun(reach: Reach) -> None:
    """Its time was over in the step in which the request came; whoever sent it sees no answer."""
    app, server = App(), CallbackServer(2)
    async with server.serve(app, "127.0.0.1", 0) as port:
        stream = await reach(port)
        with trio.fail_after(LIMIT):
            await ask(stream)
            while not server.idle:
                await trio.testing.wait_all_tasks_blocked()
            (watch,) = server.idle
            watch._over = True
            await stream.send_all(REQUEST)
            assert await is_closed(stream)
    assert app.under_way == 1


async def test_a_request_that_comes_while_the_last_answer_goes_out_is_no_idleness(
    reach: Reach,
) -> None:
    app, server = App(), CallbackServer(2)
    async with server.serve(app, "127.0.0.1", 0) as port:
        stream = await reach(port)
        with trio.fail_after(LIMIT):
            await ask(stream)
            app.gate = trio.Event()
            await stream.send_all(REQUEST + REQUEST)
            await app.wait_under_way(2)
            app.gate.set()
            app.gate = trio.Event()  # the first is answered, the second is not
            await app.wait_under_way(3)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert not server.idle
            app.gate.set()


async def test_an_idle_connection_has_a_moment_for_its_next_request(
    reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle, "IDLE_MIN", 1000.0)
    async with CallbackServer(1).serve(App(), "127.0.0.1", 0) as port:
        kept = await reach(port)
        await ask(kept)
        await reach(port)
        with trio.fail_after(LIMIT):
            assert b"connection: close" not in await ask(kept)


@pytest.mark.real_time
async def test_work_under_way_is_not_idleness(
    reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle, "IDLE_MAX", 0.1)
    app = App()
    app.gate = trio.Event()
    async with CallbackServer(2).serve(app, "127.0.0.1", 0) as port, trio.open_nursery() as nursery:
        stream = await reach(port)
        nursery.start_soon(ask, stream)
        await trio.sleep(0.3)
        app.gate.set()


async def test_a_connection_that_ends_gives_its_place_back(reach: Reach) -> None:
    server = CallbackServer(1)
    async with server.serve(App(), "127.0.0.1", 0) as port:
        with trio.fail_after(LIMIT):
            for _ in range(5):
                stream = await reach(port)
                await ask(stream)
                await stream.aclose()


async def test_the_end_closes_everything_in_time(reach: Reach) -> None:
    app = App()
    async with CallbackServer(4).serve(app, "127.0.0.1", 0) as port:
        idle = await reach(port)
        await ask(idle)
        app.gate = trio.Event()
        busy = await reach(port)
        await busy.send_all(REQUEST)
        await app.wait_under_way(2)
        began = trio.current_time()
    assert trio.current_time() - began < 3
    assert await is_closed(idle)
    assert await is_closed(busy)
    with pytest.raises(OSError, match="attempts"):
        await reach(port)


async def test_an_error_of_the_block_comes_out_as_it_is(reach: Reach) -> None:
    with pytest.raises(KeyError):
        async with CallbackServer(4).serve(App(), "127.0.0.1", 0):
            raise KeyError


async def test_a_bug_is_logged_by_us_and_nothing_else_is_configured(
    reach: Reach, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()
    app.fails = True
    async with CallbackServer(4).serve(app, "127.0.0.1", 0) as port:
        stream = await reach(port)
        await stream.send_all(REQUEST)
        with trio.fail_after(LIMIT):
            assert b" 500 " in await stream.receive_some(1000)
    assert {one.name for one in caplog.records} == {"petalkit.transport.http"}
    for name in ("hypercorn.error", "hypercorn.access", "petalkit.transport.http"):
        assert not logging.getLogger(name).handlers


@pytest.mark.parametrize("token", [None, "s3cr3t"])
async def test_without_a_token_there_is_a_warning_on_this_machine_too(
    token: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = Settings(transport="sidecar", callback_listen="127.0.0.1:0", sidecar_token=token)
    async with SidecarTransport(chosen).open():
        pass
    told = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    text = "any program on this machine can send commands to 127.0.0.1:0: set sidecar_token"
    assert told == ([] if token else [text])


@pytest.mark.process
async def test_a_forked_child_does_not_keep_the_port() -> None:
    def kept_by_child() -> int:
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        kept = 0
        for descriptor in range(3, 256):
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as one:
                kept += one.getsockname()[1:2] == (port,)
        os._exit(kept)

    transport = SidecarTransport(Settings(transport="sidecar", callback_listen="127.0.0.1:0"))
    async with transport.open():
        port = transport._port
        assert kept_by_child() == 0
