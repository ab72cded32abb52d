"""What keeps the event loop to itself for long is told, at a bounded rate."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from petalkit import Petal, command
from petalkit._serving import long_steps as module
from petalkit._serving.long_steps import INTERVAL, LONG, LongSteps
from petalkit._values.statistics import Counters
from petalkit.testing import open_harness


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_long_step_is_told_with_its_name_and_its_milliseconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, counters = Clock(), Counters()
    steps = LongSteps(counters, clock)
    began = clock()
    clock.now += LONG / 2
    steps.tell(began, "reading its data", {"command": "p/do"})
    assert counters.long_steps == 0
    clock.now += LONG
    steps.tell(began, "reading its data", {"command": "p/do"})
    assert counters.long_steps == 1
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "p/do: reading its data took 30 ms, in which nothing else could run"
    )


def test_many_of_them_are_counted_and_told_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    clock, counters = Clock(), Counters()
    steps = LongSteps(counters, clock)
    for _ in range(100):
        began = clock()
        clock.now += 1.0
        steps.tell(began, "reading its data", {"command": "p/do"})
    assert counters.long_steps == 100
    assert len(caplog.records) == 100 / INTERVAL
    assert "so did 9 other steps" in caplog.records[1].getMessage()


class Echo(Petal):
    name = "p"

    @command("echo")
    async def echo(self, items: list[int]) -> list[int]:
        return items


@pytest.mark.trio
async def test_each_step_of_a_large_command_is_looked_at_and_none_of_a_small_one(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    told: list[str] = []

    def tell(_: LongSteps, began: float, step: str, fields: Any) -> None:
        assert fields["command"] == "p/echo"
        told.append(step)

    monkeypatch.setattr(module.LongSteps, "tell", tell)
    async with open_harness(Echo()) as harness:
        await harness.call("p/echo", {"items": [1]})
        await harness.call("p/echo", {"items": ["x"]})
        assert told == []
        await harness.call("p/echo", {"items": [1] * 2000})
        await harness.call("p/echo", {"items": ["x"] * 2000})
    sizes = [step.split()[2] for step in told if step.startswith("decoding")]
    assert all(int(size) > 2000 for size in sizes)
    assert [step for step in told if not step.startswith("decoding")] == [
        "reading its data", "writing its result", "judging its data",
    ]  # fmt: skip
    assert len(sizes) == 2
