"""A runtime serves with a ledger that it has never heard of."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio

from petalkit import Settings
from petalkit._serving.dispatch.execution import Execution
from petalkit._serving.ledger.remembered.duplicate_window import DuplicateWindow
from petalkit.testing import open_harness
from petalkit.transports.memory import MemoryBroker

from ..backlog_stories import copies_join_what_waits
from ..recorder import Recorder, settle, unacknowledged, until
from .far_ledger import FarLedger, FarStore

pytestmark = pytest.mark.trio


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> list[FarLedger[Execution]]:
    """The ledgers of the runtimes that are opened from here on."""
    made: list[FarLedger[Execution]] = []
    store = FarStore()

    def make(settings: Settings, *others: Any) -> Any:
        window: DuplicateWindow[Execution] = DuplicateWindow(100, 3600.0, 100_000)
        made.append(FarLedger(window, store))
        return made[-1]

    monkeypatch.setattr("petalkit._serving.wiring._make_ledger", make)
    return made


async def test_what_is_not_safe_is_neither_acknowledged_nor_started_nor_answered(
    autojump_clock: object, far: list[FarLedger[Execution]]
) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        (ledger,) = far
        with harness.responses() as responses:
            ledger.away = True
            harness.send("rec/note", {"n": 1})
            await settle()
            assert (unacknowledged(harness), petal.started) == (1, [])
            ledger.come_back()
            await settle()
            assert (unacknowledged(harness), petal.started) == (0, [1])
            assert [response["n"] for response in responses] == [1]
        assert [word for word, _ in ledger.log] == ["accepted", "started", "finished"]


async def test_an_answer_waits_for_its_end_to_be_safe(
    autojump_clock: object, far: list[FarLedger[Execution]]
) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        (ledger,) = far
        with harness.responses() as responses:
            harness.send("rec/hold", {"n": 1}, message_id="m")
            await settle()
            ledger.away = True
            petal.open()
            await settle()
            assert (petal.ended, len(responses)) == ([1], 0)
            harness.send("rec/hold", {"n": 1}, message_id="m")  # joins it
            await settle()
            ledger.come_back()
            await settle()
            assert len(responses) == 1
        assert petal.started == [1]


async def test_copies_get_the_answer_that_is_known_far_away(
    autojump_clock: object, far: list[FarLedger[Execution]]
) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        with harness.responses() as responses:
            for _ in range(3):
                harness.send("rec/note", {"n": 7}, message_id="m")
                await settle()
            assert [response["n"] for response in responses] == [7, 7, 7]
        assert petal.started == [7]


async def test_commands_of_a_petal_start_in_order_and_urgent_ones_at_once(
    autojump_clock: object, far: list[FarLedger[Execution]]
) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        (ledger,) = far
        ledger.away = True
        for n in range(5):
            harness.send("rec/note", {"n": n})
        harness.send("rec/stop")
        await settle()
        assert petal.started == ["stop"]
        ledger.come_back()
        await settle()
        assert petal.started == ["stop", 0, 1, 2, 3, 4]


async def test_a_stop_waits_for_what_is_on_its_way(
    autojump_clock: object, far: list[FarLedger[Execution]]
) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        with harness.responses() as responses:
            harness.send("rec/note", {"n": 1})
            await settle()
            harness.runtime.stop()
            await harness.runtime.wait_stopped()
            assert len(responses) == 1
    assert far[0].log[-1][0] == "finished"


async def test_what_is_not_safe_is_not_acknowledged_when_a_session_ends(
    autojump_clock: object, far: list[FarLedger[Execution]]
) -> None:
    async with open_harness(Recorder()) as harness:
        (ledger,) = far
        ledger.away = True
        harness.send("rec/note", {"n": 1})
        await settle()
        await harness.set_organization("other")
        await trio.sleep(0.1)
        assert unacknowledged(harness) == 1
        ledger.come_back()
        await settle()
        assert unacknowledged(harness) == 0


NARROW = {"channel_capacity": 2, "petal_concurrency": 1}


async def test_what_is_too_much_for_the_channel_waits_far_away_in_its_order(
    autojump_clock: object, far: list[FarLedger[Execution]]
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(**NARROW)) as harness:
        (ledger,) = far
        ledger.away = True
        for n in range(20):
            harness.send("rec/hold", {"n": n}, message_id=f"m{n}")
        await settle()
        assert unacknowledged(harness) == 20  # nothing of it is safe
        ledger.come_back()
        await settle()
        assert unacknowledged(harness) == 0
        statistics = harness.statistics()
        assert (statistics.waiting, statistics.waiting_on_disk) == (2, 17)
        assert [word for word, _ in ledger.log].count("kept") == 17
        assert (await harness.call("rec/stop")).success
        petal.open()
        await until(lambda: len(petal.ended) == 20)
        await settle()
        assert harness.statistics().waiting_on_disk == 0
    assert [n for n in petal.started if n != "stop"] == list(range(20))


async def test_a_copy_of_what_waits_far_away_joins_it(
    autojump_clock: object, far: list[FarLedger[Execution]]
) -> None:
    await copies_join_what_waits(Settings(**NARROW))


async def test_what_had_not_started_is_started_by_the_next_process(
    autojump_clock: object, far: list[FarLedger[Execution]]
) -> None:
    """What waited in the channel of the first process, and what waited far away only."""
    first = Recorder()
    async with open_harness(first, settings=Settings(**NARROW)) as harness:
        for n in range(10):
            harness.send("rec/hold", {"n": n}, message_id=f"m{n}")
        await settle()
        far[0].away = True  # what becomes of them in this process is never safe
        far[0].wait_written = trio.lowlevel.checkpoint  # type: ignore[method-assign]
    second = Recorder()
    second.open()
    broker = MemoryBroker()
    with broker.observe("org/acme/device/Instance-1/response") as seen:
        async with open_harness(second, settings=Settings(**NARROW), broker=broker) as harness:
            for n in range(10, 13):
                harness.send("rec/hold", {"n": n}, message_id=f"new-{n}")
            await until(lambda: len(second.ended) == 12)
            await settle()
            assert harness.statistics().restored == 9
        answered = [msgspec.json.decode(one.payload)["messageId"] for one in seen]
    assert first.started == [0]
    assert second.started == list(range(1, 13))
    assert sorted(answered) == sorted([*(f"m{n}" for n in range(10)), "new-10", "new-11", "new-12"])


async def test_what_an_earlier_process_was_running_is_interrupted(
    autojump_clock: object, far: list[FarLedger[Execution]]
) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        harness.send("rec/hold", {"n": 1}, message_id="m")
        await settle()
        far[0].away = True  # what becomes of it in this process is never safe
        far[0].wait_written = trio.lowlevel.checkpoint  # type: ignore[method-assign]
    broker = MemoryBroker()
    with broker.observe("org/acme/device/Instance-1/response") as seen:
        async with open_harness(Recorder(), broker=broker) as harness:
            await settle()
            (answer,) = (msgspec.json.decode(one.payload) for one in seen)
            assert (answer["messageId"], answer["error_code"]) == ("m", "INTERRUPTED")
            assert harness.statistics().interrupted == 1
            harness.send("rec/hold", {"n": 1}, message_id="m")
            await settle()
            assert len(seen) == 2  # the same again, and not run
    assert petal.started == [1]
