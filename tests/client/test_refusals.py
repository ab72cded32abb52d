"""A broker that says no: now, until it is too late, or for good."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from petalkit import (
    RejectedByBroker,
)
from petalkit.client import Client, open_client
from petalkit.transports import Link
from petalkit.transports.memory import MemoryBroker, MemoryTransport

from .devices import (
    IDENTITY,
    V5,
    Answer,
    echo,
    open_device,
    silence,
)

pytestmark = pytest.mark.trio


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
