"""`exclusive` with `when_busy="wait"`: a lock between commands, taken in turn."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from petalkit import Petal, RegistrationError, Settings, command
from petalkit._authoring.registry import build_table
from petalkit.testing import open_harness

from ..recorder import settle

pytestmark = pytest.mark.trio


class Arm(Petal):
    """An arm that does one thing at a time, each for two seconds."""

    def __init__(self, name: str = "arm") -> None:
        self.name = name
        self.log: list[tuple[float, Any]] = []

    async def _work(self, what: Any) -> None:
        self.log.append((trio.current_time(), what))
        await trio.sleep(2)

    @command("move", exclusive="arm", when_busy="wait", timeout=3.0)
    async def move(self, n: int) -> None:
        await self._work(n)

    @command("grip", exclusive="arm", when_busy="wait", timeout=3.0)
    async def grip(self, n: int) -> None:
        await self._work(n)

    @command("park", exclusive="arm", timeout=3.0)
    async def park(self) -> None:
        await self._work("park")

    @command("stuck", exclusive="arm", when_busy="wait", timeout=3.0)
    async def stuck(self) -> None:
        await trio.sleep_forever()

    @command("ask")
    async def ask(self) -> None:
        self.log.append((trio.current_time(), "ask"))

    @command("stop", urgent=True)
    async def stop(self) -> None:
        self.log.append((trio.current_time(), "stop"))


async def test_commands_of_a_group_wait_for_their_turn_and_all_succeed(
    autojump_clock: object,
) -> None:
    petal = Arm()
    async with open_harness(petal) as harness:
        with harness.responses() as responses:
            for n, name in enumerate(["move", "grip", "grip", "move", "grip"]):
                harness.send(f"arm/{name}", {"n": n})
            found = await responses.wait(5)
        # The wait is longer than the timeout, which counts from the start.
        assert all(one["success"] for one in found)
        assert petal.log == [(2.0 * n, n) for n in range(5)]


async def test_who_waits_holds_up_nobody_else(autojump_clock: object) -> None:
    petal = Arm()
    async with open_harness(petal) as harness:
        for n in range(40):
            harness.send("arm/move", {"n": n})
        assert (await harness.call("arm/ask")).success
        assert (await harness.call("arm/stop")).success
        assert petal.log == [(0.0, 0), (0.0, "ask"), (0.0, "stop")] or petal.log == [
            (0.0, 0),
            (0.0, "stop"),
            (0.0, "ask"),
        ]
        assert harness.statistics().waiting == 39


async def test_the_group_is_one_for_all_petals_and_in_order(autojump_clock: object) -> None:
    one, two = Arm("one"), Arm("two")
    two.log = one.log
    async with open_harness(one, two) as harness:
        with harness.responses() as responses:
            for n in range(6):
                harness.send(f"{'one' if n % 3 else 'two'}/move", {"n": n})
            await responses.wait(6)
        assert one.log == [(2.0 * n, n) for n in range(6)]


async def test_one_that_does_not_wait_is_refused_as_before(autojump_clock: object) -> None:
    petal = Arm()
    async with open_harness(petal) as harness:
        harness.send("arm/move", {"n": 0})
        await settle()
        response = await harness.call("arm/park")
        assert response.error_code == "BUSY"
        assert response["running"]["command"] == "arm/move"
        harness.send("arm/move", {"n": 1})
        await trio.sleep(10)
        assert (await harness.call("arm/park")).success


async def test_one_that_fails_or_is_timed_out_gives_its_turn_on(autojump_clock: object) -> None:
    petal = Arm()
    async with open_harness(petal) as harness:
        harness.send("arm/stuck")
        await settle()
        assert (await harness.call("arm/move", {"n": 1})).success
        assert petal.log == [(3.0, 1)]


async def test_one_that_has_expired_at_its_turn_is_not_run(autojump_clock: object) -> None:
    petal = Arm()
    async with open_harness(petal) as harness:
        harness.send("arm/move", {"n": 0})
        await settle()
        soon = (harness.now() + dt.timedelta(seconds=1)).isoformat()
        response = await harness.call("arm/move", {"n": 1}, expiresAt=soon)
        assert response.error_code == "EXPIRED"
        assert petal.log == [(0.0, 0)]


async def test_those_who_wait_count_against_the_channel(autojump_clock: object) -> None:
    petal = Arm()
    settings = Settings(channel_capacity=3, overflow="reject")
    async with open_harness(petal, settings=settings) as harness:
        with harness.responses() as responses:
            for n in range(6):
                harness.send("arm/move", {"n": n})
                await settle()
            await responses.wait(6)
            codes = sorted(str(one.get("error_code")) for one in responses)
        assert codes == ["BUSY"] * 2 + ["None"] * 4


async def test_turns_are_taken_with_a_journal_too(autojump_clock: object, tmp_path: Path) -> None:
    petal = Arm()
    settings = Settings(journal=tmp_path / "device.journal")
    async with open_harness(petal, settings=settings) as harness:
        with harness.responses() as responses:
            for n in range(4):
                harness.send("arm/move", {"n": n})
            await responses.wait(4)
        assert petal.log == [(2.0 * n, n) for n in range(4)]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"when_busy": "wait"}, "when_busy='wait' needs the exclusive group"),
        ({"when_busy": "queue", "exclusive": "arm"}, "when_busy must be 'refuse' or 'wait'"),
        ({"when_busy": "wait", "exclusive": "arm", "urgent": True}, "urgent passes every limit"),
    ],
)
async def test_what_cannot_be_meant_is_refused(options: dict[str, Any], reason: str) -> None:
    petal = Arm()

    async def do() -> None: ...

    mark: Callable[..., None] = petal.add_command
    mark("do", do, **options)
    with pytest.raises(RegistrationError, match=reason):
        build_table([petal])
