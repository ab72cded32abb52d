"""What readers get, to the last key: like commands for web clients, or plain events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio

from petalkit import CommandContext, Job, Petal, Settings, command, job, stream
from petalkit.testing import open_harness

pytestmark = pytest.mark.trio

DIALECTS = pytest.mark.parametrize(
    ("dialect", "arguments"), [("guide", "data"), ("host-0.2", "payload")]
)
ENVELOPE = {"messageId", "command", "timestamp", "waitResponse", "deviceId"}


class Drone(Petal):
    name = "drone"

    @job("fetch")
    async def fetch(self, job: Job) -> dict[str, Any]:
        await job.progress(0.5, "half", files=2)
        await trio.sleep(10)
        return {"command": "mine", "timestamp": "mine"}

    @stream("position")
    async def position(self) -> AsyncGenerator[dict[str, Any]]:
        yield {"x": 1, "timestamp": "mine", "stream": "mine"}
        await trio.sleep(10)

    @command("survey")
    async def survey(self, context: CommandContext) -> dict[str, Any]:
        await context.accept(stage="accepted")
        await trio.sleep(1)
        return {"photos": 7}


async def seen_of(dialect: Any, *names: str, **more: Any) -> list[dict[str, Any]]:
    settings = Settings(dialect=dialect)
    subscription = {"subscribed_stream_id": "s-1", "data_rate_hz": 5, **more}
    async with open_harness(Drone(), settings=settings) as harness:
        with harness.events() as events:
            for name in names:
                await harness.call(f"drone/subscribe_{name}", subscription)
            if "fetch" in names:
                await harness.call("drone/fetch")
            await trio.sleep(20)
        return [dict(one) for one in events]


@DIALECTS
async def test_web_clients_get_what_looks_like_a_command(
    autojump_clock: object, dialect: str, arguments: str
) -> None:
    found = await seen_of(dialect, "fetch", "position")
    for one in found:
        assert set(one) == {*ENVELOPE, arguments}
        assert set(one[arguments]) == {"published_stream_id", "stream_payload"}
        assert one[arguments]["published_stream_id"] == "s-1"
        assert one["waitResponse"] is False
        assert one["deviceId"] == "Instance-1"
        assert one["command"] in {"/drone/publish_fetch", "/drone/publish_position"}
    ids = [one["messageId"] for one in found]
    assert len(ids) == len(set(ids)) >= 4  # a fresh one each
    told = [one[arguments]["stream_payload"] for one in found]
    jobs = [one for one in told if "job_id" in one]
    assert jobs[0]["state"] == "running"
    assert jobs[-1]["result"] == {"command": "mine", "timestamp": "mine"}
    streams = [one for one in told if "job_id" not in one]
    assert streams[0] == {"x": 1, "timestamp": "mine", "stream": "mine"}
    assert streams[-1] == {"ended": True}


@DIALECTS
async def test_a_second_phase_has_the_envelope_and_the_id_of_its_command(
    autojump_clock: object, dialect: Any, arguments: str
) -> None:
    async with open_harness(Drone(), settings=Settings(dialect=dialect)) as harness:
        with harness.events() as events:
            first = await harness.call("drone/survey", message_id="m-7")
            await trio.sleep(2)
        assert first.success
        (second,) = [dict(one) for one in events]
        assert set(second) == {*ENVELOPE, arguments}
        assert (second["messageId"], second["command"]) == ("m-7", "/drone/survey")
        assert second["waitResponse"] is False
        outcome = {"guide": ("success", True), "host-0.2": ("status", "success")}[dialect]
        assert second[arguments] == {outcome[0]: outcome[1], "photos": 7}


@DIALECTS
async def test_plain_events_are_one_object_and_nothing_of_a_petals_overwrites_them(
    autojump_clock: object, dialect: str, arguments: str
) -> None:
    found = await seen_of(dialect, "fetch", "position", envelope="plain")
    common = {"published_stream_id", "timestamp", "deviceId"}
    jobs = [one for one in found if "job_id" in one]
    assert set(jobs[0]) - {"progress", "message", "fields"} == {
        *common,
        "command",
        "job_id",
        "state",
    }
    running = next(one for one in jobs if one.get("message"))
    assert (running["progress"], running["message"], running["fields"]) == (
        0.5,
        "half",
        {"files": 2},
    )
    assert (jobs[-1]["command"], jobs[-1]["state"]) == ("drone/fetch", "succeeded")
    assert jobs[-1]["result"] == {"command": "mine", "timestamp": "mine"}
    values = [one for one in found if "job_id" not in one]
    assert set(values[0]) == {*common, "stream", "value"}
    assert (values[0]["stream"], values[0]["published_stream_id"]) == ("drone/position", "s-1")
    assert values[0]["value"] == {"x": 1, "timestamp": "mine", "stream": "mine"}
    assert values[0]["timestamp"] != "mine"
    assert set(values[-1]) == {*common, "stream", "ended"}
    assert all(arguments not in one and "messageId" not in one for one in found)


async def test_to_renew_a_subscription_is_to_say_anew_how_it_is_told(
    autojump_clock: object,
) -> None:
    async with open_harness(Drone()) as harness:
        reader = {"subscribed_stream_id": "s-1", "data_rate_hz": 5}
        await harness.call("drone/subscribe_fetch", {**reader, "envelope": "plain"})
        await harness.call("drone/subscribe_fetch", reader)
        with harness.events() as events:
            await harness.call("drone/fetch")
            await trio.sleep(20)
        assert all("data" in one for one in events)
        wrong = await harness.call("drone/subscribe_fetch", {**reader, "envelope": "palin"})
        assert wrong["error_code"] == "INVALID_DATA"
