"""A command as a message: what it says, until when it is wanted, and what is not sent."""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from petalkit import (
    ConfigError,
    PayloadError,
)
from petalkit._values.messages import Properties
from petalkit.client import CallTimeout, open_client
from petalkit.transports import Link
from petalkit.transports.memory import MemoryBroker, MemoryTransport

from .devices import (
    HOST,
    V5,
    connect,
    echo,
    open_device,
)

pytestmark = pytest.mark.trio


async def test_a_host_gets_its_arguments_under_its_own_name(broker: MemoryBroker) -> None:
    async with open_device(broker, echo), connect(broker, HOST) as client:
        got = (await client.call("p/x", {"a": 1}, message_id="m-1"))["got"]
        assert (await client.call("p/x"))["got"]["payload"] == {}
    assert got.pop("timestamp").endswith("Z")
    assert got.pop("expiresAt").endswith("Z")
    assert got == {
        "command": "p/x",
        "messageId": "m-1",
        "waitResponse": True,
        "deviceId": "Instance-1",
        "payload": {"a": 1},
    }


async def test_send_asks_for_no_response(broker: MemoryBroker) -> None:
    commands: list[dict[str, Any]] = []
    arrived = trio.Event()

    async def take(link: Link, command: dict[str, Any]) -> None:
        commands.append(command)
        arrived.set()

    async with open_device(broker, take), connect(broker) as client:
        await client.send("p/x", {"a": 1})
        await arrived.wait()
    assert commands[0]["waitResponse"] is False
    assert commands[0]["data"] == {"a": 1}


def without_reply(properties: Properties | None) -> Properties:
    """What a command says beside where it is to be answered."""
    assert properties is not None
    return attrs.evolve(properties, response_topic=None, correlation_data=None)


async def open_v5_call(broker: MemoryBroker, **arguments: Any) -> Properties | None:
    """Call over MQTT 5, and return the properties with which the command went out."""
    transport = MemoryTransport(broker, "5")
    with broker.observe("+/+/+/+/command") as seen:
        async with open_device(broker, echo), open_client(V5, transport=transport) as client:
            await client.call("p/x", **arguments)
        return without_reply(seen[0].properties)


@pytest.mark.parametrize(
    ("timeout", "expiry"), [(0.2, 2), (30.0, 31), (1e9, 1_000_000_001), (1e10, None), (None, None)]
)
async def test_over_mqtt_5_a_command_expires_when_its_caller_has_given_up(
    timeout: float | None, expiry: int | None, broker: MemoryBroker, autojump_clock: Any
) -> None:
    properties = await open_v5_call(broker, timeout=math.inf if timeout is None else timeout)
    assert properties == Properties(message_expiry=expiry)


async def test_a_command_expires_with_the_earliest_deadline_around_its_call(
    broker: MemoryBroker, autojump_clock: Any
) -> None:
    with trio.move_on_after(4):
        properties = await open_v5_call(broker, timeout=30)
        assert properties == Properties(message_expiry=5)


async def test_the_wait_for_a_place_on_the_link_is_taken_off_the_expiry(
    broker: MemoryBroker, autojump_clock: Any
) -> None:
    transport = MemoryTransport(broker, "5")
    settings = attrs.evolve(V5, publish_maximum=1)
    with broker.observe("+/+/+/+/command") as seen:
        async with (
            open_device(broker, echo),
            open_client(settings, transport=transport) as client,
            trio.open_nursery() as nursery,
        ):
            broker.delay = 7.0  # of the PUBACK, for which the second call waits
            for _ in range(2):
                nursery.start_soon(client.call, "p/x")
        assert [without_reply(message.properties) for message in seen] == [
            Properties(message_expiry=31),
            Properties(message_expiry=24),
        ]


async def test_user_properties_go_along(broker: MemoryBroker) -> None:
    pairs = [("trace", "1"), ("trace", "2")]
    properties = await open_v5_call(broker, user_properties=pairs)
    assert properties == Properties(message_expiry=31, user_properties=tuple(pairs))
    with broker.observe("+/+/+/+/command") as seen:
        async with open_client(V5, transport=MemoryTransport(broker, "5")) as client:
            await client.send("p/x", user_properties=[("a", "b")])
            await client.send("p/x")
        expected = [Properties(user_properties=(("a", "b"),)), Properties()]
        assert [without_reply(message.properties) for message in seen] == expected


async def test_user_properties_that_cannot_be_said_are_refused(broker: MemoryBroker) -> None:
    async with open_client(V5, transport=MemoryTransport(broker, "5")) as client:
        for pair in (("a\0", "b"), ("a", "\ud800"), ("a", "b" * 65_536)):
            with pytest.raises(ValueError, match=r".+"):
                await client.call("p/x", user_properties=[pair])
    async with connect(broker) as client:
        for ask in (client.call, client.send):
            with pytest.raises(ConfigError, match=r"3\.1\.1"):
                await ask("p/x", user_properties=[("a", "b")])


async def test_over_3_1_1_a_command_has_no_properties(broker: MemoryBroker) -> None:
    with broker.observe("+/+/+/+/command") as seen:
        async with open_device(broker, echo), connect(broker) as client:
            await client.call("p/x")
        assert seen[0].properties is None


@pytest.mark.parametrize(("expires_in", "timeout", "expiry"), [(2.5, 30, 4), (60, 30, 31)])
async def test_a_command_can_say_how_long_it_is_wanted(
    expires_in: float,
    timeout: float,
    expiry: int,
    broker: MemoryBroker,
    autojump_clock: Any,
) -> None:
    with broker.observe("+/+/+/+/command") as seen:
        async with (
            open_device(broker, echo),
            open_client(V5, transport=MemoryTransport(broker, "5")) as client,
        ):
            response = await client.call("p/x", timeout=timeout, expires_in=expires_in)
            await client.send("p/x", expires_in=expires_in)
            await client.send("p/x")
    got = response["got"]
    for command in (got, json.loads(seen[1].payload)):
        sent, over = map(datetime.fromisoformat, (command["timestamp"], command["expiresAt"]))
        assert (over - sent).total_seconds() == pytest.approx(expires_in, abs=0.002)
    assert [without_reply(message.properties) for message in seen] == [
        Properties(message_expiry=expiry),
        Properties(message_expiry=math.ceil(expires_in) + 1),
        Properties(),
    ]
    assert "expiresAt" not in json.loads(seen[2].payload)


async def test_over_3_1_1_the_device_alone_judges_how_long_it_is_wanted(
    broker: MemoryBroker,
) -> None:
    with broker.observe("+/+/+/+/command") as seen:
        async with open_device(broker, echo), connect(broker) as client:
            assert "expiresAt" in (await client.call("p/x", expires_in=1))["got"]
    assert seen[0].properties is None


async def test_a_command_whose_caller_gives_up_is_not_started_later(
    broker: MemoryBroker, autojump_clock: Any
) -> None:
    """With MQTT 3.1.1 too, where no broker drops it: what moves a gimbal comes in time or never."""
    with broker.observe("+/+/+/+/command") as seen:
        async with connect(broker) as client:
            with trio.move_on_after(2):
                await client.call("p/x")
            with pytest.raises(CallTimeout):
                await client.call("p/x", timeout=3)
            with pytest.raises(CallTimeout, match="however late"):
                await client.call("p/x", timeout=3, expires_in=math.inf)
    commands = [json.loads(message.payload) for message in seen]
    lives = [
        (datetime.fromisoformat(each["expiresAt"]) - datetime.fromisoformat(each["timestamp"]))
        for each in commands[:2]
    ]
    assert [round(life.total_seconds(), 1) for life in lives] == [2, 3]
    assert "expiresAt" not in commands[2]


@pytest.mark.parametrize("expires_in", [0, -1, math.nan, 1e10])
async def test_a_time_that_cannot_be_said_is_refused(
    expires_in: float, broker: MemoryBroker
) -> None:
    async with connect(broker) as client:
        with pytest.raises(ValueError, match="expires_in"):
            await client.call("p/x", expires_in=expires_in)
        with pytest.raises(ValueError, match="expires_in"):
            await client.send("p/x", expires_in=expires_in)


async def test_data_that_json_cannot_say_or_that_is_too_large_is_not_sent(
    broker: MemoryBroker,
) -> None:
    async with connect(broker) as client:
        with pytest.raises(PayloadError, match="cannot be encoded as JSON"):
            await client.call("p/x", {"a": object()})
        with pytest.raises(PayloadError, match="payload_max"):
            await client.send("p/x", {"a": "x" * 200_000})
