"""The watchdog, as times on paper."""

from __future__ import annotations

from petalkit.transports._keepalive import KeepAlive


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
