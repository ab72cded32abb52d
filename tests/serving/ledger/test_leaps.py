"""A wall clock that leaps, and files that are taken away, while a runtime uses the journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from petalkit.testing import open_harness
from petalkit.testing._harness import EPOCH
from petalkit.transports.memory import MemoryBroker

from ..on_disk import settings
from ..recorder import Recorder, settle

pytestmark = pytest.mark.trio

DAY = 86_400.0
COPIES = 40


async def flood(harness: Any, name: str) -> None:
    """So many that the journal looks what is too old."""
    for n in range(600):
        harness.send("rec/note", {"n": -1}, message_id=f"{name} {n}", waitResponse=False)
        if n % 50 == 0:
            await settle()
    await settle()


@pytest.mark.parametrize(
    "leaps", [[365 * DAY], [6 * DAY] * 2, [-365 * DAY, 365 * DAY, 365 * DAY]], ids=str
)
async def test_a_clock_that_leaps_for_two_seconds_makes_nothing_run_twice(
    autojump_clock: object, tmp_path: Path, leaps: list[float]
) -> None:
    ahead = 0.0
    petal = Recorder()
    async with open_harness(
        petal,
        settings=settings(tmp_path / "journal", replay_window=0),  # by age alone
        now=lambda: EPOCH.timestamp() + trio.current_time() + ahead,
    ) as harness:
        for n in range(COPIES):
            await harness.call("rec/note", {"n": n}, message_id=f"m{n}")
        await trio.sleep(2 * 3600)
        for leap in leaps:
            ahead += leap
            await flood(harness, str(ahead))
            await trio.sleep(2)
        ahead = 0.0
        await flood(harness, "again right")
        for n in range(COPIES):
            harness.send("rec/note", {"n": n}, message_id=f"m{n}")
        await settle()
    assert [petal.started.count(n) for n in range(COPIES)] == [1] * COPIES


async def test_a_second_runtime_does_not_run_beside_the_first_unnoticed(
    autojump_clock: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without its lock file a journal can be opened twice; the first steps back."""
    path = tmp_path / "journal"
    petal, other = Recorder(), Recorder()
    async with open_harness(petal, settings=settings(path)) as first:
        assert (await first.call("rec/note", {"n": 1})).success
        path.with_name("journal.lock").unlink()
        async with open_harness(other, settings=settings(path), broker=MemoryBroker()) as second:
            assert (await second.call("rec/note", {"n": 2})).success
            assert (await first.call("rec/note", {"n": 3})).error_code == "UNAVAILABLE"
            assert first.statistics().journal_failing
            assert (await first.call("rec/stop")).success
    assert "journal.lock was deleted or replaced while it was in use" in caplog.text
    assert (petal.started, other.started) == ([1, "stop"], [2])
