"""Which devices there are, what one serves, and how little of what they say is believed."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
import trio

from petalkit import Petal, Settings, TopicError
from petalkit._values.codec import Limits
from petalkit.client import UnknownCommand
from petalkit.client._long.jobs import read_update
from petalkit.client._reading.devices import PETALS_MAX, read_status
from petalkit.client._reading.info import PARTS_MAX, read_info
from petalkit.client._reading.web import Event, read_web
from petalkit.transports.memory import MemoryBroker

from .devices import SETTINGS, connect
from .long_work import LongPetal, client_session, device_and_client

LIMITS = Limits(100_000, 32, 200)
END = {"ended": True}


def say(broker: MemoryBroker, device_id: str, status: Any = "online", **more: Any) -> None:
    topic = f"org/acme/device/{device_id}/status"
    payload = json.dumps({"status": status, **more}).encode()
    broker.publish_nowait(topic, payload, retain=True)


@pytest.mark.trio
async def test_devices_are_found_by_their_retained_status(
    broker: MemoryBroker, autojump_clock: object
) -> None:
    say(broker, "b", petals=[{"name": "camera", "version": "1.2"}], schema_hash="abc")
    say(broker, "a", "offline")
    broker.publish_nowait("org/other/device/c/status", b'{"status": "online"}', retain=True)
    async with connect(broker) as client:
        first, second = await client.devices()
        assert (first.device_id, first.online) == ("a", False)
        assert (second.device_id, second.online) == ("b", True)
        assert (second.petals, second.schema_hash) == ({"camera": "1.2"}, "abc")
        say(broker, "a")
        broker.publish_nowait("org/acme/device/b/status", b"", retain=True)
        await trio.sleep(1)  # what comes later is known when it has come
        (only,) = await client.devices()
        assert (only.device_id, only.online) == ("a", True)


@pytest.mark.trio
async def test_a_device_in_service_says_its_petals(autojump_clock: object) -> None:
    async with device_and_client() as (harness, client):
        (device,) = await client.devices()
        assert (device.device_id, device.online) == ("Instance-1", True)
        assert list(device.petals) == ["long"]
        async with client.events():  # listens to its status by itself
            harness.runtime.stop()
            await harness.runtime.wait_stopped()
            (device,) = await client.devices()
            assert not device.online


@pytest.mark.trio
async def test_devices_are_known_across_links(autojump_clock: object) -> None:
    async with device_and_client() as (harness, client):
        await client.devices()
        harness.broker.drop_links(client_session(harness))
        say(harness.broker, "late")
        await trio.sleep(60)
        assert [one.device_id for one in await client.devices()] == ["Instance-1", "late"]


@pytest.mark.trio
async def test_the_number_of_devices_is_bounded(
    broker: MemoryBroker, autojump_clock: object
) -> None:
    for n in range(20):
        say(broker, f"d-{n}")
    for n in range(3):
        say(broker, f"x-{n}", 7)
    async with connect(broker, attrs.evolve(SETTINGS, call_devices=5)) as client:
        assert len(await client.devices()) == 5
        assert client.statistics().devices_dropped == 15
        assert client.statistics().unreadable == 3


@pytest.mark.trio
async def test_no_devices_are_no_error(broker: MemoryBroker, autojump_clock: object) -> None:
    async with connect(broker) as client:
        assert await client.devices() == []
        with pytest.raises(TopicError):
            await client.call("p/x", device="a/b")


@pytest.mark.parametrize("base", ["{organization_id}/{device_id}", "x/dev-{device_id}/{device_id}"])
@pytest.mark.trio
async def test_devices_are_found_under_any_base_topic(
    base: str, broker: MemoryBroker, autojump_clock: object
) -> None:
    settings = Settings(organization_id="acme", device_id="me", base_topic=base)
    topic = base.format(organization_id="acme", device_id="found")
    broker.publish_nowait(f"{topic}/status", b'{"status":"online"}', retain=True)
    broker.publish_nowait("x/dev-one/other/status", b'{"status":"online"}', retain=True)
    async with connect(broker, settings) as client:
        assert [one.device_id for one in await client.devices()] == ["found"]


# -- info


@pytest.mark.trio
async def test_a_device_says_what_it_serves(autojump_clock: object) -> None:
    async with device_and_client() as (_, client):
        info = await client.info()
        assert info.complete
        assert {"long/hello", "long/copy", "long/cancel_copy"} <= set(info.commands)
        assert info.jobs == ["long/copy"]
        assert info.streams == ["long/broken", "long/position", "long/short"]
        hello = info.schema("long/hello")
        assert hello is not None
        assert hello["data"]["properties"]["name"]["default"] == "World"
        assert info.schema("long/none") is None
        assert (await client.devices())[0].schema_hash == info.schema_hash
        assert (await client.info("Instance-1", petal="long")).commands == info.commands


@pytest.mark.trio
async def test_what_is_too_much_for_one_message_is_asked_for_in_parts(
    autojump_clock: object,
) -> None:
    class Many(Petal):
        name = "many"

    async def one() -> None: ...

    petal = Many()
    for n in range(2000):
        petal.add_command(f"a-rather-long-name-of-a-command-{n}", one)
    async with device_and_client(petal) as (_, client):
        info = await client.info()
        assert not info.complete
        assert len([name for name in info.commands if name.startswith("many/")]) == 2000


@pytest.mark.trio
async def test_a_device_that_knows_no_info_is_unknown(autojump_clock: object) -> None:
    async with device_and_client() as (_, client):
        with pytest.raises(UnknownCommand):
            await client.call("petalkit/none")


@pytest.mark.trio
async def test_a_device_that_always_says_that_there_is_more_is_not_asked_for_ever() -> None:
    asked: list[dict[str, Any]] = []

    async def ask(data: dict[str, Any]) -> dict[str, Any]:
        asked.append(data)
        return {"next": "a", "commands": ["a", 7], "petals": 5, "petalkit": {}, "jobs": None}

    info = await read_info(ask, None)
    assert len(asked) == PARTS_MAX + 1
    assert (info.commands, list(info.petals), info.petalkit) == (["a"], [], "")


# -- what is believed


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"status": 1}',
        b'{"status": "' + b"x" * 300 + b'"}',
        b"[" * 999,
    ],
)
def test_a_status_without_sense_is_none(payload: bytes) -> None:
    assert read_status(payload, "d", LIMITS) is None


def test_little_is_kept_of_a_long_status() -> None:
    petals = [{"name": f"p-{n}", "version": "v" * 1000} for n in range(1000)]
    said = {"status": "online", "petals": petals, "timestamp": "t" * 1000, "schema_hash": 7}
    found = read_status(json.dumps(said).encode(), "d", Limits(10**7, 32, 200))
    assert found is not None
    assert len(found.petals) == PETALS_MAX
    assert set(found.petals.values()) == {""}
    assert (found.timestamp, found.schema_hash) == (None, None)


@pytest.mark.parametrize(
    ("fields", "stream_id", "value", "ended"),
    [
        ({"data": {"published_stream_id": "s", "stream_payload": 7}}, "s", 7, False),
        (
            {"payload": {"published_stream_id": "s", "stream_payload": {"ended": True}}},
            "s",
            ...,
            True,
        ),
        ({"published_stream_id": "s", "value": {"ended": True}}, "s", {"ended": True}, False),
        ({"published_stream_id": "s", "ended": True}, "s", ..., True),
        ({"data": {"published_stream_id": 7, "stream_payload": 7}}, None, None, False),
        ({"data": {"published_stream_id": "s"}}, None, None, False),
        ({"data": 7, "command": ["x"], "messageId": {}}, None, None, False),
    ],
)
def test_what_a_reader_is_told_is_understood_in_both_envelopes(
    fields: dict[str, Any], stream_id: str | None, value: Any, ended: bool
) -> None:
    found = read_web(json.dumps(fields).encode(), "d", LIMITS)
    if stream_id is None:
        assert isinstance(found, Event)
        assert isinstance(found.command, str)
    else:
        assert not isinstance(found, Event)
        assert (found.stream_id, found.ended) == (stream_id, ended)
        assert value is ... or found.value == value


@pytest.mark.parametrize(
    "fields",
    [None, 7, {}, {"job_id": 7, "state": "running"}, {"job_id": "j", "state": "flying"}],
)
def test_what_is_no_report_of_a_job_is_none(fields: Any) -> None:
    assert read_update(fields) is None


@pytest.mark.parametrize(
    ("said", "found"), [(0.5, 0.5), (7, 1.0), (-1, 0.0), (True, None), ("1", None), (None, None)]
)
def test_progress_is_from_0_to_1(said: Any, found: float | None) -> None:
    update = read_update({"job_id": "j", "state": "running", "progress": said, "fields": 7})
    assert update is not None
    assert update.progress == found
    assert update.details == {}


@pytest.mark.trio
async def test_what_makes_no_sense_is_counted_and_ends_nothing(autojump_clock: object) -> None:
    async with device_and_client(LongPetal()) as (harness, client):
        async with client.events() as events, client.job("long/copy") as job:
            for payload in (b"\xff", b"[]", b"{", b"7", b"{" * 500):
                harness.broker.publish_nowait("org/acme/device/Instance-1/command/web", payload)
                harness.broker.publish_nowait("org/acme/device/Instance-1/response", payload)
            assert await job.result() == {"copied": 3}
            await client.call("long/hello")
            assert (await anext(events)).command == "/long/greeted"
        assert client.statistics().unreadable == 10
