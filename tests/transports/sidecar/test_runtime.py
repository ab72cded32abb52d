"""The runtime over the sidecar: what is taken back is not run, and what is lost is sent again."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from ..fake_sidecar import YES, Answer, Clock, FakeSidecar
from .device import BASE, answers, served

pytestmark = pytest.mark.trio

FULL: dict[str, Any] = {"channel_capacity": 1, "petal_concurrency": 1, "channel_reserve": 5}


async def test_what_was_taken_back_is_not_run_and_is_new_when_it_comes_again(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    async with served(sidecar, **FULL) as device:
        running = device.offer(1)
        await trio.testing.wait_all_tasks_blocked()
        waiting, held = device.offer(2), device.offer(3)
        assert (running.accepted, waiting.accepted, held.accepted) == (True, True, False)
        device.link.withdraw(held)
        statistics = device.runtime.statistics()
        assert (statistics.held, statistics.refused) == (0, {"BUSY": 1})
        device.petal.gate.set()
        await trio.sleep(1)
        assert device.petal.ran == [1, 2]
        assert device.offer(3).accepted
        await trio.sleep(1)
        assert device.petal.ran == [1, 2, 3]
        assert [one["messageId"] for one in answers(sidecar)] == ["m1", "m2", "m3"]


async def test_a_refusal_that_waits_for_a_place_is_not_said_of_what_was_taken_back(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    """It comes again, and has its answer then: the second would say no to what runs, perhaps."""
    gate = trio.Event()

    async def slow(fields: dict[str, Any]) -> Answer:
        await gate.wait()
        return YES

    async with served(sidecar, refusal_capacity=1, overflow="wait") as device:
        sidecar.answers["/publish"] = slow
        device.offer(1, command="stormy/nothing")
        held = device.offer(2, command="stormy/nothing")
        await trio.testing.wait_all_tasks_blocked()
        assert (held.accepted, device.runtime.statistics().held) == (False, 1)
        device.link.withdraw(held)
        assert device.runtime.statistics().held == 0
        gate.set()
        await trio.sleep(1)
        assert [one["messageId"] for one in answers(sidecar)] == ["m1"]


async def test_a_copy_of_what_is_held_makes_it_ours(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    async with served(sidecar, **FULL) as device:
        device.offer(1)
        await trio.testing.wait_all_tasks_blocked()
        device.offer(2)
        held, copy = device.offer(3), device.offer(3)
        assert (held.accepted, copy.accepted) == (True, True)
        device.petal.gate.set()
        await trio.sleep(1)
        assert device.petal.ran == [1, 2, 3]


async def test_what_is_held_at_a_stop_is_the_sidecars_to_send_again(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    async with served(sidecar, **FULL, grace=1.0) as device:
        device.offer(1)
        await trio.testing.wait_all_tasks_blocked()
        device.offer(2)
        held = device.offer(3)
        device.runtime.stop()
        await device.runtime.wait_stopped()
    assert not held.accepted
    assert held.over
    assert "m3" not in [one["messageId"] for one in answers(sidecar)]


async def test_with_hold_it_is_answered_at_a_stop(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    async with served(sidecar, **FULL, callback_when_full="hold") as device:
        device.offer(1)
        await trio.testing.wait_all_tasks_blocked()
        device.offer(2)
        held = device.offer(3)
        device.petal.gate.set()
        device.runtime.stop()
        await device.runtime.wait_stopped()
    assert held.accepted
    [answer] = [one for one in answers(sidecar) if one["messageId"] == "m3"]
    assert answer["error_code"] == "SHUTTING_DOWN"


async def test_handled_is_answered_when_it_is_handled(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    async with served(sidecar, acknowledge="handled") as device:
        offer = device.offer(1)
        await trio.testing.wait_all_tasks_blocked()
        assert not offer.accepted
        device.link.withdraw(offer)  # it took too long for the sidecar, and runs all the same
        again = device.offer(1)
        device.petal.gate.set()
        await trio.sleep(1)
        assert again.accepted
        assert device.petal.ran == [1]
        assert len(answers(sidecar)) == 1


async def test_no_number_of_lost_links_sets_an_answer_aside(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    async def never(fields: dict[str, Any]) -> Answer:
        if fields["topic"].endswith("/response"):
            await trio.sleep_forever()
        return YES

    sidecar.answers["/publish"] = never
    async with served(sidecar) as device:
        device.petal.gate.set()
        device.offer(1)
        await trio.sleep(1)
        for links in range(2, 8):
            sidecar.away = True
            sidecar.cut()
            while device.link is not None:
                await trio.sleep(0.1)
            sidecar.away = False
            with trio.fail_after(600):
                while device.runtime.statistics().links < links:
                    await trio.sleep(0.1)
        sidecar.answers["/publish"] = YES
        await trio.sleep(30)
        statistics = device.runtime.statistics()
        assert (statistics.publish_set_aside, statistics.outbox) == (0, 0)
        assert [one["messageId"] for one in answers(sidecar)] == ["m1"]


async def test_a_change_of_identity_leaves_the_old_topics(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    organization = "acme"
    async with served(sidecar, organization_source=lambda: organization) as device:
        device.petal.gate.set()
        organization = "other"
        await trio.sleep(20)
        base = "org/other/device/d"
        assert sidecar.topics("/unsubscribe") == [f"{BASE}/command", f"{BASE}/command/edge"]
        assert sidecar.topics("/subscribe")[-2:] == [f"{base}/command", f"{base}/command/edge"]
        offer = device.offer(1, base)
        await trio.sleep(1)
        assert offer.accepted
        assert len(answers(sidecar, base)) == 1
        statuses = [
            (body["topic"], body["payload"]["status"])
            for body in sidecar.bodies
            if body["topic"].endswith("/status")
        ]
        assert statuses == [
            (f"{BASE}/status", "online"),
            (f"{BASE}/status", "offline"),
            (f"{base}/status", "online"),
        ]


async def test_the_endpoint_stays_between_links_and_before_the_first(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    async with served(sidecar) as device:
        port = device.transport._port
        sidecar.away = True
        await trio.sleep(10)
        assert device.link is None
        assert device.transport._port == port > 0
    assert device.transport._port == 0
