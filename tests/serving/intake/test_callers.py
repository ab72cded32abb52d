"""A caller that sends very much holds up no other, where callers can be told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from petalkit import Properties, Settings
from petalkit.testing import open_harness

from ..on_disk import after_crash
from ..recorder import Recorder, settle, until

pytestmark = pytest.mark.trio

LOUD = Properties(user_properties=(("caller", "loud"),))
QUIET = Properties(user_properties=(("caller", "quiet"),))


def narrow(**others: Any) -> Settings:
    bounds = {"channel_capacity": 16, "petal_concurrency": 1, "protocol": "5"}
    return Settings(**{**bounds, **others})


class Steps(Recorder):
    """Each takes a second."""

    async def _hold(self, key: str, n: Any) -> dict[str, Any]:
        self.started.append(n)
        await trio.sleep(1)
        self.ended.append(n)
        return {"n": n}


@pytest.mark.parametrize(
    ("loud", "quiet"),
    [
        ({"properties": LOUD}, {"properties": QUIET}),
        (
            {"properties": Properties(response_topic="loud/answers")},
            {"properties": Properties(response_topic="quiet/answers")},
        ),
        ({"topic": "command"}, {"topic": "command/edge"}),
    ],
)
async def test_the_quiet_one_has_its_turn_in_memory(
    loud: Any, quiet: Any, autojump_clock: object
) -> None:
    petal = Steps()
    async with open_harness(petal, settings=narrow()) as harness:
        for n in range(10):
            harness.send("rec/hold", {"n": n}, **loud)
        await settle()
        harness.send("rec/hold", {"n": 100}, **quiet)
        await until(lambda: len(petal.ended) == 11)
    assert petal.started.index(100) <= 3
    assert [n for n in petal.started if n != 100] == list(range(10))


async def test_the_quiet_one_has_its_turn_on_disk(autojump_clock: object, path: Path) -> None:
    petal = Steps()
    async with open_harness(petal, settings=narrow(journal=path)) as harness:
        for n in range(200):
            harness.send("rec/hold", {"n": n}, properties=LOUD)
        await settle()
        for n in range(10):
            harness.send("rec/hold", {"n": 1000 + n}, properties=QUIET)
        await settle()
        await until(lambda: 1009 in petal.ended)
        assert len(petal.ended) <= 45
        await until(lambda: len(petal.ended) == 210)
    assert [n for n in petal.started if n < 1000] == list(range(200))
    assert [n for n in petal.started if n >= 1000] == [1000 + n for n in range(10)]


async def test_the_turns_of_what_an_earlier_run_has_left_are_the_same(
    autojump_clock: object, path: Path
) -> None:
    first = Steps()
    async with open_harness(first, settings=narrow(journal=path)) as harness:
        for n in range(200):
            harness.send("rec/hold", {"n": n}, properties=LOUD)
        harness.send("rec/hold", {"n": 1000}, properties=QUIET)
        await settle()
        crashed = after_crash(path)
    petal = Steps()
    async with open_harness(petal, settings=narrow(journal=crashed)) as harness:
        await until(lambda: 1000 in petal.ended)
        assert len(petal.ended) < 110  # the reading ahead is done before it is found
        await until(lambda: len(petal.ended) == 200)
    assert [n for n in petal.started if n < 1000] == list(range(1, 200))


async def test_where_all_is_full_there_is_a_place_for_the_quiet_one(
    autojump_clock: object,
) -> None:
    petal = Steps()
    async with open_harness(petal, settings=narrow(overflow="reject")) as harness:
        harness.send("rec/hold", {"n": 0}, properties=LOUD)
        await settle()
        for n in range(100):
            harness.send("rec/hold", {"n": 1 + n}, properties=LOUD)
        await settle()
        assert harness.statistics().refused == {"BUSY": 100 - 16}
        harness.send("rec/hold", {"n": 1000}, properties=QUIET)
        await settle()
        assert harness.statistics().refused == {"BUSY": 100 - 16}
        for n in range(100):  # names for each are no way around the bound
            name = Properties(user_properties=(("caller", f"forged {n}"),))
            harness.send("rec/hold", {"n": 2000 + n}, properties=name)
        await settle()
        assert harness.statistics().waiting == 18
        await until(lambda: 1000 in petal.ended)
        assert len(petal.ended) < 6


async def test_what_is_dropped_is_the_loud_ones(autojump_clock: object) -> None:
    petal = Steps()
    async with open_harness(petal, settings=narrow(overflow="drop-oldest")) as harness:
        harness.send("rec/hold", {"n": 0}, properties=LOUD)
        await settle()
        harness.send("rec/hold", {"n": 1000}, properties=QUIET)
        for n in range(100):
            harness.send("rec/hold", {"n": 1 + n}, properties=LOUD)
        await until(lambda: len(petal.ended) == 17)
    assert 1000 in petal.started


async def test_order_of_arrival_is_kept_where_that_is_set(autojump_clock: object) -> None:
    petal = Steps()
    async with open_harness(petal, settings=narrow(callers_max=0)) as harness:
        for n in range(10):
            harness.send("rec/hold", {"n": n}, properties=LOUD)
        harness.send("rec/hold", {"n": 100}, properties=QUIET)
        await until(lambda: len(petal.ended) == 11)
    assert petal.started[-1] == 100


@pytest.mark.parametrize("journal", [False, True])
async def test_a_response_topic_for_each_command_keeps_the_order_of_arrival(
    journal: bool, autojump_clock: object, path: Path
) -> None:
    petal = Steps()
    more = {"journal": path} if journal else {}
    async with open_harness(petal, settings=narrow(callers_max=4, **more)) as harness:
        for n in range(200):
            topic = Properties(response_topic=f"answers/{n}")
            harness.send("rec/hold", {"n": n}, properties=topic)
            if n % 10 == 0:
                await trio.sleep(3)
        await until(lambda: len(petal.ended) == 200)
    assert petal.started == list(range(200))
