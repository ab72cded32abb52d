"""Endpoints as clients meet them: a real server, with real clients of HTTP and WebSockets."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import trio
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from petalkit import Settings
from petalkit.compat import Petal, adapt
from petalkit.compat._http import bodies, connection, server
from petalkit.testing import Harness, open_harness

from .petals import MissionPetal, PagePetal, write_pages

pytestmark = [pytest.mark.trio, pytest.mark.real_time]  # over loopback
LIMIT = 15.0  # seconds of real time, against a hang
TOKEN = "s3cr3t-token"
MISSION = "/petals/mission-petal"
HERE = Settings(compat_http="127.0.0.1:0")


@attrs.frozen
class Served:
    """Petals that are served."""

    harness: Harness
    port: int
    client: httpx.AsyncClient
    streams: list[trio.SocketStream] = attrs.field(factory=list)

    async def status(self, method: str, path: str, **given: Any) -> int:
        return (await self.client.request(method, path, **given)).status_code

    async def connect(self) -> trio.SocketStream:
        self.streams.append(await trio.open_tcp_stream("127.0.0.1", self.port))
        return self.streams[-1]

    async def use_socket(
        self, path: str, use: Callable[[ClientConnection], Any], **how: Any
    ) -> Any:
        """Use a WebSocket, in a thread."""

        def run() -> Any:
            with connect(f"ws://127.0.0.1:{self.port}{path}", open_timeout=5, **how) as one:
                return use(one)

        return await trio.to_thread.run_sync(run)


@asynccontextmanager
async def open_served(*petals: Petal, settings: Settings = HERE) -> AsyncGenerator[Served]:
    with trio.fail_after(LIMIT):
        adapted = adapt(*petals)
        async with open_harness(*adapted, settings=settings) as harness:
            port = await wait_port(adapted[0])
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:
                served = Served(harness, port, client)
                try:
                    yield served
                finally:
                    with trio.CancelScope(shield=True):
                        for stream in served.streams:
                            await trio.aclose_forcefully(stream)


async def wait_port(petal: Any) -> int:
    while petal.__petalkit_service__.port is None:
        await trio.sleep(0.01)
    port: int = petal.__petalkit_service__.port
    return port


async def read_all(stream: trio.SocketStream) -> bytes:
    found = b""
    with contextlib.suppress(trio.BrokenResourceError):
        while part := await stream.receive_some(65536):
            found += part
    return found


# -- what it is for


async def test_a_mission_is_stopped_by_http_and_asked_for_by_mqtt() -> None:
    petal = MissionPetal()
    async with open_served(petal) as served:
        answer = await served.client.post(f"{MISSION}/plan?fast=1", json={"height": 30})
        assert (answer.status_code, answer.json()) == (202, {"height": 30})
        assert (await served.client.post(f"{MISSION}/abort")).json() == {"status": "aborted"}
        assert (await served.harness.call("mission-petal/status"))["seen"] == 2
    assert petal.seen == [(30, 5, True), "abort"]


async def test_each_petal_is_served_in_its_own_loop() -> None:
    first, second = MissionPetal("first"), MissionPetal("second")
    async with open_served(first, second) as served:
        for name in ("first", "second"):
            answer = await served.client.post(f"/petals/{name}/plan", json={"height": 1})
            assert answer.status_code == 202  # the petal asserts that the loop is its own
        assert first._loop is not second._loop


async def test_a_plain_function_is_called_in_a_thread() -> None:
    async with open_served(MissionPetal()) as served:
        answer = await served.client.get(f"{MISSION}/ui")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.text == "<h1>Mission</h1>"


async def test_paths_that_nobody_has_are_404() -> None:
    async with open_served(MissionPetal()) as served:
        for path in ("/", f"{MISSION}/none", "/petals/none/x", "/static/mission-petal/x"):
            assert await served.status("GET", path) == 404
        assert await served.status("DELETE", f"{MISSION}/abort") == 405


async def test_the_api_is_described() -> None:
    async with open_served(MissionPetal()) as served:
        described = (await served.client.get("/openapi.json")).json()
        plan = described["paths"][f"{MISSION}/plan"]["post"]
        assert plan["tags"] == ["mission-petal"]
        assert "202" in plan["responses"]
        assert await served.status("GET", "/docs") == 200


async def test_pages_are_made_from_templates_beside_static_files(tmp_path: Path) -> None:
    write_pages(tmp_path)
    settings = attrs.evolve(HERE, compat_http_files=tmp_path)
    async with open_served(PagePetal(), settings=settings) as served:
        page = await served.client.get("/petals/page-petal/page")
        assert page.text == "<h1>&lt;you&gt;</h1>"
        assert (await served.client.get("/static/page-petal/style.css")).text == "h1 {}"
        for path in ("../../templates/page-petal/page.html", "%2e%2e/page.html", "none.css"):
            assert await served.status("GET", f"/static/page-petal/{path}") == 404


async def test_a_petal_whose_folders_are_missing_is_served_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_served(PagePetal()) as served:
        assert await served.status("GET", "/health") == 200
    assert "wants static, and there is no such folder" in caplog.text
    assert "wants templates, and there is no such folder" in caplog.text


async def test_an_endpoint_that_fastapi_refuses_is_named_and_the_others_are_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def odd(what: threading_lock) -> None: ...  # type: ignore[valid-type]  # noqa: F821

    odd.__annotations__ = {"what": socket.socket}
    petal = MissionPetal()
    odd.__petal_action__ = {"protocol": "http", "method": "GET", "path": "/odd"}  # type: ignore[attr-defined]
    petal.odd = odd  # type: ignore[attr-defined]
    async with open_served(petal) as served:
        assert await served.status("POST", f"{MISSION}/abort") == 200
        assert await served.status("GET", f"{MISSION}/odd") == 404
    [record] = [one for one in caplog.records if "not served" in one.getMessage()]
    assert record.levelno == logging.ERROR
    assert "GET /petals/mission-petal/odd" in record.getMessage()


# -- WebSockets


async def test_a_websocket_echoes_and_is_told_how_it_was_closed() -> None:
    petal = MissionPetal()

    def use(one: ClientConnection) -> str:
        assert not one.protocol.extensions  # no compression, of which a little can be very much
        one.send("hello")
        text = str(one.recv(timeout=5))
        one.close(4001)
        return text

    async with open_served(petal) as served:
        assert await served.use_socket(f"{MISSION}/ws/echo", use) == "HELLO"
        while not petal.seen:
            await trio.sleep(0.01)
    assert petal.seen == [4001]


async def test_a_websocket_whose_handler_raises_is_closed_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def use(one: ClientConnection) -> Any:
        one.send("fail")
        with pytest.raises(ConnectionClosed) as caught:
            one.recv(timeout=5)
        return caught.value.rcvd

    async with open_served(MissionPetal()) as served:
        closed = await served.use_socket(f"{MISSION}/ws/echo", use)
    assert (closed.code, closed.reason) == (1011, "")
    assert "petal 'mission-petal': WS /petals/mission-petal/ws/echo raised" in caplog.text


async def test_a_message_that_is_too_long_closes_its_websocket() -> None:
    petal = MissionPetal()

    def use(one: ClientConnection) -> Any:
        one.send("x" * 2000)
        with pytest.raises(ConnectionClosed) as caught:
            one.recv(timeout=5)
        return caught.value.rcvd

    settings = attrs.evolve(HERE, compat_http_body_max=1000)
    async with open_served(petal, settings=settings) as served:
        closed = await served.use_socket(f"{MISSION}/ws/echo", use)
        assert closed.code == 1009
        while not petal.seen:
            await trio.sleep(0.01)
    assert petal.seen == [1009]


async def test_who_only_sends_hears_that_the_client_has_gone() -> None:
    petal = MissionPetal()
    async with open_served(petal) as served:
        await served.use_socket(f"{MISSION}/ws/talk", lambda one: one.recv(timeout=5))
        while not petal.seen:
            await trio.sleep(0.01)
    assert petal.seen == ["talk ended"]


async def test_a_websocket_that_nobody_serves_is_refused() -> None:
    async with open_served(MissionPetal()) as served:
        with pytest.raises(InvalidStatus) as caught:
            await served.use_socket(f"{MISSION}/ws/none", lambda one: None)
    assert caught.value.response.status_code == 403  # as the host answers


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Authorization": "Bearer wrong"}, 401), ({"Origin": "http://evil.example"}, 403)],
)
async def test_a_websocket_is_guarded_as_all_is(headers: dict[str, str], status: int) -> None:
    settings = attrs.evolve(HERE, compat_http_token=TOKEN)
    async with open_served(MissionPetal(), settings=settings) as served:
        with pytest.raises(InvalidStatus) as caught:
            await served.use_socket(
                f"{MISSION}/ws/echo", lambda one: None, additional_headers=headers
            )
        assert caught.value.response.status_code == status
        right = {"Authorization": f"Bearer {TOKEN}"}
        await served.use_socket(f"{MISSION}/ws/echo", lambda one: None, additional_headers=right)


# -- who may ask


async def test_without_the_token_nothing_is_served_and_it_is_in_no_log(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    petal = MissionPetal()
    (tmp_path / "token").write_text(TOKEN + "\n")
    settings = attrs.evolve(HERE, compat_http_token_file=tmp_path / "token")
    async with open_served(petal, settings=settings) as served:
        for path in ("/health", "/openapi.json", f"{MISSION}/none", "/none"):
            assert await served.status("GET", path) == 401
        answer = await served.client.post(f"{MISSION}/abort", auth=("any", "wr0ng-token"))
        assert answer.json()["error_code"] == "UNAUTHORIZED"
        assert "Basic" in answer.headers["www-authenticate"]
        assert not petal.seen
        assert await served.status("POST", f"{MISSION}/abort", auth=("any", TOKEN)) == 200
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert await served.status("POST", f"{MISSION}/abort", headers=headers) == 200
    ours = "\n".join(one.getMessage() for one in caplog.records if "petalkit" in one.name)
    assert "UNAUTHORIZED" in ours
    assert TOKEN not in ours
    assert "wr0ng" not in ours


async def test_another_host_name_or_origin_reaches_no_petal() -> None:
    petal = MissionPetal()
    async with open_served(petal) as served:
        for headers, status in (
            ({"Host": "evil.example"}, 421),
            ({"Origin": "http://evil.example"}, 403),
            ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ):
            assert await served.status("POST", f"{MISSION}/abort", headers=headers) == status
        answer = await served.client.get("/health")
        assert "access-control-allow-origin" not in answer.headers
    assert not petal.seen


async def test_an_origin_that_is_allowed_may_ask_and_hears_the_answer() -> None:
    panel = "http://panel.local:8080"
    settings = attrs.evolve(HERE, compat_http_origins=(panel,), compat_http_token=TOKEN)
    async with open_served(MissionPetal(), settings=settings) as served:
        asks = {
            "Origin": panel,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization",
        }
        leave = await served.client.options(f"{MISSION}/abort", headers=asks)
        assert leave.status_code == 200
        assert leave.headers["access-control-allow-origin"] == panel
        headers = {"Origin": panel, "Authorization": f"Bearer {TOKEN}"}
        answer = await served.client.post(f"{MISSION}/abort", headers=headers)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, panel)


# -- hostile clients


async def test_a_huge_body_is_refused_and_the_answer_arrives() -> None:
    """The client is still sending: a connection that is just closed is reset, answer and all."""
    petal = MissionPetal()

    async def huge() -> AsyncGenerator[bytes]:
        for _ in range(200):
            yield b"x" * 65536

    async with open_served(petal) as served:
        for content in (b"x" * 5_000_000, huge()):
            answer = await served.client.post(f"{MISSION}/size", content=content)
            assert answer.status_code == 413
        assert await served.status("POST", f"{MISSION}/size", content=b"x" * 1_000_000) == 200


async def test_a_slow_body_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_MAX", 0.2)
    petal = MissionPetal()
    async with open_served(petal) as served:
        stream = await served.connect()
        await stream.send_all(
            b"POST " + MISSION.encode() + b"/abort HTTP/1.1\r\nhost: localhost\r\n"
            b"content-length: 100\r\n\r\nhalf"
        )
        assert (await read_all(stream)).startswith(b"HTTP/1.1 408 ")
    assert not petal.seen


async def test_a_slow_head_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_MAX", 0.2)
    async with open_served(MissionPetal()) as served:
        stream = await served.connect()
        await stream.send_all(b"GET /health HTTP/1.1\r\nhost: local")
        assert await read_all(stream) == b""


async def test_a_client_that_asks_is_served_although_many_are_silent() -> None:
    settings = attrs.evolve(HERE, compat_http_connections=4)
    async with open_served(MissionPetal(), settings=settings) as served:
        for _ in range(20):
            await served.connect()
        await trio.sleep(0.1)
        with trio.fail_after(2):
            assert await served.status("POST", f"{MISSION}/abort") == 200


async def test_while_all_are_being_served_a_further_one_is_told() -> None:
    petal = MissionPetal()
    settings = attrs.evolve(HERE, compat_http_connections=2)
    async with open_served(petal, settings=settings) as served, trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(served.client.post, f"{MISSION}/hold")
        while petal.seen != ["hold"] * 2:
            await trio.sleep(0.01)
        answer = await read_all(await served.connect())
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"error_code":"BUSY"' in answer
        assert petal._loop is not None
        petal._loop.call_soon(petal.ended.set)


async def test_half_bodies_give_their_places_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BODY_YOUNG", 0.1)
    settings = attrs.evolve(HERE, compat_http_connections=2)
    async with open_served(MissionPetal(), settings=settings) as served:
        head = b"POST /x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n"
        for _ in range(2):
            await (await served.connect()).send_all(head)
        await trio.sleep(0.2)
        with trio.fail_after(2):
            assert await served.status("POST", f"{MISSION}/abort") == 200


async def test_a_client_that_does_not_read_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SEND_MAX", 0.2)
    settings = attrs.evolve(HERE, compat_http_connections=1)
    async with open_served(MissionPetal(), settings=settings) as served:
        stream = await served.connect()
        await stream.send_all(
            f"GET {MISSION}/big?size=50000000 HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
        )
        with trio.fail_after(5):
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if await served.status("POST", f"{MISSION}/abort") == 200:
                        break
                await trio.sleep(0.05)


async def test_a_stream_ends_with_its_client() -> None:
    petal = MissionPetal()
    async with open_served(petal) as served:
        stream = await served.connect()
        await stream.send_all(f"GET {MISSION}/ticks HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        found = b""
        while b"1\n\r\n" not in found:
            found += await stream.receive_some(1000)
        await stream.aclose()
        while not petal.seen:
            await trio.sleep(0.01)
    assert petal.seen == ["ticks ended"]


@pytest.mark.parametrize("many", [1, 3])
async def test_requests_that_come_together_are_answered_in_turn(many: int) -> None:
    petal = MissionPetal()
    async with open_served(petal) as served:
        stream = await served.connect()
        ask = f"POST {MISSION}/abort HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"
        last = ask.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")
        await stream.send_all((ask * many + last).encode())
        assert (await read_all(stream)).count(b'{"status":"aborted"}') == many + 1


async def test_a_refusal_that_closes_is_whole_whatever_comes_behind_it() -> None:
    async with open_served(MissionPetal()) as served:
        stream = await served.connect()
        bad = b"GET /health HTTP/1.1\r\nhost: evil.example\r\n\r\n"
        await stream.send_all(bad * 500)
        answer = await read_all(stream)
    assert answer.count(b"HTTP/1.1 421 ") == 1
    assert answer.endswith(b'"error_code": "WRONG_HOST"}')


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505"),
        (b"GET /health HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", b"400"),
        (b"GET /health HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /health HTTP/1.1\r\nhost: localhost\r\n" + b"x: y\r\n" * 200 + b"\r\n", b"431"),
        (b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n", b"431"),
        (
            b"GET /ws HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-protocol: \xff\r\n\r\n",
            b"400",
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (
            b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade, http2-settings\r\n"
            b"upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n",
            b"200",
        ),
    ],
)
async def test_another_protocol_is_not_spoken(request_: bytes, status: bytes) -> None:
    async with open_served(MissionPetal()) as served:
        stream = await served.connect()
        await stream.send_all(request_)
        with trio.fail_after(5):
            found = await stream.receive_some(1000)
        assert found.startswith(b"HTTP/1.1 " + status)
        assert await served.status("GET", "/health") == 200


# -- lives


async def test_at_a_stop_what_runs_is_answered_within_the_grace() -> None:
    petal = MissionPetal()
    answers: list[int] = []
    settings = attrs.evolve(HERE, grace=5.0)

    async def hold(served: Served) -> None:
        answers.append(await served.status("POST", f"{MISSION}/hold"))

    async with trio.open_nursery() as nursery, open_served(petal, settings=settings) as served:
        nursery.start_soon(hold, served)
        while not petal.seen:
            await trio.sleep(0.01)
        served.harness.runtime.stop()
        await trio.sleep(0.1)
        with pytest.raises(OSError, match=r"refused|all attempts"):
            await served.connect()
        assert petal._loop is not None
        petal._loop.call_soon(petal.ended.set)
        await served.harness.runtime.wait_stopped()
        while not answers:
            await trio.sleep(0.01)
    assert answers == [200]


async def test_after_the_grace_what_runs_is_cancelled_and_answered() -> None:
    petal = MissionPetal()
    answers: list[Any] = []
    settings = attrs.evolve(HERE, grace=0.2)

    async def hold(served: Served) -> None:
        answers.append((await served.client.post(f"{MISSION}/hold")).json())

    async with trio.open_nursery() as nursery, open_served(petal, settings=settings) as served:
        nursery.start_soon(hold, served)
        while not petal.seen:
            await trio.sleep(0.01)
        served.harness.runtime.stop()
        await served.harness.runtime.wait_stopped()
        while not answers:
            await trio.sleep(0.01)
    assert answers[0]["error_code"] == "SHUTTING_DOWN"
    assert petal.seen == ["hold", "cancelled"]


async def test_at_a_stop_websockets_are_told_and_not_waited_for() -> None:
    petal = MissionPetal()
    settings = attrs.evolve(HERE, grace=10.0)

    def use(one: ClientConnection) -> Any:
        one.send("hello")
        one.recv(timeout=5)
        trio.from_thread.run_sync(served.harness.runtime.stop)
        with pytest.raises(ConnectionClosed) as caught:
            one.recv(timeout=5)
        return caught.value.rcvd

    async with open_served(petal, settings=settings) as served:
        closed = await served.use_socket(f"{MISSION}/ws/echo", use)
        with trio.fail_after(3):
            await served.harness.runtime.wait_stopped()
    assert closed.code == 1001
    assert petal.seen == [1001]


async def test_a_petal_that_has_failed_is_answered_for_and_others_are_served() -> None:
    first, second = MissionPetal("first"), MissionPetal("second")
    async with open_served(first, second) as served:
        assert first._loop is not None
        first._loop.stop()
        while (answer := await served.client.post("/petals/first/abort")).status_code != 503:
            await trio.sleep(0.01)
        assert answer.json()["error_code"] == "UNAVAILABLE"
        assert await served.status("POST", "/petals/second/abort") == 200
        while (await served.client.get("/health/overview")).json()["petals"][0][
            "status"
        ] != "failed":
            await trio.sleep(0.01)


async def test_a_port_that_is_taken_leaves_the_commands_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = Settings(compat_http=f"127.0.0.1:{taken.getsockname()[1]}")
        with trio.fail_after(LIMIT):
            adapted = adapt(MissionPetal())
            async with open_harness(*adapted, settings=settings) as harness:
                while "has failed, and is started again in 1 s" not in caplog.text:
                    await trio.sleep(0.01)
                assert (await harness.call("mission-petal/status")).success
                taken.close()
                port = await wait_port(adapted[0])  # it is tried again
                async with httpx.AsyncClient() as client:
                    answer = await client.get(f"http://127.0.0.1:{port}/health")
                    assert answer.json() == {"status": "ok"}


async def test_a_token_that_cannot_be_read_opens_nothing(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    settings = attrs.evolve(HERE, compat_http_token_file=tmp_path / "none")
    [adapted] = adapt(MissionPetal())
    async with open_harness(adapted, settings=settings) as harness:
        while "compat_http_token_file" not in caplog.text:
            await trio.sleep(0.01)
        assert adapted.__petalkit_service__.port is None  # type: ignore[union-attr]
        assert (await harness.call("mission-petal/status")).success


async def test_the_same_petals_are_served_again_by_another_runtime() -> None:
    adapted = adapt(MissionPetal())
    for _ in range(2):
        with trio.fail_after(LIMIT):
            async with open_harness(*adapted, settings=HERE):
                port = await wait_port(adapted[0])
                async with httpx.AsyncClient() as client:
                    answer = await client.post(f"http://127.0.0.1:{port}{MISSION}/abort")
                    assert answer.status_code == 200


# -- left off


async def test_off_is_said_with_what_is_not_served(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    [adapted] = adapt(MissionPetal())
    settings = Settings(compat_http="off")
    async with open_harness(adapted, settings=settings):
        assert adapted.__petalkit_service__.port is None  # type: ignore[union-attr]
    [text] = [one.getMessage() for one in caplog.records if "not served" in one.getMessage()]
    assert text.startswith(
        "petal 'mission-petal': 12 HTTP endpoints are not served (compat_http = \"off\""
    )
    for endpoint in ("POST /petals/mission-petal/abort", "WS /petals/mission-petal/ws/echo"):
        assert endpoint in text


# -- what clients leave behind


async def test_calls_whose_clients_have_gone_keep_no_connection() -> None:
    """Else a client that gives up and asks again would shut everybody out."""
    petal = MissionPetal()
    settings = attrs.evolve(HERE, compat_http_connections=2)
    async with open_served(petal, settings=settings) as served:
        for n in range(6):
            stream = await served.connect()
            await stream.send_all(
                f"POST {MISSION}/hold HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
            )
            while petal.seen.count("hold") <= n:
                await trio.sleep(0.01)
            await stream.aclose()
        assert await served.status("POST", f"{MISSION}/abort") == 200
        assert petal._loop is not None
        petal._loop.call_soon(petal.ended.set)


async def test_a_petal_that_could_not_start_is_answered_for() -> None:
    class Unstarted(MissionPetal):
        def startup(self) -> None:
            raise RuntimeError("no flight controller")

    async with open_served(MissionPetal("first"), Unstarted("second")) as served:
        answer = await served.client.post("/petals/second/abort")
        assert (answer.status_code, answer.json()["error_code"]) == (503, "UNAVAILABLE")
        petals = (await served.client.get("/health/overview")).json()["petals"]
        assert {one["name"]: one["status"] for one in petals} == {
            "first": "loaded", "second": "failed",
        }  # fmt: skip


async def test_proxies_are_asked_how_they_are() -> None:
    class Redis:
        async def health_check(self) -> dict[str, Any]:
            return {"status": "healthy", "connection": {"connected": True, "host": "here"}}

    class Bucket:
        async def health_check(self) -> dict[str, Any]:
            raise OSError("what nobody is to see")

    class Mavlink:
        connected = False

    with trio.fail_after(LIMIT):
        proxies = {"redis": Redis(), "bucket": Bucket(), "ext_mavlink": Mavlink(), "db": object()}
        adapted = adapt(MissionPetal(), proxies=proxies)
        async with open_harness(*adapted, settings=HERE):
            port = await wait_port(adapted[0])
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                said = (await client.get("/health/detailed")).json()
                overview = (await client.get("/health/overview")).json()
                organization = (await client.get("/health/organization")).json()
    found = {name: one["status"] for name, one in said["proxies"].items()}
    assert found == {
        "mqtt": "healthy", "redis": "healthy", "bucket": "error", "ext_mavlink": "unhealthy",
        "db": "unknown",
    }  # fmt: skip
    assert said["proxies"]["redis"]["connection"]["host"] == "here"
    assert said["proxies"]["bucket"]["error"] == "OSError"
    assert said["status"] == overview["status"] == "unhealthy"
    assert said["organization_manager"]["status"] == "healthy"
    assert organization["organization_manager"]["organization_info"]["organization_id"] == "acme"
    assert overview["component_name"] == "petal_app_manager"
    services = {one["component_name"]: one["status"] for one in overview["services"]}
    assert services["ext_mavlink"] == services["bucket"] == "unhealthy"
    assert services["organization_manager"] == "healthy"


HANDSHAKE = (
    b"GET /petals/mission-petal/ws/echo HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n"
    b"upgrade: websocket\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize("behind", [b"\x81\x83abcdxyz", HANDSHAKE, b"x" * 100_000])
async def test_who_does_not_wait_for_the_handshake_leaves_nothing_behind(
    behind: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Hypercorn answers 400, and tells neither its application nor its connection."""
    [adapted] = adapt(MissionPetal())
    service: Any = adapted.__petalkit_service__
    with trio.fail_after(LIMIT):
        async with open_harness(adapted, settings=HERE):
            port = await wait_port(adapted)
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(HANDSHAKE + behind)
            assert (await read_all(stream)).startswith(b"HTTP/1.1 400 ")  # and it is closed
            await trio.aclose_forcefully(stream)
            while any(lane.under_way for lane in service._all_lanes()):
                await trio.sleep(0.01)
            while service._requests._sockets:
                await trio.sleep(0.01)
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]
