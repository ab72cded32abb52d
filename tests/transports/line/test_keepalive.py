"""The watchdog, as times on paper."""

from __future__ import annotations

import math

import pytest

from petalkit.transports._line.keepalive import KeepAlive
from petalkit.transports._line.patience import LONGEST_WAIT, LinePatience
from petalkit.transports._line.send_queue import Outflow


def test_a_quiet_link_is_pinged_and_an_answer_starts_anew() -> None:
    watch = KeepAlive(20, now=100)
    assert watch.deadline() == 120
    assert watch.due(119.9) is None
    assert watch.due(120) == "ping"
    watch.pinged(120)
    watch.heard(121)
    assert watch.deadline() == 140  # since the PINGREQ was sent
    assert watch.due(131) is None


def test_silence_after_a_ping_is_death_after_one_and_a_half_keep_alives() -> None:
    watch = KeepAlive(20, now=100)
    watch.pinged(120)
    assert watch.deadline() == 130
    assert watch.due(129.9) is None
    assert watch.due(130) == "dead"


def test_who_only_sends_still_asks_whether_anybody_is_there() -> None:
    watch = KeepAlive(20, now=100)
    watch.sent(119)
    assert watch.due(120) == "ping"
    watch.pinged(120)
    watch.sent(129)
    assert watch.due(130) == "dead"


def test_a_ping_behind_much_is_judged_from_when_that_last_moved() -> None:
    watch = KeepAlive(20, now=100)
    watch.sent(119, more=True)
    assert watch.due(120) == "ping"
    watch.pinged(120)
    watch.sent(129, more=True)
    assert watch.due(138.9) is None
    assert watch.due(139) == "dead"  # it has stalled
    watch.sent(138)  # and if not, that was the last of it
    assert watch.due(139) == "dead"


def test_who_only_hears_still_sends() -> None:
    watch = KeepAlive(20, now=100)
    watch.heard(119)
    assert watch.due(120) == "ping"


def test_while_paused_it_sends_and_does_not_judge() -> None:
    watch = KeepAlive(20, now=100)
    watch.pinged(120)
    watch.pause()
    assert watch.due(139.9) is None
    assert watch.due(140) == "ping"
    watch.pinged(140)
    assert watch.due(10_000) == "ping"


def test_after_a_pause_it_judges_from_its_end_on() -> None:
    watch = KeepAlive(20, now=100)
    watch.pinged(120)
    watch.pause()
    watch.pinged(140)
    watch.resume(150)
    assert watch.due(159.9) is None
    assert watch.due(160) == "dead"
    watch.heard(160)
    assert watch.due(160) == "ping"  # 20 seconds since the last one


def test_a_short_keep_alive_is_patient_with_a_slow_radio() -> None:
    watch = KeepAlive(1, now=0)
    watch.pinged(1)
    assert watch.due(1.9) is None
    assert watch.due(2) == "dead"


# -- what the kernel still holds


def test_a_ping_behind_what_the_kernel_holds_is_judged_when_it_has_left() -> None:
    watch = KeepAlive(20, now=100)
    watch.pinged(120, Outflow(100_000, 80_000), unsent=10_000)
    assert watch.wants_look
    assert watch.deadline() == 122.5  # when to look
    watch.look(Outflow(105_000, 75_000), 122.5)
    assert watch.due(130) is None
    assert watch.due(132.5) == "dead"
    watch.look(Outflow(110_000, 0), 132)  # all that was written before it
    assert not watch.wants_look
    watch.look(Outflow(120_000, 5_000), 140)  # what leaves behind it says nothing
    assert watch.due(141.9) == "ping"
    assert watch.due(142) == "dead"


def test_a_queue_that_does_not_move_is_no_sign_of_life() -> None:
    watch = KeepAlive(20, now=100)
    watch.pinged(120, Outflow(100_000, 80_000))
    for now in (122.5, 125, 127.5):
        watch.look(Outflow(110_000, 90_000), now)  # more was put behind it
        assert watch.due(now) is None
    watch.look(Outflow(110_000, 90_000), 130)
    assert watch.due(130) == "dead"


def test_a_kernel_that_cannot_be_asked_any_more_is_asked_no_more() -> None:
    watch = KeepAlive(20, now=100)
    watch.pinged(120, Outflow(100_000, 80_000))
    watch.look(None, 122.5)
    assert not watch.wants_look
    assert watch.deadline() == 130


def test_only_the_answer_of_a_marked_ping_is_an_echo() -> None:
    watch = KeepAlive(20, now=0)
    watch.pinged(20)
    watch.pinged(40)
    assert watch.awaits_echo
    watch.echoed(50)
    assert (watch.echo_of, watch.echo_at) == (20, 50)
    watch.pinged(60)
    watch.echoed(61)  # the one of 40
    assert watch.echo_of == 20
    watch.echoed(62)
    assert (watch.echo_of, watch.echo_at) == (60, 62)


# -- how long an answer is waited for


class Line:
    """A patience of 10 s from 0 on, and the line under it."""

    def __init__(self) -> None:
        self.watch = KeepAlive(20, now=0)
        self.probes = 0
        self.patience = LinePatience(10, 0, self.watch, lambda: None, self._probe)

    def _probe(self) -> None:
        self.probes += 1
        self.watch.pinged(self.now)

    def is_over(self, now: float) -> bool:
        self.now = now
        return self.patience.is_over(now)


def test_silence_is_over_after_the_limit() -> None:
    line = Line()
    assert not line.is_over(9.9)
    assert line.is_over(10)


def test_what_moves_is_waited_for_up_to_an_hour() -> None:
    line = Line()
    for now in range(1, int(LONGEST_WAIT)):
        line.watch.heard(now)
        assert not line.is_over(now)
    assert line.probes == 1
    assert line.is_over(LONGEST_WAIT)


@pytest.mark.parametrize(("echo", "end"), [(3, 10), (4.9, 10), (30, 60)])
def test_after_a_ping_was_answered_the_limit_is_a_time(echo: float, end: float) -> None:
    line = Line()
    now = 0.0
    while not line.is_over(now):
        now += 0.1
        line.watch.heard(now)
        if line.watch.awaits_echo and now >= echo:
            line.watch.echoed(now)
        assert now < 100
    assert math.isclose(now, end, abs_tol=0.3)


def test_a_pause_after_that_starts_the_time_anew() -> None:
    line = Line()
    line.watch.heard(3)
    assert not line.is_over(3)
    line.watch.echoed(4)
    line.watch.resume(9)
    line.watch.heard(18)
    assert not line.is_over(18.9)
    assert line.is_over(19)
