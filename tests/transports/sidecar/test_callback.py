"""Our endpoint, called as ASGI: what it takes, what it refuses, and how long it waits."""

from __future__ import annotations

import json
import logging
import math
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from petalkit import Settings
from petalkit.transports import ConnectOptions, Delivery
from petalkit.transports.sidecar._callback.app import CallbackApp
from petalkit.transports.sidecar._callback.bodies import Bodies
from petalkit.transports.sidecar._callback.requests import RequestReader
from petalkit.transports.sidecar._health import Health
from petalkit.transports.sidecar._link import SidecarLink

pytestmark = pytest.mark.trio

PATH = "/mqtt-callback/callback"
GOOD = b'{"topic":"a/command","payload":{"command":"x"},"qos":1,"timestamp":"now"}'


class Quiet:
    """Takes the place of a publisher and of a canary: nothing is published here."""

    async def run(self) -> None:
        await trio.sleep_forever()

    def fail_all(self, _: object) -> None: ...


@attrs.define
class Answer:
    status: int = 0
    headers: dict[bytes, bytes] = attrs.field(factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Bench:
    """An application with a link that nobody reads unless told."""

    def __init__(self, *, linked: bool = True, crowded: bool = False, **settings: Any) -> None:
        self.settings = Settings(transport="sidecar", **settings)
        self.app = CallbackApp(self.settings, lambda: crowded)
        quiet: Any = Quiet()
        options = ConnectOptions(client_id="c")
        client: Any = None
        health = Health(client, self.settings, "http://us/")
        offers_max = self.settings.callback_connections
        self.link = SidecarLink(health, quiet, quiet, options, offers_max)
        if linked:
            self.app.link = self.link
        self.hang_up = trio.Event()

    async def ask(
        self,
        body: bytes = GOOD,
        *,
        path: str = PATH,
        method: str = "POST",
        query: bytes = b"",
        parts: int = 1,
        stall: bool = False,
        length: bool = True,
        **headers: str,
    ) -> Answer:
        answer = Answer()
        size = math.ceil(len(body) / parts)
        pieces = [body[i * size : (i + 1) * size] for i in range(parts)]
        given = {"content_type": "application/json", **headers}
        if length:
            given.setdefault("content_length", str(len(body)))
        raw = [
            (name.replace("_", "-").encode(), value.encode())
            for name, value in given.items()
            if value
        ]

        async def receive() -> dict[str, Any]:
            await trio.lowlevel.checkpoint()
            if pieces:
                piece = pieces.pop(0)
                return {"type": "http.request", "body": piece, "more_body": bool(pieces) or stall}
            await self.hang_up.wait()
            return {"type": "http.disconnect"}

        async def send(event: Any) -> None:
            await trio.lowlevel.checkpoint()
            if event["type"] == "http.response.start":
                answer.status = event["status"]
                answer.headers = dict(event["headers"])
            else:
                answer.body += event.get("body", b"")

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query,
            "headers": raw,
            "root_path": "",
            "http_version": "1.1",
            "state": {},
        }
        await self.app(scope, receive, send)
        return answer

    async def take(self, act: Callable[[Delivery], object]) -> None:
        """Read the link, and do the same with everything."""

        def sink(batch: Sequence[Delivery]) -> bool:
            for delivery in batch:
                act(delivery)
            return True

        await self.link.deliver(sink)

    async def stats(self) -> Any:
        path = PATH.replace("callback", "stats").replace("mqtt-stats", "mqtt-callback")
        return (await self.ask(path=path, method="GET")).json


async def test_what_is_accepted_is_answered_with_success(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    bench = Bench()
    seen: list[tuple[str, bytes, int]] = []

    def act(delivery: Delivery) -> None:
        seen.append((delivery.topic, delivery.payload, delivery.qos))
        delivery.ack()

    nursery.start_soon(bench.take, act)
    await trio.testing.wait_all_tasks_blocked()
    answer = await bench.ask()
    assert (answer.status, answer.json) == (200, {"status": "success"})
    assert answer.headers[b"content-type"] == b"application/json"
    assert (await bench.ask(parts=5)).status == 200
    assert seen == [("a/command", b'{"command":"x"}', 1)] * 2
    assert bench.link.waiting == 0


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "not JSON"),
        (b"hello", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b'{"topic":"a","payload":{}', 400, "not JSON"),
        (b'{"topic":"a","payload":{"x":}}', 400, "not JSON"),
        (b'{"topic":"a","payload":' + b'{"a":' * 20_000, 400, "not JSON"),
        (b"[]", 400, "wrong shape"),
        (b'{"payload":{}}', 400, "wrong shape"),
        (b'{"topic":"a"}', 400, "wrong shape"),
        (b'{"topic":1,"payload":{}}', 400, "wrong shape"),
        (b'{"topic":"a","payload":"{}"}', 400, "wrong shape"),
        (b'{"topic":"a","payload":[]}', 400, "wrong shape"),
        (b'{"topic":"a","payload":null}', 400, "wrong shape"),
        (b"x" * 300_000, 413, "too large"),
    ],
)  # fmt: skip
async def test_a_wrong_body_gets_a_4xx_with_a_reason_and_is_counted(
    body: bytes, status: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    for length in (True, False):
        answer = await bench.ask(body, parts=3, length=length)
        assert answer.status == status
        assert answer.json["status"] == "error"
        assert answer.json["message"]
    stats = await bench.stats()
    assert (stats["received"], stats["accepted"], stats["refused"]) == (2, 0, {reason: 2})
    assert not [one for one in caplog.records if one.exc_info]
    assert len(caplog.records) == 1  # one warning a minute for one reason


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_type": "text/plain"}, 415),
        ({"content_type": ""}, 415),
        ({"content_type": "application/json; charset=utf-8"}, 503),
        ({"content_type": "Application/JSON"}, 503),
        ({"origin": "http://evil.example"}, 403),
        ({"content_length": "99999999"}, 413),
    ],
)
async def test_what_only_a_web_page_would_send_is_refused(
    headers: dict[str, str], status: int
) -> None:
    answer = await Bench(linked=False).ask(**headers)
    assert answer.status == status  # 503 is as far as it comes without a link
    assert not any(name.startswith(b"access-control") for name in answer.headers)


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1:3005", True),
        ("192.0.2.7", True),  # nobody's name
        ("[::1]:3005", True),
        ("localhost:1", True),
        ("LocalHost.", True),
        ("petals:80", True),  # of callback_url
        ("drone.local", True),  # of callback_hosts
        ("", True),  # HTTP/1.0
        ("evil.example", False),
        ("evil.example:3005", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("127.1", False),
        ("user@localhost", False),
        ("localhost:x", False),
        ("localhost localhost", False),
        ("[evil]", False),
    ],
)
async def test_who_calls_us_by_a_name_of_his_own_gets_nothing(host: str, ours: bool) -> None:
    """DNS rebinding: to its browser a page is then of the same origin as we are."""
    names = {"callback_url": "http://petals:80/", "callback_hosts": ("Drone.local",)}
    bench = Bench(linked=False, allow_insecure=True, **names)
    for path, method, good in (
        (PATH, "POST", 503),
        ("/mqtt-callback/health", "GET", 200),
        ("/mqtt-callback/stats", "GET", 200),
        ("/elsewhere", "GET", 404),
    ):
        answer = await bench.ask(path=path, method=method, host=host)
        assert answer.status == (good if ours else 421), path
        assert (answer.headers.get(b"connection") == b"close") is not ours
    assert bench.app.refused["host"] == (0 if ours else 4)


async def test_two_ends_of_a_body_are_none() -> None:
    answer = await Bench().ask(transfer_encoding="chunked")
    assert (answer.status, answer.headers[b"connection"]) == (400, b"close")


@pytest.mark.parametrize("headers", [{"origin": "null"}, {"authorization": "Bearer no"}])
async def test_who_is_not_let_in_keeps_no_connection(headers: dict[str, str]) -> None:
    answer = await Bench(sidecar_token="s3cr3t").ask(**headers)
    assert answer.status in (401, 403)
    assert answer.headers[b"connection"] == b"close"


async def test_a_preflight_is_not_allowed_anything() -> None:
    answer = await Bench().ask(method="OPTIONS", origin="http://evil.example")
    assert answer.status == 405
    assert not any(name.startswith(b"access-control") for name in answer.headers)


async def test_other_ways_and_methods() -> None:
    bench = Bench()
    assert (await bench.ask(method="GET")).status == 405
    assert (await bench.ask(path="/callback")).status == 404
    assert (await bench.ask(path=PATH + "/")).status == 404


@pytest.mark.parametrize(
    ("query", "header", "good"),
    [
        (b"", "", False),
        (b"token=wrong", "", False),
        (b"token=se%20cret", "", True),
        (b"", "Bearer se cret", True),
        (b"", "bearer se cret", True),
        (b"", "Basic se cret", False),
        (b"token=se%20cret", "Bearer wrong", False),
        (b"token=%ff", "", False),
    ],
)
async def test_with_a_token_nothing_comes_in_without_it(
    query: bytes, header: str, good: bool, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(linked=False, sidecar_token="se cret")
    answer = await bench.ask(query=query, authorization=header)
    assert answer.status == (503 if good else 401)
    stats = await bench.ask(
        path="/mqtt-callback/stats", method="GET", query=query, authorization=header
    )
    assert stats.status == (200 if good else 401)
    assert (await bench.ask(path="/mqtt-callback/health", method="GET")).status == 200
    assert "se cret" not in caplog.text


async def test_a_renewed_token_is_taken_beside_the_old_one_until_the_client_knows_it() -> None:
    bench = Bench(linked=False, sidecar_token_file=Path("token"))

    async def taken() -> list[str]:
        tokens = ("", "first", "second", "third")
        said = [(await bench.ask(authorization=f"Bearer {one}")).status for one in tokens]
        assert set(said) <= {401, 503}
        return [token for token, status in zip(tokens, said, strict=True) if status == 503]

    assert await taken() == []  # it was not read yet, so nobody can know it
    bench.app.requests.use_token("first")
    assert await taken() == ["first"]
    bench.app.requests.use_token("first")
    bench.app.requests.use_token("second")
    assert await taken() == ["first", "second"]
    bench.app.requests.forget_old_token()
    assert await taken() == ["second"]
    bench.app.requests.use_token("second")
    bench.app.requests.use_token("third")
    assert await taken() == ["second", "third"]


async def test_without_a_link_it_is_there_and_says_503() -> None:
    bench = Bench(linked=False)
    answer = await bench.ask()
    assert (answer.status, answer.headers[b"retry-after"]) == (503, b"1")
    health = (await bench.ask(path="/mqtt-callback/health", method="GET")).json
    assert (health["status"], health["connected"], health["subscriptions"]) == ("healthy", False, 0)


async def test_a_crowded_server_asks_for_the_connection_back() -> None:
    assert (await Bench(crowded=True).ask(b"")).headers[b"connection"] == b"close"
    assert b"connection" not in (await Bench().ask(b"")).headers


async def test_a_body_that_does_not_come_is_not_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    answer = await Bench().ask(stall=True)
    assert answer.status == 408
    assert trio.current_time() == pytest.approx(10)


async def test_a_body_in_small_pieces_takes_no_more_than_its_size() -> None:
    """Chunks of two bytes: as a list they take 20 times as much, on each connection."""
    left = 60_000

    async def receive() -> dict[str, Any]:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": b"%02d" % (left % 100), "more_body": left > 0}

    reader = RequestReader(Settings(transport="sidecar"), Bodies())
    tracemalloc.start()
    try:
        body = await reader.read_body(receive)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(body) == 120_000
    assert peak < 500_000


async def test_a_request_that_is_cut_off(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    bench.hang_up.set()
    assert (await bench.ask(stall=True)).status == 400


async def test_what_is_not_accepted_in_time_is_taken_back_and_refused(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    bench = Bench(callback_timeout=3.0)
    answer = await bench.ask()
    assert (answer.status, trio.current_time()) == (503, pytest.approx(3))
    assert bench.link.waiting == 0
    seen: list[Delivery] = []
    nursery.start_soon(bench.take, seen.append)
    await trio.testing.wait_all_tasks_blocked()
    assert not seen, "given out although it was refused"


async def test_what_is_held_by_another_is_taken_back_there(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    bench = Bench(callback_timeout=3.0)
    held: list[Any] = []
    withdrawn: list[Delivery] = []

    def hold(delivery: Any) -> None:
        delivery.on_withdrawn = withdrawn.append
        held.append(delivery)

    nursery.start_soon(bench.take, hold)
    await trio.testing.wait_all_tasks_blocked()
    assert (await bench.ask()).status == 503
    assert withdrawn == held
    held[0].ack()  # too late, and does nothing
    assert (await bench.stats())["accepted"] == 0


async def test_a_late_acceptance_is_answered_when_it_comes(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    bench = Bench()
    nursery.start_soon(bench.take, lambda delivery: held.append(delivery))
    held: list[Delivery] = []
    await trio.testing.wait_all_tasks_blocked()

    async def accept() -> None:
        await trio.sleep(4)
        held[0].ack()

    nursery.start_soon(accept)
    assert (await bench.ask()).status == 200
    assert trio.current_time() == pytest.approx(4)


async def test_who_hangs_up_has_not_been_told_yes(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    bench.hang_up.set()
    await bench.ask()
    assert bench.link.waiting == 0
    assert (await bench.stats())["refused"] == {"hung up": 1}


async def test_what_is_not_handled_in_time_is_said_to_run_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = Bench(acknowledge="handled", callback_timeout=3.0)
    answer = await bench.ask()
    assert (answer.status, b"runs on" in answer.body) == (503, True)
    assert (await bench.stats())["refused"] == {"late": 1}


async def test_who_waits_as_the_link_ends_hears_of_that(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    bench = Bench(callback_timeout=3.0)

    async def end() -> None:
        await trio.sleep(1)
        bench.link.close()

    nursery.start_soon(end)
    answer = await bench.ask()
    assert (answer.status, trio.current_time()) == (503, pytest.approx(1))
    assert (await bench.stats())["refused"] == {"no link": 1}


async def test_with_hold_it_waits_for_ever_and_outlives_the_connection(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    bench = Bench(callback_when_full="hold", callback_timeout=3.0)
    nursery.start_soon(bench.ask)
    await trio.sleep(1000)
    assert bench.link.waiting == 1
    bench.hang_up.set()
    await trio.testing.wait_all_tasks_blocked()
    assert bench.link.waiting == 1
    assert (await bench.stats())["refused"] == {}
    [delivery] = await bench.link.receive()
    delivery.ack()
    assert bench.link.waiting == 0


async def test_only_so_many_wait(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    bench = Bench(callback_connections=3)
    for _ in range(3):
        nursery.start_soon(bench.ask)
    await trio.testing.wait_all_tasks_blocked()
    answer = await bench.ask()
    assert (answer.status, trio.current_time()) == (503, 0)
    assert bench.link.waiting == 3


async def test_a_link_that_ends_refuses_what_waits_and_gives_it_to_nobody(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    bench = Bench()
    answers: list[Answer] = []

    async def ask() -> None:
        answers.append(await bench.ask())

    nursery.start_soon(ask)
    await trio.testing.wait_all_tasks_blocked()
    bench.link.close()
    await trio.testing.wait_all_tasks_blocked()
    assert [answer.status for answer in answers] == [503]
    assert (await bench.ask()).status == 503
    assert bench.link.waiting == 0


async def test_our_own_bug_is_answered_and_told_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()

    def fail(*_: object) -> None:
        raise RuntimeError("a secret")

    bench.link.offer = fail  # type: ignore[method-assign]
    answer = await bench.ask()
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert [one.levelno for one in caplog.records] == [logging.ERROR]


async def test_cancelling_takes_back_what_waits(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    with trio.move_on_after(1):
        await bench.ask()
    assert bench.link.waiting == 0
