"""A schedule is the same for the same seed, and has every kind of fault in it."""

from __future__ import annotations

from .faults import ACTIONS, DOWN, KINDS, UP, Cut, Duplicate, Fault, Refuse, Schedule, Swallow
from .packets import Kind


def test_the_same_seed_gives_the_same_faults_every_time() -> None:
    schedule = Schedule(7, count=50)
    assert list(schedule) == list(schedule) == list(Schedule(7, count=50))
    assert list(schedule) != list(Schedule(8, count=50))


def test_every_kind_comes_before_any_comes_again() -> None:
    faults = list(Schedule(3, count=len(KINDS)))
    assert {type(fault.action) for fault in faults} == set(ACTIONS)
    swallowed = {(f.direction, f.kind) for f in faults if isinstance(f.action, Swallow)}
    assert {(DOWN, Kind.CONNACK), (DOWN, Kind.SUBACK)} <= swallowed
    assert any(kind is Kind.PUBACK for _, kind in swallowed)


def test_only_the_kinds_that_are_asked_for() -> None:
    faults = list(Schedule(1, count=40, kinds=["duplicate"], gap=(2, 4)))
    assert len(faults) == 40
    assert {fault.action for fault in faults} == {Duplicate(True), Duplicate(False)}
    assert {fault.nth for fault in faults} == {2, 3, 4}


def test_what_is_swallowed_is_followed_by_a_cut() -> None:
    faults = list(Schedule(5, count=30, kinds=["swallow-puback"]))
    for swallow, cut in zip(faults[::2], faults[1::2], strict=True):
        assert isinstance(swallow.action, Swallow)
        assert cut.action == Cut()
        assert cut.kind is Kind.PUBLISH


def test_faults_have_names_for_reports() -> None:
    assert Fault(Cut("middle"), UP, Kind.PUBACK, 4).name == "cut middle PUBACK up"
    assert Fault(Refuse(2, "connack"), UP, Kind.PUBACK).name == "refuse connack"
