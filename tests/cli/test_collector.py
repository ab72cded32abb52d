"""Python's collector of cycles while a command starts."""

from __future__ import annotations

import gc

from petalkit._serving.process import collector

from .conftest import RunCli


def test_no_full_collections_until_it_is_woken() -> None:
    before = gc.get_threshold()
    collector.rest()
    collector.rest()
    young, middle, full = gc.get_threshold()
    assert (young, middle) == before[:2]
    assert full > 100_000
    collector.wake()
    assert gc.get_threshold() == before
    collector.wake()
    assert gc.get_threshold() == before


def test_what_a_petal_sets_while_it_rests_stays() -> None:
    before = gc.get_threshold()
    try:
        collector.rest()
        gc.set_threshold(50_000, 20, 100)
        collector.wake()
        assert gc.get_threshold() == (50_000, 20, 100)
        collector.rest()
        collector.wake()
        assert gc.get_threshold() == (50_000, 20, 100)
    finally:
        gc.set_threshold(*before)


def test_a_command_leaves_it_as_it_was(run_cli: RunCli) -> None:
    before = gc.get_threshold()
    assert run_cli("--version").code == 0
    assert gc.get_threshold() == before
