"""A handler that leaves a cancel scope or a nursery open is named at once, and hurts nobody."""

from __future__ import annotations

import logging

import pytest
import trio

from petalkit import Petal, command
from petalkit._serving.dispatch.left_open import innermost
from petalkit.testing import open_harness

from ..recorder import Recorder

pytestmark = pytest.mark.trio


class Leaves(Petal):
    name = "leaves"

    @command("scope")
    async def scope(self) -> None:
        trio.CancelScope().__enter__()

    @command("deadline")
    async def deadline(self) -> None:
        trio.move_on_after(1).__enter__()

    @command("nursery")
    async def nursery_(self) -> None:
        await trio.open_nursery().__aenter__()

    @command("tasks")
    async def tasks(self) -> None:
        nursery = await trio.open_nursery().__aenter__()
        nursery.start_soon(trio.sleep_forever)

    @command("failing")
    async def failing(self) -> None:
        async def fail() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise OSError("no camera")

        nursery = await trio.open_nursery().__aenter__()
        nursery.start_soon(fail)
        await trio.lowlevel.checkpoint()

    @command("late", timeout=1)
    async def late(self) -> None:
        await trio.open_nursery().__aenter__()
        await trio.sleep_forever()

    @command("urgent-nursery", urgent=True)
    async def urgent_nursery(self) -> None:
        nursery = await trio.open_nursery().__aenter__()
        nursery.start_soon(trio.sleep_forever)

    @command("raises")
    async def raises(self) -> None:
        trio.CancelScope().__enter__()
        raise ValueError("and more")

    @command("urgent", urgent=True)
    async def urgent(self) -> None:
        trio.CancelScope().__enter__()

    @command("fine")
    async def fine(self) -> None:
        with trio.CancelScope():
            async with trio.open_nursery():
                await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    "name", ["scope", "deadline", "nursery", "tasks", "raises", "urgent", "urgent-nursery"]
)
async def test_what_was_left_open_is_told_at_once_by_name(
    name: str, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    petal = Recorder()
    async with open_harness(Leaves(), petal) as harness:
        response = await harness.call(f"leaves/{name}")
        assert response.success == (name != "raises")
        assert (await harness.call("rec/note", {"n": 1})).success
        assert (await harness.call("leaves/fine")).success
        (told,) = [one for one in caplog.records if one.name == "petalkit.dispatcher"]
        assert told.levelno == logging.ERROR
        assert f"of petal 'leaves', for 'leaves/{name}', left a cancel scope" in told.getMessage()
        fields = vars(told)
        assert (fields["petal"], fields["command"]) == ("leaves", f"leaves/{name}")
        caplog.clear()
        for n in range(40):  # and the worker serves on
            assert (await harness.call("rec/note", {"n": n})).success
    assert not [one for one in caplog.records if one.name == "petalkit.dispatcher"]


@pytest.mark.parametrize("name", ["failing", "late"])
async def test_a_nursery_that_goes_wrong_ends_nobody_else(
    name: str, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_harness(Leaves(), Recorder()) as harness:
        response = await harness.call(f"leaves/{name}", timeout=10)
        assert response.error_code == (None if name == "failing" else "TIMEOUT")
        assert (await harness.call("rec/note", {"n": 1})).success
    assert f"for 'leaves/{name}', left a cancel scope" in caplog.text
    assert ("no camera" in caplog.text) == (name == "failing")


async def test_this_trio_tells_what_is_innermost() -> None:
    task = trio.lowlevel.current_task()
    before = innermost(task)
    assert before is not None
    with trio.CancelScope():
        await trio.lowlevel.checkpoint()
        assert innermost(task) is not before
    assert innermost(task) is before
