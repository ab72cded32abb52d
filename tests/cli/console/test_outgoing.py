"""What waits for a page, with bounds."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from petalkit.cli._console import outgoing
from petalkit.cli._console.outgoing import Outgoing, TooSlow

pytestmark = pytest.mark.trio


async def test_items_are_taken_in_their_order(autojump_clock: object) -> None:
    waiting = Outgoing()
    waiting.answer(b"1")
    waiting.news(b"2")
    waiting.state(("job", "j"), b"3")
    assert await waiting.take() == [b"1", b"2", b"3"]


async def test_of_a_state_only_the_newest_waits(autojump_clock: object) -> None:
    waiting = Outgoing()
    for number in range(1000):
        waiting.state(("job", "j"), b"%d" % number)
    assert await waiting.take() == [b"999"]


async def test_the_oldest_values_make_room_and_are_counted(autojump_clock: object) -> None:
    waiting = Outgoing()
    waiting.answer(b"answer")
    for number in range(outgoing.NEWS_MAX + 5):
        waiting.news(b"%d" % number)
    taken = await waiting.take()
    assert taken[:2] == [b"answer", b"5"]
    assert len(taken) == outgoing.NEWS_MAX + 1
    assert waiting.dropped == 5


async def test_large_values_make_room_by_their_bytes(autojump_clock: object) -> None:
    waiting = Outgoing()
    for _ in range(10):
        waiting.news(b"x" * (outgoing.NEWS_BYTES_MAX // 4))
    assert waiting.dropped == 6


async def test_an_answer_is_never_dropped(autojump_clock: object) -> None:
    waiting = Outgoing()
    for number in range(5 * outgoing.NEWS_MAX):
        waiting.answer(b"%d" % number)
    assert len(await waiting.take()) == 5 * outgoing.NEWS_MAX
    assert waiting.dropped == 0


async def test_a_message_to_the_page_is_bounded(autojump_clock: object) -> None:
    waiting = Outgoing()
    with trio.fail_after(5):
        for _ in range(3):
            waiting.answer(b"x" * (outgoing.BATCH_BYTES_MAX // 2))
        assert [len(await waiting.take()) for _ in range(2)] == [2, 1]
        waiting.news(b"y" * 2 * outgoing.BATCH_BYTES_MAX)  # larger than a message by itself
        waiting.news(b"z")
        assert [len(await waiting.take()) for _ in range(2)] == [1, 1]
        waiting.news(b"z")
        assert await waiting.take() == [b"z"]


async def test_who_lets_too_much_wait_that_cannot_be_dropped_is_too_slow(
    autojump_clock: object,
) -> None:
    waiting = Outgoing()
    for _ in range(17):
        waiting.answer(b"x" * (outgoing.BYTES_MAX // 16))
    with pytest.raises(TooSlow):
        await waiting.take()


async def test_a_take_that_is_cancelled_takes_nothing(autojump_clock: object) -> None:
    waiting = Outgoing()
    with trio.move_on_after(1):
        await waiting.take()
    waiting.answer(b"1")
    with trio.CancelScope() as scope:
        scope.cancel()
        await waiting.take()
    assert await waiting.take() == [b"1"]


async def test_what_waits_for_a_page_that_takes_nothing_is_not_kept(
    autojump_clock: object,
) -> None:
    """Nobody looks at the bound while a message is being sent."""
    waiting = Outgoing()
    piece = b"x" * (1024 * 1024)
    kept: list[int] = []
    for number in range(200):
        waiting.answer(piece)
        waiting.state(("job", str(number)), piece)
        waiting.news(piece)
        kept.append(sum(map(len, waiting._items.values())))
    assert max(kept) <= outgoing.BYTES_MAX
    with pytest.raises(TooSlow):
        await waiting.take()
