"""Requests in memory: the petal's signature, its loop, and the limits."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from petalkit import Settings
from petalkit.compat._http import bodies, crossing, requests
from petalkit.compat._http.answers import unavailable
from petalkit.compat._http.inbox import Inbox

from .asking import Answer, FakeConnection, make_scope, open_asker
from .petals import MissionPetal

pytestmark = pytest.mark.trio
PLAN, ABORT, HOLD = (f"/petals/mission-petal/{name}" for name in ("plan", "abort", "hold"))


async def test_the_signature_is_the_petals_own() -> None:
    """Body model, query, dependency, response model and status, in the petal's loop."""
    petal = MissionPetal()
    async with open_asker(petal) as asker:
        answer = await asker.ask("POST", f"{PLAN}?fast=true", b'{"height": 30}')
    assert (answer.status, answer.json) == (202, {"height": 30})
    assert petal.seen == [(30, 5, True)]


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b'{"height": -1}', "greater_than_equal"), (b"{}", "missing"), (b"{", "json_invalid")],
)
async def test_what_does_not_fit_is_answered_as_fastapi_does(body: bytes, kind: str) -> None:
    petal = MissionPetal()
    async with open_asker(petal) as asker:
        answer = await asker.ask("POST", PLAN, body)
    assert answer.status == 422
    assert answer.json["detail"][0]["type"] == kind
    assert not petal.seen


async def test_errors_of_the_petals_own_are_its_answer() -> None:
    async with open_asker(MissionPetal()) as asker:
        answer = await asker.ask("GET", "/petals/mission-petal/refuse")
    assert (answer.status, answer.json) == (409, {"detail": "a mission runs"})


async def test_an_error_is_answered_without_its_text_and_logged_without_the_query(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_asker(MissionPetal()) as asker:
        answer = await asker.ask("GET", "/petals/mission-petal/fail?secret=abc")
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    [record] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.getMessage() == "petal 'mission-petal': GET /petals/mission-petal/fail raised"
    assert record.exc_info
    assert "abc" not in caplog.text


async def test_what_was_attached_at_run_time_is_served() -> None:
    async with open_asker(MissionPetal()) as asker:
        answer = await asker.ask("GET", "/petals/mission-petal/later")
    assert answer.json == {"attached": "in startup"}


# -- the limits


async def test_a_call_without_an_answer_is_cancelled(autojump_clock: Any) -> None:
    petal = MissionPetal()
    async with open_asker(petal, Settings(compat_http_timeout=5.0)) as asker:
        began = trio.current_time()
        answer = await asker.ask("POST", HOLD)
    assert (answer.status, answer.json["error_code"]) == (504, "TIMEOUT")
    assert trio.current_time() - began == pytest.approx(5.0)
    assert petal.seen == ["hold", "cancelled"]


async def test_an_answer_that_has_begun_may_last(autojump_clock: Any) -> None:
    async with open_asker(MissionPetal(), Settings(compat_http_timeout=5.0)) as asker:
        answer = await asker.ask("GET", "/petals/mission-petal/ticks")  # takes 50 s
    assert answer.status == 200
    assert answer.body.endswith(b"\n999\n")


@pytest.mark.parametrize("told", [True, False])
async def test_a_body_that_is_too_long_does_not_reach_the_petal(told: bool) -> None:
    petal = MissionPetal()
    async with open_asker(petal, Settings(compat_http_body_max=1000)) as asker:
        headers = {"content_length": "1001"} if told else {}
        answer = await asker.ask("POST", ABORT, [b"x" * 501] * 2, **headers)
        assert (answer.status, answer.json["error_code"]) == (413, "TOO_LARGE")
        assert answer.headers["connection"] == "close"
        assert not petal.seen
        assert (await asker.ask("POST", ABORT, b"x" * 1000)).status == 200


async def test_a_body_that_stops_is_not_waited_for(autojump_clock: Any) -> None:
    petal = MissionPetal()
    async with open_asker(petal) as asker:
        began = trio.current_time()
        answer = await asker.ask("POST", ABORT, b"half", whole=False)
        assert (answer.status, answer.json["error_code"]) == (408, "SLOW_BODY")
        assert trio.current_time() - began == pytest.approx(bodies.BODY_MAX, abs=0.01)
    assert not petal.seen


async def test_a_body_that_trickles_is_cut_off(autojump_clock: Any) -> None:
    """However often a byte comes: what counts is the whole."""
    inbox, sent = Inbox(), []
    settings = Settings()

    async def trickle() -> None:
        while True:
            await inbox.put({"type": "http.request", "body": b"x", "more_body": True})
            await trio.sleep(1)

    async def send(event: Any) -> None:
        sent.append(event)

    async with open_asker(MissionPetal(), settings) as asker, trio.open_nursery() as nursery:
        nursery.start_soon(trickle)
        began = trio.current_time()
        connection: Any = FakeConnection()
        await asker.requests(connection, make_scope("http", ABORT, "POST"), inbox, send)
        nursery.cancel_scope.cancel()
    assert sent[0]["status"] == 408
    assert trio.current_time() - began < bodies.BODY_MAX + 1


async def test_a_client_that_goes_away_ends_no_call(autojump_clock: Any, nursery: Any) -> None:
    """As with the host: the petal may have begun what it was asked for."""
    petal = MissionPetal()
    async with open_asker(petal) as asker:
        inbox = Inbox()

        async def send(event: Any) -> None: ...

        connection: Any = FakeConnection()
        await inbox.put({"type": "http.request", "body": b"", "more_body": False})
        scope = make_scope("http", HOLD, "POST")
        nursery.start_soon(asker.requests, connection, scope, inbox, send)
        await wait_all_tasks_blocked()
        await inbox.put({"type": "http.disconnect"})
        await wait_all_tasks_blocked()
        assert petal.seen == ["hold"]
        assert asker.lane.under_way == 1
        asker.lane.loop.loop.call_soon(petal.ended.set)
        with trio.fail_after(1):
            await asker.lane.wait_quiet()


# -- the end


async def test_what_is_under_way_as_its_petal_fails_is_answered(autojump_clock: Any) -> None:
    answers: list[Answer] = []

    async def ask() -> None:
        answers.append(await asker.ask("POST", HOLD))

    async with open_asker(MissionPetal()) as asker:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            asker.lane.cancel(unavailable("it has failed"))
        [answer] = answers
        assert (answer.status, answer.json["error_code"]) == (503, "UNAVAILABLE")
        assert answer.headers["retry-after"] == "1"
        assert (await asker.ask("POST", ABORT)).status == 503


async def test_at_a_stop_nothing_new_is_begun(autojump_clock: Any) -> None:
    petal = MissionPetal()
    async with open_asker(petal) as asker:
        asker.requests.stop()
        answer = await asker.ask("POST", ABORT)
    assert (answer.status, answer.json["error_code"]) == (503, "SHUTTING_DOWN")
    assert not petal.seen


async def test_a_petal_that_has_ended_its_own_loop_is_out_of_service() -> None:
    async with open_asker(MissionPetal()) as asker:
        asker.lane.loop.loop.stop()
        with trio.fail_after(5):
            answer = await asker.ask("POST", ABORT)
    assert answer.status == 503


# -- WebSockets


async def test_a_websocket_that_is_not_accepted_in_time_is_refused(autojump_clock: Any) -> None:
    petal = MissionPetal()
    settings = Settings(compat_http_timeout=3.0)
    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)

    async def never(scope: Any, receive: Any, send: Any) -> None:
        await petal.ended.wait()

    async with open_asker(petal, settings) as asker:
        asker.requests._find = lambda path: (asker.lane, never)
        connection: Any = FakeConnection()
        await asker.requests(connection, make_scope("websocket", "/x"), Inbox(), send)
    assert sent[0]["status"] == 504
    assert msgspec.json.decode(sent[1]["body"])["error_code"] == "TIMEOUT"


async def test_half_of_the_connections_may_be_websockets(autojump_clock: Any) -> None:
    petal = MissionPetal()
    connection: Any = FakeConnection()
    statuses: list[int] = []

    async def send(event: Any) -> None:
        if "status" in event:
            statuses.append(event["status"])

    async with (
        open_asker(petal, Settings(compat_http_connections=4)) as asker,
        trio.open_nursery() as nursery,
    ):
        scope = make_scope("websocket", "/petals/mission-petal/ws/echo")
        inboxes = [Inbox() for _ in range(3)]
        for inbox in inboxes:
            await inbox.put({"type": "websocket.connect"})
            nursery.start_soon(asker.requests, connection, dict(scope), inbox, send)
            await wait_all_tasks_blocked()
        assert statuses == [503]
        for inbox in inboxes:
            inbox.end({"type": "websocket.disconnect", "code": 1000})
    assert petal.seen == [1000, 1000]
    assert asker.requests._sockets == 0


# -- bounds of what is under way


async def _leave(asker: Any, nursery: Any, body: bytes = b"") -> None:
    async def send(event: Any) -> None: ...

    inbox = Inbox()
    await inbox.put({"type": "http.request", "body": body, "more_body": False})
    connection: Any = FakeConnection()
    nursery.start_soon(asker.requests, connection, make_scope("http", HOLD, "POST"), inbox, send)
    await wait_all_tasks_blocked()


async def test_calls_of_one_petal_have_a_bound(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossing, "CALLS_MAX", 3)
    petal = MissionPetal()
    async with open_asker(petal) as asker, trio.open_nursery() as nursery:
        for _ in range(3):
            await _leave(asker, nursery)
        answer = await asker.ask("POST", ABORT)
        assert (answer.status, answer.json["error_code"]) == (503, "BUSY")
        asker.lane.loop.loop.call_soon(petal.ended.set)
        await asker.lane.wait_quiet()
        assert (await asker.ask("POST", ABORT)).status == 200


async def test_bodies_under_way_have_a_bound_and_those_without_one_are_served(
    autojump_clock: Any,
) -> None:
    petal = MissionPetal()
    settings = Settings(compat_http_connections=2, compat_http_body_max=1000)
    async with open_asker(petal, settings) as asker, trio.open_nursery() as nursery:
        for _ in range(2):
            await _leave(asker, nursery, b"x" * 1000)
        answer = await asker.ask("POST", ABORT, b"x")
        assert (answer.status, answer.json["error_code"]) == (503, "BUSY")
        assert (await asker.ask("POST", ABORT)).status == 200
        asker.lane.loop.loop.call_soon(petal.ended.set)
        await asker.lane.wait_quiet()
        assert (await asker.ask("POST", ABORT, b"x")).status == 200


async def test_a_handler_that_does_not_ask_for_its_client_ends_after_it(
    autojump_clock: Any,
) -> None:
    petal = MissionPetal()

    async def send(event: Any) -> None: ...

    async def deaf(scope: Any, receive: Any, send: Any) -> None:
        try:
            await petal.ended.wait()
        except asyncio.CancelledError:
            petal.seen.append(trio.current_time() - began)
            raise

    async with open_asker(petal) as asker:
        asker.requests._find = lambda path: (asker.lane, deaf)
        inbox = Inbox()
        inbox.end({"type": "websocket.disconnect", "code": 1006})
        connection: Any = FakeConnection()
        began = trio.current_time()
        await asker.requests(connection, make_scope("websocket", "/x"), inbox, send)
    assert petal.seen == [pytest.approx(requests.GONE_MAX)]
