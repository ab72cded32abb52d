"""Which response goes to which call, and all the endings of one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from petalkit import (
    Settings,
)
from petalkit._values.messages import Message
from petalkit.client import CallTimeout, Client
from petalkit.transports import Link
from petalkit.transports.memory import MemoryBroker

from .devices import (
    HOST,
    IDENTITY,
    SETTINGS,
    connect,
    echo,
    open_device,
    respond,
    silence,
)

pytestmark = pytest.mark.trio


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
        response = await client.request("p/x")
    assert not response.success
    assert response.error_code == "BUSY"


@pytest.mark.parametrize("settings", [SETTINGS, HOST], ids=["guide", "host-0.2"])
async def test_a_receipt_is_not_the_response(broker: MemoryBroker, settings: Settings) -> None:
    async def both(link: Link, command: dict[str, Any]) -> None:
        head = {"messageId": command["messageId"], "deviceId": "Instance-1"}
        await respond(link, {**head, "phase": "ack", "ackType": "service-received"})
        await respond(link, {**head, "phase": "result", "status": "error", "message": "no"})

    async with open_device(broker, both), connect(broker, settings) as client:
        response = await client.request("p/x")
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
        assert client.statistics().waiting == 0


async def test_a_cancelled_call_leaves_nothing_behind(
    broker: MemoryBroker, autojump_clock: Any
) -> None:
    async with open_device(broker, silence), connect(broker) as client:
        with trio.move_on_after(1) as scope:
            await client.call("p/x")
        assert scope.cancelled_caught
        assert client.statistics().waiting == 0


async def test_a_call_of_a_task_that_is_cancelled_already_is_cancelled(
    broker: MemoryBroker,
) -> None:
    async with open_device(broker, silence), connect(broker) as client:
        for ask in (client.call, client.request, client.send):
            with trio.CancelScope() as scope:
                scope.cancel()
                await ask("p/x")
            assert scope.cancelled_caught
        assert client.statistics().waiting == 0


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


async def test_the_time_of_a_call_is_told_as_a_person_would() -> None:
    for seconds, told in ((0.499992, "0.5 s"), (5.0, "5 s"), (86400.0, "86400 s")):
        error = CallTimeout("long/x", "m-1", seconds, sent=True, expires_at=None)
        assert f"within {told} (messageId" in str(error)
