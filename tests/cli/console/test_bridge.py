"""The bridge between pages and devices: what a page is told, and what becomes of what it asks."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio

from petalkit import CommandError, Petal, command, stream
from petalkit.cli._console import bridge as bridge_module
from petalkit.cli._console import device_view, visits
from petalkit.cli._console.bridge import Moves

from ...client.long_work import LongPetal
from .pages import FakePage, Ground, open_ground

pytestmark = pytest.mark.trio

DEVICE = "Instance-1"


async def looking(ground: Ground) -> FakePage:
    """A page that looks at the device, and knows what it serves."""
    page = ground.open_page()
    page.ask("open", device=DEVICE)
    await page.hears("info")
    return page


async def test_a_page_is_greeted_with_the_devices_there_are(autojump_clock: object) -> None:
    moves = Moves(watch=("long/position",), calls=(("long/hello", {"name": 1}),))
    async with open_ground(moves=moves) as ground:
        page = ground.open_page()
        hello = await page.hears("hello")
        assert (hello["organization"], hello["device"]) == ("acme", DEVICE)
        assert hello["moves"] == {
            "watch": ["long/position"],
            "calls": [["long/hello", {"name": 1}]],
        }
        assert (await page.hears("link"))["connected"] is True
        said = await page.hears("devices", lambda one: one["devices"])
        assert [(one["id"], one["status"]) for one in said["devices"]] == [(DEVICE, "online")]


async def test_what_a_device_serves_comes_with_its_schemas(autojump_clock: object) -> None:
    async with open_ground() as ground:
        page = await looking(ground)
        info = await page.hears("info")
        assert info["jobs"] == ["long/copy"]
        (petal,) = info["petals"]
        (hello,) = [one for one in petal["commands"] if one["name"] == "long/hello"]
        assert hello["data"]["properties"] == {"name": {"type": "string", "default": "World"}}


async def test_a_call_is_answered_under_its_number(autojump_clock: object) -> None:
    async with open_ground() as ground:
        page = await looking(ground)
        page.ask("call", id=7, device=DEVICE, command="long/hello", data={"name": "you"})
        answer = await page.hears("answer")
        assert (answer["id"], answer["success"]) == (7, True)
        assert answer["fields"]["message"] == "Hello, you!"
        assert json.loads(answer["text"]) == answer["fields"]


async def test_a_no_and_no_answer_are_answers_too(autojump_clock: object) -> None:
    async with open_ground() as ground:
        page = await looking(ground)
        page.ask("call", id=1, device=DEVICE, command="long/hello", data={"name": 5})
        page.ask("call", id=2, device="Instance-9", command="long/hello", timeout=3)
        page.ask("call", id=3, device="a/b", command="long/hello")
        refused = await page.hears("answer", lambda one: one["id"] == 1)
        assert refused["success"] is False
        assert refused["fields"]["errors"][0]["path"] == "data.name"
        silent = await page.hears("answer", lambda one: one["id"] == 2)
        assert "no answer to 'long/hello' within 3 s" in silent["error"]
        assert "fields" not in silent
        wrong = await page.hears("answer", lambda one: one["id"] == 3)
        assert "a/b" in wrong["error"]


class BigPetal(Petal):
    name = "big"

    @command("echo")
    async def echo(self, n: int) -> dict[str, int]:
        return {"n": n}


async def test_large_integers_are_not_rounded_on_their_way(autojump_clock: object) -> None:
    async with open_ground(BigPetal()) as ground:
        page = await looking(ground)
        text = '{"ask":"call","id":1,"device":"Instance-1","command":"big/echo","data":{"n":%d}}'
        page.say_raw(text % (2**63 - 1))
        answer = await page.hears("answer")
        assert f'"n": {2**63 - 1}' in answer["text"]
        assert answer["line"] == f'{{"n": {2**63 - 1}}}'


async def test_more_calls_than_may_be_under_way_are_told_so(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visits, "CALLS_MAX", 2)
    async with open_ground() as ground:
        page = await looking(ground)
        for number in range(3):
            page.ask("call", id=number, device="Instance-9", command="x/y", timeout=5)
        refused = await page.hears("answer")
        assert refused["id"] == 2
        assert "under way already" in refused["error"]
        await page.hears("answer", lambda one: one["id"] == 1)
        page.ask("call", id=3, device=DEVICE, command="long/hello")
        assert (await page.hears("answer", lambda one: one["id"] == 3))["success"]


async def test_a_job_is_shown_whoever_has_started_it(autojump_clock: object) -> None:
    async with open_ground() as ground:
        page = await looking(ground)
        async with ground.harness.start_job("long/copy", {"count": 4}) as job:
            said = await page.hears("job", lambda one: one["fields"].get("progress") == 0.5)
            assert said["name"] == "long/copy"
            assert said["fields"]["message"] == "file 2"
            await job.wait()
        ended = await page.hears("job", lambda one: one["fields"]["state"] == "succeeded")
        assert json.loads(ended["result_text"]) == {"copied": 4}


async def test_a_job_is_cancelled_by_a_call(autojump_clock: object) -> None:
    async with open_ground() as ground:
        page = await looking(ground)
        page.ask("call", id=1, device=DEVICE, command="long/copy", data={"count": 1000})
        job_id = (await page.hears("answer"))["fields"]["job_id"]
        page.ask("call", id=2, device=DEVICE, command="petalkit/cancel", data={"job_id": job_id})
        ended = await page.hears("job", lambda one: one["fields"]["state"] == "cancelled")
        assert ended["fields"]["job_id"] == job_id


async def test_jobs_that_run_are_listed_for_a_page_that_comes_late(autojump_clock: object) -> None:
    async with open_ground() as ground:
        first = await looking(ground)
        first.ask("call", id=1, device=DEVICE, command="long/copy", data={"count": 1000})
        job_id = (await first.hears("answer"))["fields"]["job_id"]
        late = await looking(ground)
        listed = await late.hears("jobs", lambda one: one["jobs"])
        assert [one["job_id"] for one in listed["jobs"]] == [job_id]
        assert (await late.hears("job"))["fields"]["job_id"] == job_id


async def test_a_stream_is_read_while_it_is_watched(autojump_clock: object) -> None:
    petal = LongPetal()
    async with open_ground(petal) as ground:
        page = await looking(ground)
        page.ask("watch", stream="long/position", rate=5)
        value = await page.hears("value", lambda one: one["value"] == {"n": 6})
        assert value["name"] == "long/position"
        assert (await page.hears("stream"))["rate"] == 5
        page.ask("unwatch", stream="long/position")
        await trio.sleep(5)
        assert petal.readers == 0
        before = len(page.of("value"))
        await trio.sleep(5)
        assert len(page.of("value")) == before


async def test_a_stream_that_fails_says_why(autojump_clock: object) -> None:
    async with open_ground() as ground:
        page = await looking(ground)
        page.ask("watch", stream="long/broken")
        ended = await page.hears("stream", lambda one: one["state"] == "ended")
        assert "NO_FIX: there are no satellites" in ended["error"]
        page.ask("watch", stream="long/none")
        unknown = await page.hears("stream", lambda one: one["name"] == "long/none")
        assert "UNKNOWN_COMMAND" in unknown["error"]


async def test_so_many_streams_may_be_watched(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_view, "STREAMS_MAX", 1)
    async with open_ground() as ground:
        page = await looking(ground)
        page.ask("watch", stream="long/position")
        page.ask("watch", stream="long/short")
        refused = await page.hears("stream", lambda one: one["name"] == "long/short")
        assert refused["error"] == "1 streams are watched already"
        page.ask("watch", stream="long/position", rate=2)  # the same again is no other one
        await page.hears("stream", lambda one: one.get("rate") == 2)


async def test_events_of_the_device_are_shown(autojump_clock: object) -> None:
    async with open_ground() as ground:
        page = await looking(ground)
        await trio.sleep(1)
        page.ask("call", id=1, device=DEVICE, command="long/hello", data={"name": "<b>you</b>"})
        event = await page.hears("event")
        assert event["command"] == "/long/greeted"
        assert json.loads(event["text"]) == {"name": "<b>you</b>"}


async def test_statistics_come_once_a_second(autojump_clock: object) -> None:
    async with open_ground() as ground:
        page = await looking(ground)
        await trio.sleep(10)
        assert len(page.of("statistics")) == pytest.approx(10, abs=1)
        assert page.of("statistics")[-1]["statistics"]["started"] >= 9


async def test_another_device_takes_the_place_of_the_first(autojump_clock: object) -> None:
    petal = LongPetal()
    async with open_ground(petal) as ground:
        page = await looking(ground)
        page.ask("watch", stream="long/position")
        await page.hears("value")
        page.ask("open", device="Instance-2")
        silent = await page.hears("silent", lambda one: one["device"] == "Instance-2")
        assert "no answer" in silent["error"]
        before = len(page.said)
        await trio.sleep(5)
        assert {one["device"] for one in page.said[before:]} <= {"Instance-2"}
        assert petal.readers == 0


async def test_a_device_that_comes_back_is_asked_anew_what_it_serves(
    autojump_clock: object,
) -> None:
    async with open_ground() as ground:
        page = await looking(ground)
        status = "org/acme/device/Instance-1/status"
        ground.harness.broker.publish_nowait(status, b'{"status": "offline"}', retain=True)
        await page.hears("devices", lambda one: "offline" in str(one))
        await trio.sleep(5)
        before = len(page.of("statistics"))
        await trio.sleep(5)
        assert len(page.of("statistics")) == before  # nobody asks who is not there
        online = b'{"status": "online", "timestamp": "later"}'
        ground.harness.broker.publish_nowait(status, online, retain=True)
        await trio.sleep(5)
        assert len(page.of("info")) == 2
        for said in (b'{"status": "offline"}', online):  # and also where it says nothing new
            ground.harness.broker.publish_nowait(status, said, retain=True)
            await trio.sleep(5)
        assert len(page.of("info")) == 3
        assert len(page.of("statistics")) > before


async def test_a_page_that_takes_nothing_is_cut_off(autojump_clock: object) -> None:
    async with open_ground() as ground:
        page = await looking(ground)
        page.takes = False
        await trio.sleep(visits.SEND_LIMIT + 5)
        assert page.why == "it does not take what it is sent"
        other = await looking(ground)  # and nobody else is
        assert other.why is None


async def test_a_page_that_is_closed_leaves_nothing_behind(autojump_clock: object) -> None:
    petal = LongPetal()
    async with open_ground(petal) as ground:
        page = await looking(ground)
        page.ask("watch", stream="long/position")
        await page.hears("value")
        page.close()
        await trio.sleep(5)
        assert page.why == "it is closed"
        assert petal.readers == 0
        assert ground.harness.runtime.statistics().subscriptions == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"ask": "shutdown"}',
        '{"ask": "open"}',
        '{"ask": "open", "device": ""}',
        '{"ask": "open", "device": "x", "more": 1}',
        '{"ask": "call", "id": 1, "device": "x", "command": "y", "timeout": 1e9}',
        '{"ask": "watch", "stream": "x", "rate": 0}',
        "[" * 100_000,
        '{"ask": "call", "id": 1, "device": "x", "command": "y", "data": {"a": ' + "[" * 100_000,
    ],
)
async def test_a_page_that_asks_for_what_there_is_not_is_closed(
    text: str, autojump_clock: object
) -> None:
    async with open_ground() as ground:
        page = ground.open_page()
        page.say_raw(text)
        await trio.sleep(1)
        assert page.why is not None
        assert page.why.startswith("it asks for what there is not")


@pytest.mark.parametrize("data", ["[1]", '{"a": 1e999}'])
async def test_arguments_that_cannot_be_sent_are_an_answer(
    data: str, autojump_clock: object
) -> None:
    """JavaScript takes them, and a person has written them: other calls are not lost for it."""
    async with open_ground() as ground:
        page = await looking(ground)
        page.say_raw(
            f'{{"ask": "call", "id": 7, "device": "x", "command": "long/hello", "data": {data}}}'
        )
        answer = await page.hears("answer")
        assert (answer["id"], answer["success"]) == (7, False)
        assert answer["error"].startswith("the arguments cannot be sent: ")
        assert page.why is None


async def test_so_many_pages_may_be_open(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_module, "PAGES_MAX", 1)
    async with open_ground() as ground:
        assert not ground.bridge.is_full
        page = ground.open_page()
        await page.hears("hello")
        assert ground.bridge.is_full
        page.close()
        await trio.sleep(1)
        assert not ground.bridge.is_full


async def test_pages_that_come_at_once_are_no_more_than_that(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them have asked whether there is room before one of them was there."""
    monkeypatch.setattr(bridge_module, "PAGES_MAX", 3)
    async with open_ground() as ground:
        pages = [ground.open_page() for _ in range(10)]
        await trio.sleep(1)
        assert sum(page.why is None for page in pages) == 3
        assert {page.why for page in pages} == {None, bridge_module.FULL}


class FastPetal(Petal):
    name = "fast"

    @stream("ticks", max_rate=100)
    async def ticks(self) -> AsyncGenerator[dict[str, int]]:
        n = 0
        while True:
            yield {"n": n}
            n += 1
            await trio.sleep(0.01)

    @command("fails")
    async def fails(self) -> dict[str, Any]:
        raise CommandError("NO", "<script>alert(1)</script>")


async def test_values_are_sent_together_once_in_a_frame(autojump_clock: object) -> None:
    async with open_ground(FastPetal()) as ground:
        page = await looking(ground)
        page.ask("watch", stream="fast/ticks", rate=100)
        await page.hears("value")
        values, messages = len(page.of("value")), page.messages
        await trio.sleep(10)
        assert len(page.of("value")) - values > 900
        assert page.messages - messages <= 10 / visits.BATCH_INTERVAL + 1


async def test_what_a_device_says_goes_on_as_it_is(autojump_clock: object) -> None:
    async with open_ground(FastPetal()) as ground:
        page = await looking(ground)
        page.ask("call", id=1, device=DEVICE, command="fast/fails")
        answer = await page.hears("answer")
        assert answer["fields"]["error"] == "<script>alert(1)</script>"
