"""Replays: no copy of what ran a short while ago runs again, whatever is sent in between."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from petalkit import Properties, Settings
from petalkit.testing import open_harness
from petalkit.transports.memory import MemoryBroker

from ..on_disk import Again
from ..recorder import Recorder, settle

pytestmark = pytest.mark.trio

WINDOW = 120.0  # seconds, the default


class Flood:
    """Sends commands as a hostile caller does: cheap ones, and many."""

    def __init__(self, harness: Any) -> None:
        self._harness = harness
        self._sent = 0

    async def send(self, count: int, name: str = "rec/note", **data: object) -> None:
        for n in range(self._sent, self._sent + count):
            self._harness.send(name, {"n": 1, **data}, message_id=f"flood {n}", waitResponse=False)
            if n % 100 == 0:
                await settle()
        self._sent += count
        await settle()


def on_disk(path: Path, **others: Any) -> Settings:
    return Settings(journal=path, journal_thread=False, **others)


@pytest.fixture(params=["memory", "disk"])
def bounds(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Bounds that forget after a few; the same in memory and on disk."""
    if request.param == "memory":
        return {"duplicate_window": 10}
    return {"journal": tmp_path / "journal", "journal_thread": False, "journal_count": 10}


async def test_ten_thousand_cheap_commands_do_not_make_a_copy_run_again(
    autojump_clock: object, bounds: dict[str, Any]
) -> None:
    petal = Recorder()
    bounds = {key: value for key, value in bounds.items() if not key.endswith(("window", "count"))}
    async with open_harness(petal, settings=Settings(**bounds)) as harness:
        await harness.call("rec/note", {"n": 7}, message_id="take off")
        await Flood(harness).send(10_500)
        with harness.responses() as responses:
            harness.send("rec/note", {"n": 7}, message_id="take off")
            await settle()
        assert petal.started.count(7) == 1
        assert len(responses) == 1  # and it is no silence


@pytest.mark.parametrize("then", [WINDOW - 1, 2 * WINDOW])
async def test_a_record_that_was_pushed_out_stays_known_for_the_window(
    autojump_clock: object, bounds: dict[str, Any], then: float
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(**bounds)) as harness:
        flood = Flood(harness)
        await harness.call("rec/note", {"n": 7}, message_id="m")
        await flood.send(300)
        await trio.sleep(then)
        await flood.send(300)  # it is forgotten when others need its place
        harness.send("rec/note", {"n": 7}, message_id="m")
        await settle()
        assert petal.started.count(7) == (1 if then < WINDOW else 2)


async def test_what_is_known_only_by_its_id_is_refused_and_not_run(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(duplicate_window=10)) as harness:
        await harness.call("rec/note", {"n": 7}, message_id="m")
        await Flood(harness).send(50)
        with harness.responses() as responses:
            harness.send("rec/note", {"n": 7}, message_id="m")
            await settle()
        (answer,) = responses
        assert answer["error_code"] == "MESSAGE_ID_REUSED"
        assert harness.statistics().duplicates_answered == 1


@pytest.mark.parametrize("few", ["number", "bytes", "age"])
async def test_each_bound_of_the_duplicate_window_leaves_what_ran_known(
    autojump_clock: object, few: str
) -> None:
    bounds: dict[str, dict[str, Any]] = {
        "number": {"duplicate_window": 0},
        "bytes": {"duplicate_bytes": 0},
        "age": {"duplicate_age": 0.0},
    }
    petal = Recorder()
    async with open_harness(petal, settings=Settings(**bounds[few])) as harness:
        await harness.call("rec/note", {"n": 7}, message_id="m")
        await trio.sleep(WINDOW / 2)
        harness.send("rec/note", {"n": 7}, message_id="m")
        await settle()
        assert petal.started == [7]


async def test_with_too_many_in_the_window_commands_are_busy_and_urgent_ones_run(
    autojump_clock: object, bounds: dict[str, Any]
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(replay_count=20, **bounds)) as harness:
        await harness.call("rec/note", {"n": 7}, message_id="m")
        await Flood(harness).send(300)
        ran = len(petal.started)
        assert ran <= 20 + 10 + 1
        with harness.responses() as responses:
            harness.send("rec/note", {"n": 8}, message_id="later")
            harness.send("rec/stop", message_id="stop")
            harness.send("rec/note", {"n": 7}, message_id="m")
            await settle()
        codes = {each["messageId"]: each.get("error_code") for each in responses}
        assert (codes["later"], codes["stop"]) == ("BUSY", None)
        assert petal.started[ran:] == ["stop"]
        await trio.sleep(2 * WINDOW)
        assert (await harness.call("rec/note", {"n": 8}, message_id="later")).success


async def test_one_caller_who_fills_the_window_makes_no_other_busy(
    autojump_clock: object, bounds: dict[str, Any]
) -> None:
    petal = Recorder()
    settings = Settings(protocol="5", replay_count=1600, callers_max=4, **bounds)
    loud = Properties(user_properties=(("caller", "loud"),))
    quiet = Properties(user_properties=(("caller", "quiet"),))
    async with open_harness(petal, settings=settings) as harness:
        for n in range(2500):
            harness.send("rec/note", {"n": n}, properties=loud, waitResponse=False)
            if n % 100 == 0:
                await settle()
        await settle()
        assert len(petal.started) <= 1600 + 10 + 1600 // 16 // 5
        assert harness.statistics().refused["BUSY"] > 0
        with harness.responses() as responses:
            for n in range(20):
                harness.send("rec/note", {"n": 5000 + n}, properties=quiet)
                await settle()
            assert [answer["success"] for answer in responses] == [True] * 20
            # Names that are made up do not get more, all in all.
            for n in range(500):
                forged = Properties(user_properties=(("caller", f"new {n}"),))
                harness.send("rec/note", {"n": 6000 + n}, properties=forged)
                await settle()
            assert sum(bool(answer["success"]) for answer in responses) <= 1600 // 16


async def test_what_cannot_be_remembered_is_not_refused_for_those_that_are(
    autojump_clock: object, bounds: dict[str, Any]
) -> None:
    """Nothing is forgotten for one that is not recorded, as a lease's renewal, or has no ID."""
    petal = Again()
    async with open_harness(petal, settings=Settings(replay_count=20, **bounds)) as harness:
        await Flood(harness).send(300)
        assert not (await harness.call("rec/note", {"n": 8})).success
        if "journal" in bounds:
            assert (await harness.call("rec/renew", {"n": 9})).success
        else:
            harness.send_raw(b'{"command": "rec/note", "data": {"n": 9}}')
            await settle()
        assert petal.started[-1] == 9


async def test_what_was_parked_is_not_held_until_the_window_is_over(
    autojump_clock: object,
) -> None:
    """The broker's window would be shut for so long, with the emergency stop behind it."""
    petal = Recorder()
    settings = Settings(
        duplicate_window=0, replay_count=3, channel_capacity=1, petal_concurrency=1, overflow="wait"
    )
    async with open_harness(petal, settings=settings) as harness:
        for n in range(8):
            harness.send("rec/hold", {"n": n}, message_id=f"m{n}")
        await settle()
        petal.open()
        with trio.fail_after(WINDOW / 2), harness.responses() as responses:
            while len(responses) < 8:
                await trio.sleep(1)
        codes = [each.get("error_code") for each in responses]
        assert len(petal.started) == 3
        assert codes.count("BUSY") == 5


async def test_who_is_refused_for_the_size_of_the_journal_is_told_of_that_setting(
    autojump_clock: object, tmp_path: Path
) -> None:
    """Many small ones that stay."""
    settings = on_disk(tmp_path / "journal", journal_size=1 << 20)
    petal = Recorder()
    async with open_harness(petal, settings=settings) as harness:
        with harness.responses() as responses:
            for n in range(9000):
                harness.send("rec/note", {"n": n})
                if n % 50 == 0:
                    await settle()
            await trio.sleep(1)
            refused = {one["error"] for one in responses if not one["success"]}
        assert refused == {"the journal is full of what has run in a short time (journal_size)"}


async def test_what_can_have_no_copy_takes_no_place(
    autojump_clock: object, bounds: dict[str, Any]
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(replay_count=20, **bounds)) as harness:
        for n in range(600):
            harness.send_raw(b'{"command":"rec/note","data":{"n":%d}}' % n)
            await settle()
        assert len(petal.started) == 600
        if "journal" in bounds:
            with contextlib.closing(sqlite3.connect(bounds["journal"])) as file:
                ((left,),) = file.execute("SELECT count(*) FROM results").fetchall()
            assert left < 300
        assert (await harness.call("rec/note", {"n": 7}, message_id="m")).success


async def test_a_restart_forgets_nothing_of_the_window(
    autojump_clock: object, tmp_path: Path
) -> None:
    settings = on_disk(tmp_path / "journal", journal_count=10)
    petal = Recorder()
    async with open_harness(petal, settings=settings) as harness:
        await harness.call("rec/note", {"n": 7}, message_id="m")
        await Flood(harness).send(300)
    async with open_harness(petal, settings=settings) as harness:
        harness.send("rec/note", {"n": 7}, message_id="m")
        await settle()
        assert petal.started.count(7) == 1


async def test_large_ones_make_room_on_disk_and_stay_known(
    autojump_clock: object, tmp_path: Path
) -> None:
    """They lose payload and answer: or 6000 of 120 kB would shut the door for two minutes."""
    settings = on_disk(tmp_path / "journal", journal_size=1 << 20)
    petal = Recorder()
    broker = MemoryBroker()
    with broker.observe("org/acme/device/Instance-1/response") as seen:
        async with open_harness(petal, settings=settings, broker=broker) as harness:
            await harness.call("rec/note", {"n": 7}, message_id="m")
            for n in range(60):
                data = {"n": n + 100, "padding": "x" * 100_000}
                harness.send("rec/note", data, message_id=f"large {n}")
                await settle()
        async with open_harness(petal, settings=settings, broker=broker) as harness:
            for message_id in ("m", "large 0"):
                harness.send("rec/note", {"n": 7}, message_id=message_id)
                await settle()
    codes = [msgspec.json.decode(one.payload).get("error_code") for one in seen]
    assert codes.count("BUSY") == 0
    assert codes[-2:] == ["MESSAGE_ID_REUSED"] * 2
    assert petal.started == [7, *range(100, 160)]


async def test_a_batch_that_begins_below_the_bound_does_not_pass_it(
    autojump_clock: object,
) -> None:
    """What comes together is asked about together, before any of it is accepted."""
    petal = Recorder()
    settings = Settings(replay_count=5, duplicate_window=0)
    async with open_harness(petal, settings=settings) as harness:
        with harness.responses() as responses:
            for n in range(12):
                harness.send("rec/note", {"n": n}, message_id=f"m{n}")
            await settle()
        assert petal.started == [0, 1, 2, 3, 4]
        assert [each.get("error_code") for each in responses].count("BUSY") == 7
