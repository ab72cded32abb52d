"""Old commands after a restart: nobody knows how long the power was off, and so was the clock."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from petalkit.testing import open_harness
from petalkit.testing._harness import EPOCH
from petalkit.transports.memory import MemoryBroker

from ..on_disk import after_crash, settings
from ..recorder import Recorder, settle

pytestmark = pytest.mark.trio

USUAL = "org/acme/device/Instance-1/response"


def clock(seconds: float) -> Any:
    """A wall clock that began so long after `EPOCH`."""
    base = EPOCH.timestamp() + seconds
    return lambda: base + trio.current_time()


UNSET = clock(-EPOCH.timestamp())


async def left(path: Path, **others: Any) -> Path:
    """A journal in which a command waits that is wanted for 100 s, and one without an end."""
    petal = Recorder()
    one_slot = settings(path, petal_concurrency=1, **others)
    async with open_harness(petal, settings=one_slot) as harness:
        harness.send("rec/hold", message_id="runs")
        await settle()
        soon = (harness.now() + dt.timedelta(seconds=100)).isoformat()
        harness.send("rec/note", {"n": 1}, message_id="wanted for a time", expiresAt=soon)
        harness.send("rec/note", {"n": 2}, message_id="wanted always")
        await settle()
        crashed = after_crash(path)
        petal.open()
    return crashed


async def codes_after(path: Path, now: Any, **others: Any) -> dict[str, str]:
    """What the next run answers."""
    broker = MemoryBroker()
    with broker.observe(USUAL) as seen:
        async with open_harness(
            Recorder(), settings=settings(path, **others), broker=broker, now=now
        ):
            await settle()
        answers = [msgspec.json.decode(one.payload) for one in seen]
    found = {each["messageId"]: each.get("error_code", "ok") for each in answers}
    assert found.pop("runs") == "INTERRUPTED"
    return found


@pytest.mark.parametrize(
    ("now", "code"), [(clock(50), "ok"), (clock(150), "EXPIRED"), (UNSET, "UNAVAILABLE")]
)
async def test_what_can_expire_is_judged_after_a_restart_or_not_run(
    now: Any, code: str, autojump_clock: object, path: Path
) -> None:
    crashed = await left(path)
    assert await codes_after(crashed, now) == {"wanted for a time": code, "wanted always": "ok"}


@pytest.mark.parametrize(
    ("now", "code"), [(clock(50), "ok"), (clock(150), "EXPIRED"), (UNSET, "UNAVAILABLE")]
)
async def test_with_a_bound_on_age_all_are(
    now: Any, code: str, autojump_clock: object, path: Path
) -> None:
    age = {"command_age_max": 60}
    crashed = await left(path, **age)
    codes = await codes_after(crashed, now, **age)
    assert codes == {"wanted for a time": code, "wanted always": code}


@pytest.mark.parametrize(("rule", "code"), [("accept", "ok"), ("refuse", "UNAVAILABLE")])
async def test_what_waits_on_disk_in_one_run_is_dealt_with_as_in_memory(
    rule: Any, code: str, autojump_clock: object, path: Path
) -> None:
    wrong_by = 0.0
    petal = Recorder()
    few = settings(path, petal_concurrency=1, channel_capacity=1, clock_unset=rule)
    async with open_harness(
        petal, settings=few, now=lambda: EPOCH.timestamp() + trio.current_time() + wrong_by
    ) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", message_id="runs")
            await settle()
            harness.send("rec/note", message_id="waits")
            soon = (harness.now() + dt.timedelta(seconds=100)).isoformat()
            harness.send("rec/note", message_id="on disk", expiresAt=soon)
            await settle()
            wrong_by = -EPOCH.timestamp()
            petal.open()
            await settle()
            found = {each["messageId"]: each.get("error_code", "ok") for each in responses}
        assert found == {"runs": "ok", "waits": "ok", "on disk": code}


async def test_a_start_with_a_clock_years_ahead_forgets_no_duplicate(
    autojump_clock: object, path: Path
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=settings(path)) as harness:
        assert (await harness.call("rec/note", {"n": 1}, message_id="once")).success
    years = clock(5 * 365 * 86_400.0)
    async with open_harness(petal, settings=settings(path), now=years) as harness:
        assert (await harness.call("rec/note", {"n": 1}, message_id="once")).success
        assert harness.statistics().remembered == 1
    assert petal.started == [1]


async def test_a_second_start_with_such_a_clock_forgets_none_either(
    autojump_clock: object, path: Path
) -> None:
    """The records of the first are years ahead, and stand for no clock that can be trusted."""
    years = clock(5 * 365 * 86_400.0)
    for now, name in ((None, "once"), (years, "ahead"), (None, "set again")):
        how: dict[str, Any] = {} if now is None else {"now": now}
        async with open_harness(Recorder(), settings=settings(path), **how) as harness:
            assert (await harness.call("rec/note", {"n": 1}, message_id=name)).success
    async with open_harness(Recorder(), settings=settings(path), now=years) as harness:
        assert harness.statistics().remembered == 3
