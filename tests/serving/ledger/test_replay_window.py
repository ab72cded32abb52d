"""The replay window by itself, and what the duplicate window puts into it."""

from __future__ import annotations

from typing import Any

from petalkit._serving.ledger.remembered.duplicate_window import SPENT, DuplicateWindow, Finished
from petalkit._serving.ledger.remembered.replay_window import SLICES, URGENT_MAX, ReplayWindow
from petalkit._values.messages import Command


class Live:
    payload = b"{}"
    command = Command(command="c", message_id="m", topic="t")


def test_an_id_is_held_for_the_window_and_at_most_a_slice_longer() -> None:
    window = ReplayWindow(100.0, 1000)
    for n in range(1000):
        window.add(f"m{n}", float(n), urgent=False)
    assert all(window.holds(f"m{n}", 999.0) for n in range(899, 1000))
    assert not any(window.holds(f"m{n}", 999.0) for n in range(999 - 100 - 100 // SLICES - 1))
    assert window.size <= 100 + 100 / SLICES + 1


def test_it_is_full_by_what_is_coming_too_and_empties_with_time() -> None:
    window = ReplayWindow(100.0, 10)
    for n in range(8):
        window.add(f"m{n}", 0.0, urgent=False)
    assert not window.is_full(1.0, 1)
    assert window.is_full(1.0, 2)
    assert not window.is_full(151.0, 2)


def test_urgent_ones_neither_fill_it_nor_push_others_out() -> None:
    window = ReplayWindow(100.0, 10)
    window.add("m", 0.0, urgent=False)
    for n in range(URGENT_MAX + 1):
        window.add(f"stop {n}", 1.0, urgent=True)
    assert window.holds("m", 2.0)
    assert not window.is_full(2.0, 0)
    assert (window.holds("stop 0", 2.0), window.holds(f"stop {URGENT_MAX}", 2.0)) == (False, True)


def test_without_a_window_what_is_pushed_out_is_forgotten() -> None:
    window: DuplicateWindow[Any] = DuplicateWindow(1, 100.0, 1000, ReplayWindow(0.0, 1))
    for message_id in ("a", "b"):
        window.begin(message_id, Live())
        window.finish(message_id, b"", 0.0)
    assert "a" not in window
    assert not window.is_full(0.0)


def test_what_is_pushed_out_after_its_time_takes_no_place() -> None:
    window: DuplicateWindow[Any] = DuplicateWindow(1, 1000.0, 1000, ReplayWindow(100.0, 2))
    for message_id, at in (("a", 0.0), ("b", 200.0), ("c", 200.0)):
        window.begin(message_id, Live())
        window.finish(message_id, b"", at)
    assert window.finished("a", 200.0) is None
    assert window.finished("b", 201.0) is SPENT
    assert isinstance(window.finished("c", 201.0), Finished)
