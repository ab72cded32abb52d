"""What the journal keeps for a petal that is out of service: it waits for the next life."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from petalkit import Settings
from petalkit.testing import Harness, open_harness
from petalkit.transports.memory import MemoryBroker

from ..on_disk import Again, after_crash, settings
from ..recorder import Recorder, settle

pytestmark = pytest.mark.trio

RESPONSES = "org/acme/device/Instance-1/response"


class Plugged(Again):
    """A recorder of a device: `absent` starts do not find it, and `unplug` takes it away."""

    def __init__(self, name: str = "rec", absent: int = 0, error: type[Exception] = OSError):
        super().__init__(name)
        self.absent = absent
        self.error = error
        self.lives = 0

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        self.lives += 1
        if self.absent:
            self.absent -= 1
            raise self.error("not plugged in yet")
        self._gone = trio.Event()
        self.nursery.start_soon(self._watch)
        yield

    async def _watch(self) -> None:
        await self._gone.wait()
        raise OSError("it was unplugged")

    def unplug(self) -> None:
        self._gone.set()


async def left_behind(
    path: Path, numbers: Sequence[int] = (1, 2, 3), name: str = "rec/note", **fields: Any
) -> Path:
    """The journal of a run that has died with commands that had not started."""
    first = Recorder()
    async with open_harness(first, settings=settings(path, petal_concurrency=1)) as harness:
        harness.send("rec/brief", {"n": 0}, message_id="m0")
        await settle()
        for n in numbers:
            harness.send(name, {"n": n}, message_id=f"m{n}", **fields)
        await settle()
        assert first.started == [0]
        crashed = after_crash(path)
        first.open()
    return crashed


@contextlib.asynccontextmanager
async def restarting(
    *petals: Recorder, path: Path, broker: MemoryBroker | None = None, **others: Any
) -> AsyncGenerator[tuple[Harness, Any]]:
    broker = broker or MemoryBroker()
    with broker.observe(RESPONSES) as seen:
        async with open_harness(
            *petals, settings=settings(path, **others), broker=broker, restarts=True
        ) as harness:
            yield harness, seen


def codes(seen: Any) -> dict[str, Any]:
    """What each was answered; each once."""
    answers = [msgspec.json.decode(one.payload) for one in seen]
    found = {one["messageId"]: one.get("error_code") for one in answers}
    assert len(found) == len(answers)
    return found


async def test_what_an_earlier_run_has_left_waits_for_a_petal_that_is_not_plugged_in_yet(
    autojump_clock: object, path: Path
) -> None:
    crashed = await left_behind(path)
    petal = Plugged(absent=2)
    async with restarting(petal, path=crashed) as (harness, seen):
        await trio.sleep(2.9)  # started again after 1 s, and after 2 s more
        assert petal.started == []
        assert codes(seen) == {"m0": "INTERRUPTED"}
        assert harness.statistics().waiting == 3
        await trio.sleep(0.2)
        assert petal.started == [1, 2, 3]
        assert codes(seen) == {"m0": "INTERRUPTED", "m1": None, "m2": None, "m3": None}
        await trio.sleep(100)
        assert petal.started == [1, 2, 3]


async def test_when_the_petal_is_given_up_it_is_answered(
    autojump_clock: object, path: Path
) -> None:
    crashed = await left_behind(path)
    petal = Plugged(absent=99)
    async with restarting(petal, Recorder("other"), path=crashed, petal_restart_max=2) as (_, seen):
        await trio.sleep(2.9)
        assert codes(seen) == {"m0": "INTERRUPTED"}
        await trio.sleep(0.2)
        assert petal.lives == 3
        unavailable = dict.fromkeys(("m1", "m2", "m3"), "UNAVAILABLE")
        assert codes(seen) == {"m0": "INTERRUPTED", **unavailable}
    assert petal.started == []


@pytest.mark.parametrize("policy", ["never", "a mistake"])
async def test_what_waits_for_nothing_is_answered_at_once(
    policy: str, autojump_clock: object, path: Path
) -> None:
    crashed = await left_behind(path)
    petal = Plugged(absent=1, error=OSError if policy == "never" else TypeError)
    if policy == "never":
        petal.restart_policy = "never"
    async with restarting(petal, Recorder("other"), path=crashed) as (_, seen):
        await trio.sleep(0.5)
        assert list(codes(seen).values()) == ["INTERRUPTED", *["UNAVAILABLE"] * 3]


async def test_what_is_too_old_when_the_petal_is_back_is_not_run(
    autojump_clock: object, path: Path
) -> None:
    crashed = await left_behind(path, (1,), expiresAt="2026-01-01T00:00:02Z")
    petal = Plugged(absent=2)
    async with restarting(petal, path=crashed) as (_, seen):
        await trio.sleep(10)
        assert codes(seen)["m1"] == "EXPIRED"
    assert petal.started == []


async def test_what_comes_meanwhile_is_refused_and_a_copy_of_what_waits_joins_it(
    autojump_clock: object, path: Path
) -> None:
    crashed = await left_behind(path, (1,))
    petal = Plugged(absent=1)
    async with restarting(petal, path=crashed) as (harness, seen):
        await trio.sleep(0.5)
        fresh = await harness.call("rec/note", {"n": 9}, message_id="fresh")
        assert fresh.error_code == "UNAVAILABLE"
        assert fresh.retryable
        harness.send("rec/note", {"n": 1}, message_id="m1")
        await trio.sleep(1)
        assert harness.statistics().duplicates_joined == 1
        assert codes(seen)["m1"] is None
        assert petal.started == [1]
        assert (await harness.call("rec/note", {"n": 9}, message_id="fresh")).success
    assert petal.started == [1, 9]


async def test_other_petals_do_not_wait_for_it(autojump_clock: object, path: Path) -> None:
    crashed = await left_behind(path)
    other = Recorder("other")
    async with restarting(Plugged(absent=5), other, path=crashed) as (harness, _):
        await trio.sleep(0.1)
        assert (await harness.call("other/note", {"n": 7})).success
    assert other.started == [7]


async def test_a_stop_leaves_what_waits_to_the_next_start(
    autojump_clock: object, path: Path
) -> None:
    crashed = await left_behind(path)
    async with restarting(Plugged(absent=9), path=crashed) as (_, seen):
        await trio.sleep(0.5)
    assert codes(seen) == {"m0": "INTERRUPTED"}
    petal = Plugged()
    async with restarting(petal, path=crashed) as (_, seen):
        await trio.sleep(0.5)
        assert codes(seen) == {"m1": None, "m2": None, "m3": None}
    assert petal.started == [1, 2, 3]


async def test_what_waits_behind_others_when_the_petal_fails_is_kept_as_well(
    autojump_clock: object, path: Path
) -> None:
    """What runs is cancelled; what had not started is in the journal, also what is only there."""
    petal = Plugged()
    bounds = {"petal_concurrency": 1, "channel_capacity": 2}
    async with restarting(petal, path=path, **bounds) as (harness, seen):
        harness.send("rec/brief", {"n": 0}, message_id="m0")
        await settle()
        harness.send("rec/renew", {"n": 77}, message_id="unrecorded")
        for n in range(1, 6):
            harness.send("rec/note", {"n": n}, message_id=f"m{n}")
        await settle()
        assert harness.statistics().waiting_on_disk == 4
        petal.unplug()
        await trio.sleep(0.5)
        assert codes(seen) == {"m0": "UNAVAILABLE", "unrecorded": "UNAVAILABLE"}
        assert petal.started == [0]
        await trio.sleep(1)
        assert petal.started == [0, 1, 2, 3, 4, 5]
        assert {codes(seen)[f"m{n}"] for n in range(1, 6)} == {None}


async def test_without_a_journal_what_waits_is_refused_as_what_comes(
    autojump_clock: object,
) -> None:
    """What was read and not accepted yet, too."""
    petal = Plugged()
    bounds = Settings(petal_concurrency=1, channel_capacity=1)
    async with open_harness(petal, settings=bounds, restarts=True) as harness:
        with harness.responses() as responses:
            for name, n in (("brief", 0), ("note", 1), ("note", 2), ("note", 3)):
                harness.send(f"rec/{name}", {"n": n})
            await settle()
            assert (harness.statistics().waiting, harness.statistics().held) == (1, 2)
            petal.unplug()
            await trio.sleep(0.5)
            assert [one["error_code"] for one in responses] == ["UNAVAILABLE"] * 4
    assert petal.started == [0]


class Adding(Plugged):
    """Learns in its lifespan what it serves: two commands in its first life, one later."""

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        async with super().lifespan():
            life = self.lives

            async def added(n: int = 0) -> None:
                self.started.append((life, n))

            self.add_command("added", added)
            if life == 1:
                self.add_command("once", added)
            yield


async def test_what_has_waited_goes_to_the_handlers_of_the_new_life(
    autojump_clock: object, path: Path
) -> None:
    petal = Adding()
    async with restarting(petal, path=path, petal_concurrency=1) as (harness, seen):
        harness.send("rec/brief", message_id="m0")
        await settle()
        harness.send("rec/added", {"n": 1}, message_id="m1")
        harness.send("rec/once", {"n": 2}, message_id="m2")
        harness.send("rec/note", {"n": 3}, message_id="m3")
        await settle()
        petal.unplug()
        await trio.sleep(1.5)
        assert petal.started == [0, (2, 1), 3]
        assert codes(seen) == {"m0": "UNAVAILABLE", "m1": None, "m2": "UNKNOWN_COMMAND", "m3": None}


@pytest.mark.parametrize(("absent", "answer"), [(1, None), (9, "UNAVAILABLE")])
async def test_what_a_petal_adds_in_its_lifespan_is_expected_before_its_first_life(
    absent: int, answer: str | None, autojump_clock: object, path: Path
) -> None:
    first = Adding()
    async with open_harness(first, settings=settings(path, petal_concurrency=1)) as harness:
        harness.send("rec/brief", message_id="m0")
        await settle()
        harness.send("rec/added", {"n": 1}, message_id="m1")
        harness.send("rec/nothing", {"n": 2}, message_id="m2")
        await settle()
        crashed = after_crash(path)
        first.open()
    petal = Adding(absent=absent)
    async with restarting(petal, Recorder("other"), path=crashed, petal_restart_max=2) as (
        harness,
        seen,
    ):
        await trio.sleep(0.5)
        assert codes(seen) == {"m0": "INTERRUPTED"}
        assert (await harness.call("rec/added")).error_code == "UNAVAILABLE"
        assert (await harness.call("nobody/added")).error_code == "UNKNOWN_COMMAND"
        await trio.sleep(10)
        assert codes(seen)["m1"] == answer
        assert (await harness.call("rec/nothing")).error_code == "UNKNOWN_COMMAND"
    assert petal.started == ([(2, 1)] if answer is None else [])


async def test_one_that_is_given_up_after_all_leaves_nobody_waiting(
    autojump_clock: object, path: Path
) -> None:
    """Its lifespan leaves its task in disorder, after it was said that it is started again."""

    class Disorder(Plugged):
        @contextlib.asynccontextmanager
        async def lifespan(self) -> AsyncGenerator[None]:
            async with super().lifespan():
                try:
                    yield
                finally:
                    trio.CancelScope().__enter__()

    petal = Disorder()
    async with restarting(petal, Recorder("other"), path=path, petal_concurrency=1) as (
        harness,
        seen,
    ):
        harness.send("rec/brief", message_id="m0")
        await settle()
        harness.send("rec/note", {"n": 1}, message_id="m1")
        await settle()
        petal.unplug()
        await trio.sleep(100)
        assert codes(seen) == {"m0": "UNAVAILABLE", "m1": "UNAVAILABLE"}
        assert harness.statistics().waiting == 0
