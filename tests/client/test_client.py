"""The client over the in-process broker: which response goes to which call, and all the endings."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from petalkit import (
    ConfigError,
    ConnectionLost,
    Identity,
    PayloadError,
    RejectedByBroker,
    Settings,
)
from petalkit._values.messages import Message, Properties
from petalkit._values.topics import TopicFilter
from petalkit.client import CallTimeout, Client, open_client
from petalkit.transports import ConnectOptions, Link
from petalkit.transports.memory import MemoryBroker, MemoryTransport

pytestmark = pytest.mark.trio

SETTINGS = Settings(organization_id="acme", device_id="Instance-1")
IDENTITY = Identity("acme", "Instance-1")
Answer = Callable[[Link, dict[str, Any]], Awaitable[None]]


@asynccontextmanager
async def open_device(broker: MemoryBroker, answer: Answer) -> AsyncIterator[None]:
    """A device of a few lines: hands every command to `answer`."""

    async def serve(link: Link) -> None:
        while True:
            for delivery in await link.receive():
                delivery.ack()
                await answer(link, json.loads(delivery.payload))

    async with (
        MemoryTransport(broker).connect(ConnectOptions(client_id="device")) as link,
        trio.open_nursery() as nursery,
    ):
        await link.subscribe([TopicFilter(IDENTITY.topic("command"))])
        nursery.start_soon(serve, link)
        yield
        nursery.cancel_scope.cancel()


async def respond(link: Link, fields: dict[str, Any]) -> None:
    await link.publish(Message(IDENTITY.topic("response"), json.dumps(fields).encode()))


async def echo(link: Link, command: dict[str, Any]) -> None:
    await respond(link, {"messageId": command["messageId"], "success": True, "got": command})


async def silence(link: Link, command: dict[str, Any]) -> None:
    pass


def connect(broker: MemoryBroker, settings: Settings = SETTINGS) -> Any:
    return open_client(settings, transport=MemoryTransport(broker))


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


async def test_a_call_gets_its_response(broker: MemoryBroker) -> None:
    async with open_device(broker, echo), connect(broker) as client:
        response = await client.call("p/x", {"a": 1}, message_id="m-1")
    assert response.success
    assert response.message_id == "m-1"
    got = response["got"]
    sent, over = (datetime.fromisoformat(got.pop(name)) for name in ("timestamp", "expiresAt"))
    assert (over - sent).total_seconds() == pytest.approx(30, abs=0.002)
    assert got == {
        "command": "p/x",
        "messageId": "m-1",
        "waitResponse": True,
        "deviceId": "Instance-1",
        "data": {"a": 1},
    }


async def test_a_no_is_a_response_too(broker: MemoryBroker) -> None:
    async def refuse(link: Link, command: dict[str, Any]) -> None:
        await respond(
            link,
            {"messageId": command["messageId"], "success": False, "error_code": "BUSY"},
        )

    async with open_device(broker, refuse), connect(broker) as client:
        response = await client.call("p/x")
    assert not response.success
    assert response.error_code == "BUSY"


HOST = attrs.evolve(SETTINGS, dialect="host-0.2")


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


@pytest.mark.parametrize("settings", [SETTINGS, HOST], ids=["guide", "host-0.2"])
async def test_a_receipt_is_not_the_response(broker: MemoryBroker, settings: Settings) -> None:
    async def both(link: Link, command: dict[str, Any]) -> None:
        head = {"messageId": command["messageId"], "deviceId": "Instance-1"}
        await respond(link, {**head, "phase": "ack", "ackType": "service-received"})
        await respond(link, {**head, "phase": "result", "status": "error", "message": "no"})

    async with open_device(broker, both), connect(broker, settings) as client:
        response = await client.call("p/x")
    assert (response.success, response.error) == (False, "no")


async def test_a_response_may_hold_a_phase_of_its_own(broker: MemoryBroker) -> None:
    async def moon(link: Link, command: dict[str, Any]) -> None:
        await respond(link, {"messageId": command["messageId"], "success": True, "phase": "ack"})

    async with open_device(broker, moon), connect(broker) as client:
        assert (await client.call("p/x"))["phase"] == "ack"


async def test_many_calls_at_once_each_get_their_own(broker: MemoryBroker) -> None:
    waiting: list[dict[str, Any]] = []

    async def backwards(link: Link, command: dict[str, Any]) -> None:
        waiting.append(command)
        if len(waiting) == 50:
            for held in reversed(waiting):
                await echo(link, held)

    answers: dict[int, int] = {}

    async def call(client: Client, number: int) -> None:
        response = await client.call("p/x", {"number": number})
        answers[number] = response["got"]["data"]["number"]

    async with (
        open_device(broker, backwards),
        connect(broker) as client,
        trio.open_nursery() as nursery,
    ):
        for number in range(50):
            nursery.start_soon(call, client, number)
    assert answers == {number: number for number in range(50)}


async def test_what_nobody_waits_for_is_ignored(broker: MemoryBroker) -> None:
    async def noisy(link: Link, command: dict[str, Any]) -> None:
        await respond(link, {"messageId": "somebody-else's", "success": False})
        await respond(link, {"messageId": ["unhashable"], "success": False})
        for payload in (b"\xff\xfe", b"[]", b"{", b"[" * 5000):
            await link.publish(Message(IDENTITY.topic("response"), payload))
        await echo(link, command)
        await echo(link, command)

    async with open_device(broker, noisy), connect(broker) as client:
        assert (await client.call("p/x")).success
        assert (await client.call("p/x")).success


async def test_no_answer_is_too_slow(broker: MemoryBroker, autojump_clock: Any) -> None:
    async with open_device(broker, silence), connect(broker) as client:
        started = trio.current_time()
        with pytest.raises(trio.TooSlowError) as late:
            await client.call("p/x", timeout=3.0, message_id="m")
        assert trio.current_time() - started == pytest.approx(3.0)
        assert isinstance(late.value, CallTimeout)
        assert late.value.message_id == "m"
        assert "does not start it after 20" in str(late.value)
        assert client._calls.waiting == {}


async def test_a_cancelled_call_leaves_nothing_behind(
    broker: MemoryBroker, autojump_clock: Any
) -> None:
    async with open_device(broker, silence), connect(broker) as client:
        with trio.move_on_after(1) as scope:
            await client.call("p/x")
        assert scope.cancelled_caught
        assert client._calls.waiting == {}


async def test_a_lost_link_fails_the_waiting_calls_and_the_next(broker: MemoryBroker) -> None:
    lost: list[str] = []

    async def call(client: Client) -> None:
        with pytest.raises(ConnectionLost):
            await client.call("p/x")
        lost.append("waiting")

    async with open_device(broker, silence), connect(broker) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(call, client)
            await trio.testing.wait_all_tasks_blocked()
            (name,) = (name for name in broker.sessions if name.startswith("petalkit-call-"))
            broker.drop_links(name)
        with pytest.raises(ConnectionLost):
            await client.call("p/x")
        with pytest.raises(ConnectionLost):
            await client.send("p/x")
    assert lost == ["waiting"] * 3


async def test_leaving_fails_the_calls_that_still_wait(broker: MemoryBroker) -> None:
    closed = trio.Event()

    async def call(client: Client) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await client.call("p/x")
        closed.set()

    async with open_device(broker, silence), trio.open_nursery() as nursery:
        async with connect(broker) as client:
            nursery.start_soon(call, client)
            await trio.testing.wait_all_tasks_blocked()
        await closed.wait()
        with pytest.raises(trio.ClosedResourceError):
            await client.send("p/x")


async def test_an_error_in_the_block_comes_out_as_it_is(broker: MemoryBroker) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with connect(broker):
            raise KeyError("mine")


async def test_a_message_id_cannot_be_waited_for_twice(broker: MemoryBroker) -> None:
    async with (
        open_device(broker, silence),
        connect(broker) as client,
        trio.open_nursery() as nursery,
    ):

        async def first() -> None:
            await client.call("p/x", message_id="m")

        nursery.start_soon(first)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ValueError, match="waits for messageId 'm' already"):
            await client.call("p/x", message_id="m")
        nursery.cancel_scope.cancel()


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


V5 = Settings(organization_id="acme", device_id="Instance-1", protocol="5")


async def open_v5_call(broker: MemoryBroker, **arguments: Any) -> Properties | None:
    """Call over MQTT 5, and return the properties with which the command went out."""
    transport = MemoryTransport(broker, "5")
    with broker.observe("+/+/+/+/command") as seen:
        async with open_device(broker, echo), open_client(V5, transport=transport) as client:
            await client.call("p/x", **arguments)
        return seen[0].properties


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
        assert [message.properties for message in seen] == [
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
        assert [message.properties for message in seen] == expected


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
    assert [message.properties for message in seen] == [
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


async def test_a_call_that_never_got_a_place_says_that_it_was_not_sent(
    broker: MemoryBroker, autojump_clock: Any
) -> None:
    settings = attrs.evolve(SETTINGS, publish_maximum=1)
    async with connect(broker, settings) as client, trio.open_nursery() as nursery:
        broker.delay = 60  # of the first one's PUBACK
        nursery.start_soon(client.call, "p/x")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(CallTimeout, match="it was not sent"):
            await client.call("p/x", timeout=3)
        nursery.cancel_scope.cancel()


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
        with pytest.raises(PayloadError, match="cannot be said in JSON"):
            await client.call("p/x", {"a": object()})
        with pytest.raises(PayloadError, match="payload_max"):
            await client.send("p/x", {"a": "x" * 200_000})


async def test_the_devices_session_is_never_taken_over(broker: MemoryBroker) -> None:
    """Two clients and a device under one identity: three sessions, two of which leave nothing."""
    settings = Settings(organization_id="acme", device_id="Instance-1", client_id="device")
    async with open_device(broker, echo):
        async with connect(broker, settings) as one, connect(broker, settings) as two:
            assert (await one.call("p/x")).success
            assert (await two.call("p/x")).success
            assert all(len(name) <= 23 for name in broker.sessions)
            assert len(broker.sessions) == 3
        assert list(broker.sessions) == ["device"]


async def test_without_an_organization_it_says_what_to_set(
    broker: MemoryBroker, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(device_id="d", organization_file=tmp_path / "none.json")
    with pytest.raises(ConfigError, match=r"organization_id: is not known.*none\.json"):
        async with connect(broker, settings):
            raise AssertionError


# -- a broker that says "not now"

V5 = attrs.evolve(SETTINGS, protocol="5")


@asynccontextmanager
async def refusing(answer: Answer, code: int) -> AsyncIterator[tuple[Client, MemoryBroker]]:
    broker = MemoryBroker()
    async with (
        open_device(broker, answer),
        open_client(V5, transport=MemoryTransport(broker, "5")) as client,
    ):
        broker.reject_publish(IDENTITY.topic("command"), code)
        yield client, broker


@pytest.mark.parametrize("code", [0x97, 0x80, 0x83])
async def test_a_call_that_is_refused_for_now_is_sent_again_as_the_same(
    code: int, autojump_clock: object
) -> None:
    seen: list[str] = []

    async def answer(link: Link, command: dict[str, Any]) -> None:
        seen.append(command["messageId"])
        await echo(link, command)

    async with refusing(answer, code) as (client, broker), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def later() -> None:
            await trio.sleep(5)
            broker.reject_publish(IDENTITY.topic("command"), None)

        response = await client.call("p/c", message_id="the-same")
        assert response.success
        assert seen == ["the-same"]


async def test_a_call_that_is_refused_until_its_time_is_over_says_so(
    autojump_clock: object,
) -> None:
    async with refusing(silence, 0x97) as (client, _):
        with pytest.raises(RejectedByBroker) as caught:
            await client.call("p/c", timeout=10.0)
        assert caught.value.reason_code == 0x97
        assert trio.current_time() == pytest.approx(10.0)


async def test_a_call_that_was_taken_at_last_and_not_answered_is_too_slow(
    autojump_clock: object,
) -> None:
    async with refusing(silence, 0x97) as (client, broker), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def later() -> None:
            await trio.sleep(5)
            broker.reject_publish(IDENTITY.topic("command"), None)

        with pytest.raises(trio.TooSlowError):
            await client.call("p/c", timeout=60.0)


async def test_a_call_that_will_never_be_taken_fails_at_once(autojump_clock: object) -> None:
    async with refusing(silence, 0x87) as (client, _):
        with pytest.raises(RejectedByBroker):
            await client.call("p/c")
        assert trio.current_time() == 0


async def test_an_answer_that_comes_although_the_command_was_refused_counts(
    autojump_clock: object,
) -> None:
    """RabbitMQ 4.3.6 passes on what it answers with 0x83."""
    async with refusing(silence, 0x83) as (client, broker), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def deliver() -> None:
            await trio.sleep(0.1)
            broker.publish_nowait(
                IDENTITY.topic("response"), b'{"messageId": "7", "success": true}'
            )

        assert (await client.call("p/c", message_id="7")).success
        assert trio.current_time() < 1
