"""Where tasks rest: who is told, and that a word too early is none."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from petalkit.transports._line.rest import Rest

pytestmark = pytest.mark.trio


async def test_all_who_rest_are_woken_once() -> None:
    rest, woken = Rest(), 0

    async def wait() -> None:
        nonlocal woken
        while True:
            await rest.park()
            woken += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        for expected in (2, 4):
            await trio.testing.wait_all_tasks_blocked()
            rest.wake()
            rest.wake()
            await trio.testing.wait_all_tasks_blocked()
            assert woken == expected
        nursery.cancel_scope.cancel()


async def test_who_comes_after_a_word_waits_for_the_next(autojump_clock: object) -> None:
    rest = Rest()
    rest.wake()
    with trio.move_on_after(1) as scope:
        await rest.park()
    assert scope.cancelled_caught
    rest.wake()  # nobody is there any more
    assert not rest.taken
