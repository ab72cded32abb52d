"""A task beside a block: what comes out, and what stays."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from petalkit._serving.waiting import beside

pytestmark = pytest.mark.trio


async def test_what_the_block_raises_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with beside(trio.sleep_forever, "forever"):
            raise KeyError("mine")


async def test_the_task_ends_with_the_block() -> None:
    ended = trio.Event()

    async def run() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with beside(run, "forever"):
        await trio.testing.wait_all_tasks_blocked()
        assert not ended.is_set()
    assert ended.is_set()


async def test_a_task_that_fails_ends_the_block() -> None:
    async def fail() -> None:
        raise OSError("gone")

    with pytest.raises(ExceptionGroup) as failed:
        async with beside(fail, "short"):
            await trio.sleep_forever()
    assert failed.group_contains(OSError, match="gone")


async def test_a_cancellation_travels(autojump_clock: object) -> None:
    with trio.move_on_after(1) as scope:
        async with beside(trio.sleep_forever, "forever"):
            await trio.sleep_forever()
    assert scope.cancelled_caught
