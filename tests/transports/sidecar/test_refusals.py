"""A message that the sidecar answers no: whether it is at fault itself, or the sidecar is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from petalkit import RejectedByBroker

from ..fake_sidecar import NO, YES, Answer, Clock, FakeSidecar, connected, message
from .device import answers, served

pytestmark = pytest.mark.trio

BUSY: Answer = (503, b"{}")


def refuse(*numbers: int, answer: Answer = NO) -> Callable[[dict[str, Any]], Any]:
    """An answer to `/publish` that takes everything but these."""

    async def publish(fields: dict[str, Any]) -> Answer:
        await trio.lowlevel.checkpoint()
        return answer if fields["payload"].get("n") in numbers else YES

    return publish


def tries(sidecar: FakeSidecar, topic: str) -> list[float]:
    return [at for at, path, one in sidecar.asked if (path, one) == ("/publish", topic)]


@pytest.mark.parametrize("answer", [NO, BUSY], ids=["success false", "503"])
async def test_one_that_is_refused_while_those_behind_it_are_taken_gives_way(
    autojump_clock: Clock, sidecar: FakeSidecar, answer: Answer
) -> None:
    sidecar.answers["/publish"] = refuse(1, answer=answer)
    done: dict[int, object] = {}
    async with connected(sidecar, publish_timeout=60.0) as link:
        for n in range(1, 9):
            link.publish_nowait(message(n), lambda error, n=n: done.update({n: error}))
        await trio.sleep(14)
        assert not done, "it is too early to say"
        await trio.sleep(30)
        assert 1 not in done
        assert len(done) <= 2, "the order is kept but for what has to be tried"
        await trio.sleep(15)
        assert isinstance(done.pop(1), RejectedByBroker)
        assert list(done.items()) == [(n, None) for n in range(2, 9)]
        assert sidecar.published() == list(range(2, 9))


async def test_two_that_are_refused_one_behind_the_other_give_way(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    sidecar.answers["/publish"] = refuse(1, 2)
    done: dict[int, object] = {}
    async with connected(sidecar, publish_timeout=60.0) as link:
        for n in range(1, 12):
            link.publish_nowait(message(n), lambda error, n=n: done.update({n: error}))
        await trio.sleep(150)
        assert isinstance(done.pop(1), RejectedByBroker)
        assert isinstance(done.pop(2), RejectedByBroker)
        assert sidecar.published() == list(range(3, 12))


async def test_other_topics_show_it_as_well(autojump_clock: Clock, sidecar: FakeSidecar) -> None:
    sidecar.answers["/publish"] = refuse(1)
    done: list[object] = []
    async with connected(sidecar, publish_timeout=60.0) as link:
        link.publish_nowait(message(1), done.append)
        for n in range(2, 12):
            await trio.sleep(6)
            await link.publish(message(n, "b"))
        assert isinstance(done[0], RejectedByBroker)


async def test_one_that_is_alone_is_sent_again_and_again(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    sidecar.answers["/publish"] = NO
    done: list[object] = []
    async with connected(sidecar, publish_timeout=60.0) as link:
        await trio.sleep(1)
        link.publish_nowait(message(1), done.append)
        await trio.sleep(1000)
        assert not done
        assert tries(sidecar, "a/response")[-1] > 990


async def test_a_sidecar_without_a_broker_costs_no_message_anything(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    done: list[object] = []
    async with connected(sidecar, publish_timeout=60.0) as link:
        sidecar.answers["/publish"] = refuse(0)
        link.publish_nowait(message(0), done.append)
        await trio.sleep(1)
        await link.publish(message(9, "b"))  # so that one try counts
        await trio.sleep(10)
        sidecar.answers["/publish"] = NO
        for n in range(1, 5):
            link.publish_nowait(message(n), done.append)
            link.publish_nowait(message(n, "b"), done.append)
        await trio.sleep(300)
        sidecar.answers["/publish"] = refuse(0)  # the others are back a moment before it
        await trio.sleep(6)
        sidecar.answers["/publish"] = YES
        await trio.sleep(6)
        assert done == [None] * 9


async def test_one_try_after_an_outage_is_not_enough(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    done: list[object] = []
    async with connected(sidecar, publish_timeout=60.0) as link:
        sidecar.answers["/publish"] = NO
        link.publish_nowait(message(1), done.append)
        await trio.sleep(58)
        sidecar.answers["/publish"] = refuse(1)
        await link.publish(message(2, "b"))
        await trio.sleep(6)
        assert tries(sidecar, "a/response")[-1] > 58
        sidecar.answers["/publish"] = YES
        await trio.sleep(6)
        assert done == [None]


async def test_a_try_that_began_before_the_recovery_says_nothing(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    async def hang(_: object) -> Answer:
        await trio.sleep_forever()
        raise AssertionError

    done: list[object] = []
    sidecar.answers["/publish"] = hang
    async with connected(sidecar, publish_timeout=60.0) as link:
        link.publish_nowait(message(1), done.append)
        await trio.sleep(61)
        sidecar.answers["/publish"] = YES
        await link.publish(message(2, "b"))
        await trio.sleep(20)
        assert done == [None]


async def test_one_that_waits_is_tried_at_once_when_another_is_taken(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    async def seldom(_: object) -> Answer:
        await trio.lowlevel.checkpoint()
        return YES if trio.current_time() % 20 > 19 else NO

    done: list[object] = []
    sidecar.answers["/publish"] = seldom
    async with connected(sidecar, publish_timeout=60.0) as link:
        await trio.sleep(2)
        link.publish_nowait(message(1), done.append)
        await trio.sleep(37.5)
        assert not done
        await link.publish(message(2, "b"))
        await trio.testing.wait_all_tasks_blocked()
        assert done == [None]


async def test_two_moments_close_together_are_one_and_not_enough(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    sidecar.answers["/publish"] = refuse(1)
    done: list[object] = []
    async with connected(sidecar, publish_timeout=60.0) as link:
        link.publish_nowait(message(1), done.append)
        await trio.sleep(1)
        for n in (2, 3, 4):
            await link.publish(message(n, "b"))
            await trio.sleep(1)
        await trio.sleep(50)
        assert len(tries(sidecar, "a/response")) > 5
        assert not done


async def test_others_that_are_busy_do_not_have_it_tried_without_a_pause(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    sidecar.answers["/publish"] = refuse(1)
    async with connected(sidecar, publish_timeout=60.0) as link:
        link.publish_nowait(message(1), lambda _: None)
        for n in range(2, 200):
            await trio.sleep(0.1)
            await link.publish(message(n, "b"))
        assert len(tries(sidecar, "a/response")) < 25


async def test_one_that_waits_for_its_next_try_occupies_no_lane(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    sidecar.answers["/publish"] = refuse(1)
    done: list[object] = []
    async with connected(sidecar, sidecar_publish_concurrency=1) as link:
        link.publish_nowait(message(1), done.append)
        await trio.sleep(8)
        asked = trio.current_time()
        for n in range(2, 20):
            await link.publish(message(n, "b"))
        assert trio.current_time() == asked
        assert not done


async def test_a_refused_response_neither_ends_the_link_nor_holds_up_the_others(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    async def publish(fields: dict[str, Any]) -> Answer:
        await trio.lowlevel.checkpoint()
        return NO if fields["payload"].get("messageId") == "m1" else YES

    sidecar.answers["/publish"] = publish
    async with served(sidecar) as device:
        device.petal.gate.set()
        device.offer(1)
        await trio.sleep(1)
        for n in range(2, 7):
            device.offer(n)
        await trio.sleep(300)
        statistics = device.runtime.statistics()
        assert (statistics.links, statistics.publish_rejected, statistics.outbox) == (1, 1, 0)
        taken = sorted(one["messageId"] for one in answers(sidecar))
        assert taken == ["m2", "m3", "m4", "m5", "m6"]
