"""What outlives the process: a crash is a copy of the journal, opened by the next runtime."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from petalkit.testing import open_harness
from petalkit.transports.memory import MemoryBroker

from ..on_disk import Again, Disk, after_crash, settings
from ..recorder import Recorder, settle, unacknowledged, until

pytestmark = pytest.mark.trio


async def crash_with_two(path: Path) -> Path:
    """What is left when the process dies while one command runs and another waits for it."""
    petal = Recorder()
    async with open_harness(petal, settings=settings(path, petal_concurrency=1)) as harness:
        for n in range(2):
            harness.send("rec/hold", {"n": n}, message_id=f"m{n}")
        await settle()
        crashed = after_crash(path)
        petal.open()
    return crashed


async def test_what_had_finished_is_answered_from_the_record(
    autojump_clock: object, path: Path
) -> None:
    first = Recorder()
    async with open_harness(first, settings=settings(path)) as harness:
        answered = await harness.call("rec/note", {"n": 1}, message_id="m")
    second = Recorder()
    async with open_harness(second, settings=settings(path)) as harness:
        again = await harness.call("rec/note", {"n": 1}, message_id="m")
        assert dict(again) == dict(answered)
        assert harness.statistics().duplicates_answered == 1
    assert (first.started, second.started) == ([1], [])


async def test_the_same_id_with_other_data_is_refused_after_a_restart(
    autojump_clock: object, path: Path
) -> None:
    async with open_harness(Recorder(), settings=settings(path)) as harness:
        await harness.call("rec/note", {"n": 1}, message_id="m")
    petal = Recorder()
    async with open_harness(petal, settings=settings(path)) as harness:
        response = await harness.call("rec/note", {"n": 2}, message_id="m")
    assert response.error_code == "MESSAGE_ID_REUSED"
    assert petal.started == []


async def test_what_was_running_is_interrupted_and_says_so(
    autojump_clock: object, path: Path
) -> None:
    broker = MemoryBroker()
    first = Recorder()
    async with open_harness(first, settings=settings(path)) as harness:
        harness.send("rec/hold", {"n": 1}, message_id="m")
        await settle()
        assert first.started == [1]
        crashed = after_crash(path)
        first.open()
    second = Recorder()
    second.open()
    with broker.observe("org/acme/device/Instance-1/response") as seen:
        async with open_harness(second, settings=settings(crashed), broker=broker) as harness:
            (message,) = await seen.wait(1)
            assert b'"error_code":"INTERRUPTED"' in message.payload
            assert b'"messageId":"m"' in message.payload
            assert harness.statistics().interrupted == 1
            copy = await harness.call("rec/hold", {"n": 1}, message_id="m")
            assert copy.error_code == "INTERRUPTED"
    assert second.started == []


async def test_what_may_be_run_again_is_run_again(autojump_clock: object, path: Path) -> None:
    broker = MemoryBroker()
    first = Again()
    async with open_harness(first, settings=settings(path)) as harness:
        harness.send("rec/again", {"n": 1}, message_id="m")
        await settle()
        crashed = after_crash(path)
        first.open()
    second = Again()
    second.open()
    with broker.observe("org/acme/device/Instance-1/response") as seen:
        async with open_harness(second, settings=settings(crashed), broker=broker):
            (message,) = await seen.wait(1)
            assert b'"success":true' in message.payload
    assert second.started == [1]


async def test_what_is_run_again_comes_before_what_had_not_started(
    autojump_clock: object, path: Path, disk: Disk
) -> None:
    """Also when its being put back takes longer to write than all else."""
    first = Again()
    async with open_harness(first, settings=settings(path, petal_concurrency=1)) as harness:
        for n in range(4):
            harness.send("rec/again", {"n": n}, message_id=f"m{n}")
        await settle()
        assert first.started == [0]
        crashed = after_crash(path)
        first.open()
    second = Again()
    second.open()
    disk.error = "slow"
    async with open_harness(second, settings=settings(crashed)) as harness:
        await settle()
        assert second.started == []
        disk.error = None
        await until(lambda: len(second.ended) == 4)
        assert harness.statistics().waiting_on_disk == 0
    assert second.started == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["rec/hold", "rec/again"])
async def test_a_copy_that_comes_before_what_was_running_is_taken_up(
    name: str, autojump_clock: object, path: Path, disk: Disk
) -> None:
    """It must not be taken for the first, and run."""
    first = Again()
    async with open_harness(first, settings=settings(path)) as harness:
        harness.send(name, {"n": 1}, message_id="m")
        await settle()
        crashed = after_crash(path)
        first.open()
    second = Again()
    second.open()
    disk.error = "slow"
    async with open_harness(second, settings=settings(crashed)) as harness:
        with harness.responses() as responses:
            harness.send(name, {"n": 1}, message_id="m")
            await settle()
            assert second.started == []
            assert unacknowledged(harness) == 0
            disk.error = None
            await trio.sleep(60)
            assert len(responses) == 1
    assert second.started == ([1] if name == "rec/again" else [])


async def test_what_kills_the_process_each_time_is_interrupted_in_the_end(
    autojump_clock: object, path: Path
) -> None:
    starts = 0
    for _ in range(3):
        petal = Again()
        async with open_harness(petal, settings=settings(path)) as harness:
            if not starts:
                harness.send("rec/again", {"n": 1}, message_id="m")
            await settle()
            starts += len(petal.started)
            path = after_crash(path)
            petal.open()
    petal = Again()
    async with open_harness(petal, settings=settings(path)) as harness:
        response = await harness.call("rec/again", {"n": 1}, message_id="m")
    assert response.error_code == "INTERRUPTED"
    assert starts == 3
    assert petal.started == []


async def test_what_had_not_started_starts_in_order(autojump_clock: object, path: Path) -> None:
    first = Recorder()
    one_at_a_time = settings(path, petal_concurrency=1)
    async with open_harness(first, settings=one_at_a_time) as harness:
        for n in range(5):
            harness.send("rec/hold", {"n": n}, message_id=f"m{n}")
        await settle()
        assert first.started == [0]
        assert unacknowledged(harness) == 0
        crashed = after_crash(path)
        first.open()
    second = Recorder()
    second.open()
    async with open_harness(second, settings=settings(crashed)) as harness:
        await until(lambda: len(second.ended) == 4)
        assert harness.statistics().restored == 4
    assert second.started == [1, 2, 3, 4]


async def test_a_stop_leaves_what_waits_to_the_next_start(
    autojump_clock: object, path: Path
) -> None:
    first = Recorder()
    async with open_harness(first, settings=settings(path, petal_concurrency=1)) as harness:
        with harness.responses() as responses:
            for n in range(3):
                harness.send("rec/hold", {"n": n}, message_id=f"m{n}")
            await settle()
            harness.runtime.stop()
            await settle()
            first.open()
            await harness.runtime.wait_stopped()
            assert [response["messageId"] for response in responses] == ["m0"]
    second = Recorder()
    second.open()
    async with open_harness(second, settings=settings(path)):
        await until(lambda: len(second.ended) == 2)
    assert second.started == [1, 2]


@pytest.mark.parametrize("after", [0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3])
async def test_a_stop_while_an_organization_is_left_acknowledges_nothing_that_it_cannot_answer(
    after: float, autojump_clock: object, path: Path
) -> None:
    """A refusal is in no journal. What comes when none leaves any more stays with its session."""
    broker, sent = MemoryBroker(window=1), 10
    async with open_harness(Recorder(), settings=settings(path), broker=broker) as harness:
        broker.delay = 0.2
        with broker.observe("org/acme/device/Instance-1/response") as seen:
            for n in range(sent):
                harness.send("rec/note", {"n": n}, message_id=f"m{n}")
            await harness.set_organization("other")
            await trio.sleep(0.3)
            await harness.set_organization("acme")
            await settle()
            await harness.set_organization("other")
            await trio.sleep(after)
            harness.runtime.stop()
            await harness.runtime.wait_stopped()
            assert harness.statistics().publish_unsent == 0
            session = broker.sessions["petalkit-acme-Instance-1"]
            assert len(seen) <= sent - session.queued - session.unacknowledged


async def test_a_response_that_did_not_leave_is_sent_by_the_next_run(
    autojump_clock: object, path: Path
) -> None:
    broker = MemoryBroker()
    petal = Recorder()
    async with open_harness(petal, settings=settings(path), broker=broker) as harness:
        harness.send("rec/hold", {"n": 1}, message_id="m")
        await settle()
        broker.drop_links()
        petal.open()
        await settle()
        assert harness.statistics().outbox == 1
        crashed = after_crash(path)
    with broker.observe("org/acme/device/Instance-1/response") as seen:
        async with open_harness(Recorder(), settings=settings(crashed), broker=broker) as harness:
            (message,) = await seen.wait(1)
            assert b'"n":1' in message.payload
            await settle()
            assert harness.statistics().outbox == 0
            assert harness.runtime._outbox.places.taken == 0
        # And once is enough.
        async with open_harness(Recorder(), settings=settings(crashed), broker=broker):
            await settle()
        assert len(seen) == 1


async def test_an_event_that_did_not_leave_is_sent_by_the_next_run(
    autojump_clock: object, path: Path
) -> None:
    broker = MemoryBroker()
    petal = Recorder()
    async with open_harness(petal, settings=settings(path), organization_id=None) as harness:
        await petal.publish_message({"level": 1}, durable=True)
        await petal.publish_message({"level": 2}, qos=0)
        await settle()
        assert harness.statistics().outbox == 2
    with broker.observe("org/acme/device/Instance-1/command/web") as seen:
        async with open_harness(Recorder(), settings=settings(path), broker=broker):
            await settle()
    assert [b'"level":1' in message.payload for message in seen] == [True]


async def test_busy_is_not_remembered(autojump_clock: object, path: Path) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=settings(path)) as harness:
        harness.send("rec/alone", {"n": 1}, message_id="m1")
        await settle()
        assert (await harness.call("rec/alone", {"n": 2}, message_id="m2")).error_code == "BUSY"
        crashed = after_crash(path)
        petal.open()
    second = Recorder()
    second.open()
    async with open_harness(second, settings=settings(crashed)) as harness:
        assert (await harness.call("rec/alone", {"n": 2}, message_id="m2")).success
    assert second.started == [2]


async def test_what_another_organization_had_sent_is_not_started(
    autojump_clock: object, path: Path
) -> None:
    broker = MemoryBroker()
    crashed = await crash_with_two(path)
    second = Recorder()
    second.open()
    with broker.observe("org/acme/device/Instance-1/response") as seen:
        async with open_harness(
            second, settings=settings(crashed), broker=broker, organization_id="other"
        ):
            answers = await seen.wait(2)
    codes = [b"INTERRUPTED" in answers[0].payload, b"CANCELLED" in answers[1].payload]
    assert codes == [True, True]
    assert second.started == []


async def test_what_is_left_waits_for_the_identity(autojump_clock: object, path: Path) -> None:
    crashed = await crash_with_two(path)
    second = Recorder()
    second.open()
    async with open_harness(second, settings=settings(crashed), organization_id=None) as harness:
        await trio.sleep(100)
        assert second.started == []
        await harness.set_organization("acme")
        await settle()
        assert second.started == [1]


async def test_a_command_whose_petal_is_gone_is_answered(
    autojump_clock: object, path: Path
) -> None:
    broker = MemoryBroker()
    crashed = await crash_with_two(path)
    with broker.observe("org/acme/device/Instance-1/response") as seen:
        async with open_harness(Recorder("new"), settings=settings(crashed), broker=broker):
            answers = await seen.wait(2)
    assert b"UNKNOWN_COMMAND" in answers[1].payload


async def test_without_a_journal_nothing_is_written(
    autojump_clock: object, tmp_path: Path, disk: Any
) -> None:
    async with open_harness(Recorder()) as harness:
        assert (await harness.call("rec/note")).success
    assert disk.batches == []
    assert os.listdir(tmp_path) == []
