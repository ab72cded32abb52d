"""A runtime serves with a ledger that it has never heard of."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from petalkit import Settings
from petalkit._serving.dispatch.execution import Execution
from petalkit._serving.ledger.duplicate_window import DuplicateWindow
from petalkit.testing import open_harness

from ..recorder import Recorder, settle, unacknowledged
from .far_ledger import FarLedger

pytestmark = pytest.mark.trio


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> list[FarLedger[Execution]]:
    """The ledgers of the runtimes that are opened from here on."""
    made: list[FarLedger[Execution]] = []

    def make(settings: Settings, journal: Any) -> Any:
        window: DuplicateWindow[Execution] = DuplicateWindow(100, 3600.0, 100_000)
        made.append(FarLedger(window))
        return made[-1], made[-1].owed

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
