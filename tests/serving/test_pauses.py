"""Pauses of reading: counted, and told once in a minute."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from petalkit import Settings
from petalkit._serving.pauses import Pauses
from petalkit.testing import open_harness

from .recorder import Recorder, settle

TIGHT: dict[str, Any] = {
    "petal_concurrency": 1,
    "channel_capacity": 1,
    "channel_reserve": 1,
}


def pause(pauses: Pauses, begin: float, end: float) -> None:
    pauses.begin(begin)
    pauses.tell(end)
    pauses.end(end)


def test_pauses_add_up_also_while_one_goes_on() -> None:
    pauses = Pauses(0.5)
    pause(pauses, 1.0, 1.25)
    pauses.begin(10.0)
    assert pauses.total(12.0) == 2.25


def test_many_short_ones_are_told_when_together_they_are_long(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pauses = Pauses(0.5)
    for n in range(1000):
        pause(pauses, n * 0.01, n * 0.01 + 0.002)
    [record] = caplog.records
    assert "reading has been paused for 0.5 s" in record.getMessage()
    assert record.levelname == "WARNING"


@pytest.mark.parametrize(("bound", "lines"), [(0.5, 2), (0.0, 0), (3.0, 0)])
def test_one_word_in_a_minute(bound: float, lines: int, caplog: pytest.LogCaptureFixture) -> None:
    pauses = Pauses(bound)
    for n in range(100):  # in two minutes
        pause(pauses, n * 1.2, n * 1.2 + 0.04)
    assert len(caplog.records) == lines


def test_short_ones_that_are_far_apart_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    pauses = Pauses(0.5)
    for n in range(100):
        pause(pauses, n * 61.0, n * 61.0 + 0.4)
    assert not caplog.records


@pytest.mark.trio
async def test_a_long_pause_is_told_while_it_lasts_and_counted(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(**TIGHT)) as harness:
        for n in range(10):
            harness.send("rec/hold", {"n": n})
        await settle()
        await trio.sleep(0.4)
        assert "reading has been paused" not in caplog.text
        await trio.sleep(0.2)
        assert "reading has been paused for 0.5 s" in caplog.text
        await trio.sleep(999.4)
        assert harness.statistics().paused_seconds == pytest.approx(1000, abs=0.01)
        assert caplog.text.count("reading has been paused") == 1
        petal.open()
        await settle()
        await trio.sleep(1000)
        assert harness.statistics().paused_seconds == pytest.approx(1000, abs=0.01)


@pytest.mark.trio
async def test_a_link_that_is_lost_in_a_pause_ends_it(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(**TIGHT)) as harness:
        for n in range(10):
            harness.send("rec/hold", {"n": n})
        await settle()
        await trio.sleep(10)
        harness.broker.refuse_connections()
        harness.drop_link()
        await trio.sleep(100)
        assert harness.statistics().paused_seconds == pytest.approx(10, abs=0.01)
        petal.open()
