"""The checker says nothing of a good history, and names the promise that a bad one breaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .cases import Rules
from .checker import Violation, check
from .history import (
    Acknowledged,
    CountersRead,
    Delivered,
    Effect,
    Event,
    Hindered,
    History,
    Invoked,
    ProcessEnded,
    ProcessStarted,
    Recorded,
    Relieved,
    Response,
    SessionLost,
    Taken,
    read_effects,
)

RULES = Rules(
    journal=True,
    idempotent={"work/idempotent"},
    urgent={"work/urgent"},
    lines={"work/narrow"},
    codes={"work/quick": {None}},
)
NO_JOURNAL = Rules(journal=False, idempotent=RULES.idempotent, urgent=RULES.urgent)


class Story:
    """A history told step by step; each takes some seconds."""

    def __init__(self, pace: float) -> None:
        self.events: list[Event] = []
        self._pace = pace
        self.incarnation = 1
        self._numbers: dict[str, int] = {}
        self._commands: dict[str, str] = {}

    @property
    def now(self) -> float:
        return len(self.events) * self._pace

    def _about(self, kind: Any, name: str, **fields: Any) -> Story:
        self.events.append(kind(at=self.now, message_id=name, **fields))
        return self

    def sent(self, name: str, command: str = "work/quick", **fields: Any) -> Story:
        self._commands[name] = command
        n = self._numbers.setdefault(name, len(self._numbers))
        self._about(Invoked, name, command=command, n=n, **fields)
        return self._about(Taken, name)

    def acked(self, name: str) -> Story:
        return self._about(Acknowledged, name, link=1)

    def came(self, name: str, command: str = "work/quick") -> Story:
        return self.sent(name, command).acked(name)

    def ran(self, name: str, incarnation: int | None = None) -> Story:
        return self._about(
            Effect, name, command=self._commands.get(name, "work/quick"),
            n=self._numbers.get(name, 0), incarnation=incarnation or self.incarnation,
        )  # fmt: skip

    def answered(self, name: str, code: str | None = None, **fields: Any) -> Story:
        found: dict[str, Any] = {"messageId": name, "timestamp": self.now, "success": code is None}
        if code is None:
            found["n"] = self._numbers.get(name, 0)
        else:
            found["error_code"] = code
        return self._about(Response, name, fields=found | fields)

    def whole(self, name: str, command: str = "work/quick") -> Story:
        return self.came(name, command).ran(name).answered(name)

    def recorded(self, name: str, code: str | None = None) -> Story:
        return self._about(Recorded, name, state="finished", code=code)

    def ended(self, how: Any = "killed", **fields: Any) -> Story:
        end = ProcessEnded(at=self.now, incarnation=self.incarnation, how=how, **fields)
        self.events.append(end)
        self.incarnation += 1
        self.events.append(ProcessStarted(at=self.now, incarnation=self.incarnation))
        return self

    def forgot(self, seconds: float = 0.5) -> Story:
        self.events.append(SessionLost(at=self.now, until=self.now + seconds))
        return self

    def counted(self, **values: Any) -> Story:
        self.events.append(CountersRead(at=self.now, incarnation=1, values=values))
        return self

    def hindered(self, petal: str) -> Story:
        self.events.append(Hindered(at=self.now, petal=petal))
        return self

    def relieved(self, petal: str) -> Story:
        self.events.append(Relieved(at=self.now, petal=petal))
        return self

    def broken(self, rules: Rules = RULES) -> list[str]:
        return [violation.promise for violation in check(self.events, rules)]


def story(pace: float = 1.0) -> Story:
    return Story(pace)


def test_an_ordinary_history_breaks_nothing() -> None:
    told = story().whole("a").whole("b", "work/narrow").whole("c", "other/quick")
    assert told.broken() == told.broken(NO_JOURNAL) == []


# -- P1


def test_p1_what_was_acknowledged_has_a_final_state_after_a_kill_too() -> None:
    lost = story().came("a").ended()
    assert lost.broken() == ["P1", "P4"]
    assert lost.broken(NO_JOURNAL) == []
    assert story().came("a").ended().ran("a").answered("a").broken() == []


def test_p1_without_a_kill_nothing_is_lost_without_a_journal_either() -> None:
    assert story().came("a").broken(NO_JOURNAL) == ["P1", "P4"]
    assert story().ended().came("a").broken(NO_JOURNAL) == ["P1", "P4"], "killed before that"


def test_p1_a_refusal_is_a_final_state() -> None:
    rules = Rules(journal=True)
    assert story().came("a").answered("a", "BUSY").broken(rules) == []


def test_p1_a_command_that_wants_no_answer_has_its_effect_or_a_record() -> None:
    def quiet() -> Story:
        return story().sent("a", wait_response=False).acked("a")

    assert quiet().broken() == ["P1"]
    assert quiet().ran("a").broken() == []
    assert quiet().recorded("a", "INTERRUPTED").broken() == []


def test_p1_without_a_journal_an_effect_shows_that_it_was_in_the_channel() -> None:
    told = story().came("a").ran("a")
    assert told.broken(NO_JOURNAL) == ["P4"]
    assert told.broken() == ["P1", "P4"]


# -- P2


def test_p2_a_message_id_runs_once_in_a_process() -> None:
    assert story().whole("a").sent("a").answered("a").broken() == []
    for rules in (RULES, NO_JOURNAL):
        assert "P2" in story().came("a").ran("a").ran("a").answered("a").broken(rules)


def test_p2_with_a_journal_it_runs_once_in_all_processes() -> None:
    twice = story().came("a").ran("a").ended().ran("a").answered("a")
    assert twice.broken() == ["P2"]
    assert twice.broken(NO_JOURNAL) == []


def test_p2_an_idempotent_one_runs_again_if_it_was_interrupted() -> None:
    name = "work/idempotent"
    good = story().came("a", name).ran("a").ended().ran("a").answered("a")
    assert good.broken() == []
    stopped = story().came("a", name).ran("a").ended("stopped", limit=1).ran("a").answered("a")
    assert stopped.broken() == ["P2"]
    finished = story().whole("a", name).ended().ran("a").answered("a")
    assert finished.broken() == ["P2"]


def test_p2_an_urgent_one_may_be_repeated_across_a_crash_only() -> None:
    assert story().whole("a", "work/urgent").ended().ran("a").answered("a").broken() == []
    again = story().whole("a", "work/urgent").ended("stopped", limit=1).ran("a").answered("a")
    assert "P2" in again.broken()


def test_p2_nothing_runs_after_it_was_interrupted_for_good() -> None:
    told = story().came("a").ended().answered("a", "INTERRUPTED").ran("a")
    assert told.broken() == ["P2"]


def test_p2_nothing_runs_that_nobody_sent() -> None:
    assert story().ran("ghost").broken() == ["P2"]


# -- P3


def test_p3_all_answers_are_the_same() -> None:
    assert story().whole("a").answered("a").broken() == []
    assert story().whole("a").answered("a", more=1).broken() == ["P3"]
    assert "P3" in story().whole("a").answered("a", "HANDLER_ERROR").broken()


def test_p3_a_refusal_before_the_start_may_be_followed_by_another_answer() -> None:
    rules = Rules(journal=True)
    told = story().came("a").answered("a", "BUSY").sent("a").ran("a").answered("a")
    assert told.broken(rules) == []


def test_p3_without_a_journal_a_new_process_may_answer_otherwise() -> None:
    told = story().whole("a").ended().sent("a").ran("a").answered("a", process=2)
    assert told.broken(NO_JOURNAL) == []
    assert "P3" in told.broken()


def test_p3_interrupted_means_that_a_process_was_killed_meanwhile() -> None:
    assert story().came("a").ran("a").ended().answered("a", "INTERRUPTED").broken() == []
    assert story().came("a").ended().answered("a", "INTERRUPTED").broken() == []
    assert story().came("a").ran("a").answered("a", "INTERRUPTED").broken() == ["P3"]
    assert story().ended().came("a").answered("a", "INTERRUPTED").broken() == ["P3"]
    after_all = story().came("a").ended().ran("a").answered("a", "INTERRUPTED")
    assert after_all.broken() == ["P3"], "killed before it ran"
    told = story().came("a").ran("a").ended().answered("a", "INTERRUPTED")
    assert told.broken(NO_JOURNAL) == ["P3"]
    idempotent = story().came("a", "work/idempotent").ended().answered("a", "INTERRUPTED")
    assert idempotent.broken() == ["P3"], "it has to be run again"
    often = story().came("a", "work/idempotent").ended().ended().ended()
    assert often.answered("a", "INTERRUPTED").broken() == [], "but not for ever"


def test_p3_no_success_without_an_effect() -> None:
    assert story().came("a").answered("a").broken() == ["P3"]
    assert story().came("a").answered("a").ran("a").broken() == ["P2", "P3"]
    assert story().came("a", "petalkit/ping").answered("a").broken() == []


def test_p3_an_answer_carries_what_was_asked() -> None:
    assert story().whole("a").came("b").ran("b").answered("b", n=0).broken() == ["P3"]


def test_p3_only_the_codes_that_a_command_can_have() -> None:
    assert story().came("a").answered("a", "MESSAGE_ID_REUSED").broken() == ["P3"]
    told = story().came("a").ran("a").answered("a", "CANCELLED")
    assert told.broken() == ["P3"], "nobody had asked for a stop"
    assert told.ended("stopped", took=2, limit=5).broken() == []


def test_p3_the_record_says_the_same() -> None:
    assert story().came("a").ran("a").recorded("a").answered("a").broken() == []
    told = story().came("a").ran("a").recorded("a", "TIMEOUT").answered("a")
    assert told.broken() == ["P3"]
    told = story().came("a").ran("a").answered("a").recorded("a").recorded("a", "TIMEOUT")
    assert told.broken() == ["P3"]


def test_p3_nobody_is_answered_who_did_not_ask() -> None:
    assert story().answered("ghost").broken() == ["P3"]


# -- P4


def test_p4_what_the_broker_took_is_answered() -> None:
    assert story().sent("a").broken() == ["P4"]
    never_taken = story().sent("a")
    never_taken.events.pop()
    assert never_taken.broken() == []
    assert story().sent("a", wait_response=False).broken() == []


def test_p4_without_a_journal_a_kill_excuses_only_what_was_acknowledged() -> None:
    assert story().came("a").ran("a").ended().broken(NO_JOURNAL) == []
    assert story().sent("a").ended().broken(NO_JOURNAL) == ["P4"], "the broker has it still"


def test_p4_what_the_broker_forgot_is_excused_until_it_is_sent_again() -> None:
    assert story().sent("a").forgot().broken() == []
    assert story().forgot(seconds=2).sent("a").broken() == [], "nobody had subscribed yet"
    assert story().sent("a").forgot().sent("a").broken() == ["P4"]
    assert story().sent("a").acked("a").forgot().broken() == ["P1", "P4"]


def test_p4_what_was_given_up_is_missing_all_the_same_unless_that_is_allowed() -> None:
    told = story().came("a").ran("a").came("b").ran("b")
    told.counted(received=0, accepted=0, publish_set_aside=1)
    lenient = Rules(journal=False, may_give_up=True)
    assert told.broken(NO_JOURNAL) == ["P4", "P4"]
    assert told.broken(lenient) == ["P4"], "one is counted, and two are missing"


def test_p1_and_p4_are_left_open_while_not_all_is_settled() -> None:
    assert story().came("a").broken(Rules(journal=True, settled=False)) == []


# -- P5


def test_p5_counters_add_up() -> None:
    values = {
        "received": 10, "accepted": 5, "refused": {"BUSY": 1, "EXPIRED": 1}, "succeeded": 2,
        "duplicates_joined": 1, "duplicates_answered": 1, "unexpected_topic": 1, "held": 0,
        "malformed": 0, "failed": {"TIMEOUT": 1}, "waiting": 1, "running": 1,
    }  # fmt: skip
    assert story().counted(**values).broken() == []
    assert story().counted(**values | {"received": 11}).broken() == ["P5"]
    assert story().counted(**values | {"succeeded": 1}).broken() == ["P5"]


# -- P7


def test_p7_a_stop_ends_in_order_and_in_time() -> None:
    assert story().ended("stopped", took=5, limit=6).broken() == []
    assert story().ended("stopped", took=7, limit=6).broken() == ["P7"]
    assert story().ended("stopped", took=1, limit=6, code=1).broken() == ["P7"]


# -- P8


def in_order(*names: str, **commands: str) -> Story:
    """All sent in the order of the alphabet, and started as named."""
    told = story()
    for name in sorted(names):
        told.came(name, commands.get(name, "work/quick"))
    for name in names:
        told.ran(name).answered(name)
    return told


def test_p8_commands_of_a_petal_start_in_order() -> None:
    assert in_order("a", "b", "c").broken() == []
    assert in_order("b", "a", "c").broken() == ["P8"]
    assert in_order("c", "a", "b").broken() == ["P8", "P8"]
    assert in_order("b", "a", a="other/quick").broken() == [], "another petal's"


def test_p8_an_own_concurrency_is_an_own_order_and_urgent_ones_have_none() -> None:
    assert in_order("b", "a", a="work/narrow").broken() == []
    assert in_order("b", "a", a="work/narrow", b="work/narrow").broken() == ["P8"]
    assert in_order("b", "a", b="work/urgent").broken() == []


def test_p8_each_sender_has_its_own_order() -> None:
    told = story().sent("a", sender="one").sent("b", sender="two")
    assert told.ran("b").ran("a").answered("a").answered("b").broken() == []


def test_p8_what_was_sent_again_before_it_ran_may_be_late() -> None:
    told = story().sent("a").sent("b").ran("b").answered("b")
    assert told.sent("a").ran("a").answered("a").broken() == []
    late = story().sent("a").sent("b").ran("b").answered("b").ran("a").answered("a").sent("a")
    assert late.broken() == ["P8"]


def test_p8_what_was_refused_and_came_again_may_be_late() -> None:
    told = story().came("a").sent("b").ran("b").answered("b").ran("a").answered("a", "BUSY")
    assert told.answered("a").broken(Rules(journal=True)) == []


def test_p8_without_a_journal_that_refusal_may_be_lost_by_a_kill() -> None:
    told = story().came("a").sent("b").ran("b").answered("b").ran("a").answered("a").ended()
    assert told.broken(Rules(journal=False, codes={"work/quick": {None, "BUSY"}})) == []
    assert told.broken(Rules(journal=False, codes={"work/quick": {None}})) == ["P8"]
    assert told.broken(Rules(journal=True, codes={"work/quick": {None, "BUSY"}})) == ["P8"]


def test_p8_what_is_run_again_counts_where_it_ran_first() -> None:
    told = story().came("a", "work/idempotent").ran("a").came("b").ran("b").answered("b")
    assert told.ended().ran("a").answered("a").broken() == []


def test_p8_after_a_kill_the_order_goes_on() -> None:
    told = story().came("a").came("b").ended().ran("b").answered("b").ran("a").answered("a")
    assert told.broken() == ["P8"]


# -- P9


def test_p9_another_petal_goes_on() -> None:
    good = story(20).hindered("work").whole("a", "other/quick").relieved("work")
    assert good.broken() == []

    def waiting(hindered: str) -> list[str]:
        told = story(20).hindered(hindered).came("a", "other/quick").sent("b", "other/quick")
        told.relieved(hindered).ran("a").ran("b").answered("a").answered("b")
        return told.broken()

    assert waiting("work") == ["P9", "P9"]
    assert waiting("other") == [], "it waits for itself"


def test_p9_a_petal_that_is_never_relieved_hinders_nobody_to_the_end() -> None:
    assert story(20).hindered("work").sent("a", "other/quick").whole("b").broken() == ["P4", "P9"]


def test_p9_a_process_does_not_end_by_itself() -> None:
    assert story().ended("crashed", code=1).broken() == ["P9"]


# -- files


def test_a_history_can_be_written_down_and_read_again(tmp_path: Path) -> None:
    told = story().whole("a").recorded("a").ended().forgot().counted(received=1)
    told.hindered("work").relieved("work")
    told.events.append(Delivered(at=1, message_id="a", link=3, dup=True))
    history = History(told.events)
    history.save(tmp_path / "history.jsonl")
    assert list(History.load(tmp_path / "history.jsonl")) == list(history)
    assert len(history.of("a")) == 7
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"event": "inv')
    assert len(History.load(tmp_path / "history.jsonl")) == len(history)


def test_effects_are_read_from_the_petals_file(tmp_path: Path) -> None:
    (tmp_path / "effects").write_text("a work/quick 1 2 3.5\n")
    expected = Effect(at=3.5, message_id="a", command="work/quick", n=1, incarnation=2)
    assert read_effects(tmp_path / "effects") == [expected]
    assert read_effects(tmp_path / "none") == []


def test_violations_can_be_read() -> None:
    assert str(Violation("P2", "it ran twice", "a")) == "P2 a: it ran twice"
    assert str(Violation("P7", "too slow")) == "P7 too slow"
