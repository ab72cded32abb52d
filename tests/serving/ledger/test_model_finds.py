"""What the model is good for: take one mechanism out, and the same property fails.

Each test names the mechanism, takes it out by a patch, and tells a story of which the model then
says that a promise is broken. The story alone breaks none. Stories are given, and not searched for,
so that this is quick and always the same; `test_model.py` searches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest

from petalkit._serving.dispatch.dispatcher import Dispatcher
from petalkit._serving.dispatch.slots import Slots
from petalkit._serving.intake.recovery import Recovery
from petalkit._serving.intake.room import Room
from petalkit._serving.ledger.acknowledgement import Acknowledgements
from petalkit._serving.ledger.disk import DiskLedger
from petalkit._serving.ledger.journal.store import JournalStore
from petalkit._serving.ledger.records import Found
from petalkit._serving.sending.outbox import Outbox
from petalkit._values.request import Wishes

from .promises import BrokenPromiseError
from .world import (
    Copy,
    Crash,
    DiskFails,
    DiskMended,
    LinkLost,
    Operation,
    Pass,
    Release,
    Restart,
    Scene,
    Send,
    Settle,
    Steps,
    run,
)

Taken = Callable[[pytest.MonkeyPatch], None]


def finds(
    take_out: Taken,
    promise: str,
    *stories: Sequence[Operation],
    scene: Scene | None = None,
) -> None:
    """The stories are fine; without the mechanism one of them is not, and breaks that promise.

    More than one, where it depends on the very step of the event loop.
    """
    for story in stories:
        run(story, scene)
    broken: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        take_out(patch)
        for story in stories:
            try:
                run(story, scene)
            except (BrokenPromiseError, BaseExceptionGroup) as caught:
                error: BaseException = caught
                while isinstance(error, BaseExceptionGroup):
                    error = error.exceptions[0]
                if not isinstance(error, BrokenPromiseError):
                    raise
                broken.append(str(error))
    assert any(text.startswith(promise) for text in broken), broken


def test_the_model_finds_an_acknowledgement_before_the_command_is_on_disk() -> None:
    def take_out(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(Acknowledgements, "owe", lambda self, command, delivery: delivery.ack())

    finds(take_out, "P1", [Crash("before a write"), Send("quick"), Settle()])


def test_the_model_finds_a_start_that_is_not_recorded() -> None:
    def take_out(patch: pytest.MonkeyPatch) -> None:
        def start(self: Any, entry: Any, then: Any) -> None:
            if then is not None:
                self._journal.when_written(functools.partial(then, entry))

        patch.setattr(DiskLedger, "start", start)

    finds(take_out, "P2", [Send("hold"), Settle(), Crash()])


def test_the_model_finds_a_start_before_its_record_is_on_disk() -> None:
    def take_out(patch: pytest.MonkeyPatch) -> None:
        start = DiskLedger.start

        def at_once(self: Any, entry: Any, then: Any) -> None:
            start(self, entry, None)
            if then is not None:
                then(entry)

        patch.setattr(DiskLedger, "start", at_once)

    finds(take_out, "P2", [Crash("before a write"), Send("hold"), Settle()])


def test_the_model_finds_an_answer_before_it_is_on_disk() -> None:
    def take_out(patch: pytest.MonkeyPatch) -> None:
        finish = DiskLedger.finish

        def at_once(self: Any, entry: Any, *outcome: Any) -> None:
            finish(self, entry, *outcome)
            self._finished(entry.number)

        patch.setattr(DiskLedger, "finish", at_once)

    finds(take_out, "P3", [Send("hold"), Settle(), DiskFails(), Release(0), Settle(), Crash()])


def test_the_model_finds_that_what_was_interrupted_is_run_again() -> None:
    def take_out(patch: pytest.MonkeyPatch) -> None:
        take_up = Recovery._take_up_running

        def as_idempotent(self: Any, record: Any) -> bool:
            class Table:
                @staticmethod
                def lookup(name: str) -> Any:
                    return attrs.evolve(table.lookup(name), idempotent=True)

            table, self.catalog.table = self.catalog.table, Table  # type: ignore[assignment]
            try:
                return take_up(self, record)
            finally:
                self.catalog.table = table

        patch.setattr(Recovery, "_take_up_running", as_idempotent)

    finds(take_out, "P2", [Send("hold"), Settle(), Crash()])


def test_the_model_finds_that_what_kills_the_process_is_run_without_end() -> None:
    def take_out(patch: pytest.MonkeyPatch) -> None:
        patch.setattr("petalkit._serving.intake.recovery.STARTS_MAX", 99)

    again = [Crash(), Pass(5)] * 4
    finds(take_out, "P2 gives up", [Send("again"), Settle(), *again])


def test_the_model_finds_that_duplicates_are_forgotten_at_a_restart() -> None:
    def take_out(patch: pytest.MonkeyPatch) -> None:
        load = JournalStore.load

        def without(self: JournalStore) -> Found:
            return attrs.evolve(load(self), remembered={})

        patch.setattr(JournalStore, "load", without)

    finds(take_out, "P2", [Send("quick"), Settle(), Restart(), Pass(5), Copy(0)])


def test_the_model_finds_that_a_copy_of_what_runs_is_run() -> None:
    def take_out(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(DiskLedger, "__contains__", lambda self, message_id: False)

    finds(take_out, "P2", [Send("hold"), Settle(), Copy(0)])


def test_the_model_finds_a_disk_backlog_out_of_order() -> None:
    def take_out(patch: pytest.MonkeyPatch) -> None:
        not_started = JournalStore.not_started

        def backwards(self: JournalStore, after: int, limit: int) -> list[Any]:
            return not_started(self, after, limit)[::-1]

        patch.setattr(JournalStore, "not_started", backwards)

    narrow = Scene(capacity=1, petal_concurrency=1)
    fill = [Send("hold"), Settle(), *[Send("quick")] * 3, Settle()]
    finds(take_out, "P8", [*fill, Crash()], scene=narrow)


def test_the_model_finds_that_new_commands_pass_what_waits_on_disk() -> None:
    def take_out(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(Room, "is_behind", lambda self, request, spec: False)

    full = [Send("hold"), Settle(), Send("quick"), Settle()]
    # There is room again, while those that had none are on their way to the disk.
    stories = [
        [*full, Release(0), Steps(n), Send("quick"), Send("quick"), Steps(m), *[Send("quick")] * 2]
        for n in range(3)
        for m in range(1, 5)
    ]
    stories += [
        [*full, Send("quick"), Release(0), Steps(n), Send("quick"), Settle()] for n in range(1, 9)
    ]
    for order in range(12):  # of the tasks of a step, which decides too
        try:
            finds(
                take_out,
                "P",
                *stories,
                scene=Scene(capacity=1, petal_concurrency=1, order=order),
            )
        except BrokenPromiseError:  # with the mechanism in place
            raise
        except AssertionError:
            continue
        return
    pytest.fail("the order was kept")


def test_the_model_finds_that_unsent_answers_are_forgotten() -> None:
    def take_out(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(Recovery, "restore_messages", lambda self, found: None)

    story = [Send("hold"), Settle(), LinkLost(), Release(0), Settle(), Crash()]
    finds(take_out, "P1, P4", story)


def test_the_model_finds_a_finished_command_whose_answer_was_not_posted() -> None:
    def take_out(patch: pytest.MonkeyPatch) -> None:
        from petalkit._serving.ledger.owed_messages import RecordedMessages

        def without_response(self: Any, *_: Any) -> int:
            return self._journal.next_number()

        patch.setattr(RecordedMessages, "post_with", without_response)

    story = [Send("hold"), Settle(), LinkLost(), Release(0), Settle(), Crash()]
    finds(take_out, "P1, P4", story)


def test_the_model_finds_that_a_copys_wish_is_not_recorded() -> None:
    def take_out(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(DiskLedger, "want", lambda *_: None)

    finds(take_out, "P1, P4", [Send("hold", wait=False), Settle(), Copy(0), Settle(), Crash()])


def test_the_model_finds_a_place_that_is_never_given_back() -> None:
    def take_out(patch: pytest.MonkeyPatch) -> None:
        put = Outbox.put_response

        def beside_its_place(self: Any, *args: Any) -> None:
            self._reserved += 1
            put(self, *args)

        patch.setattr(Outbox, "put_response", beside_its_place)

    finds(take_out, "P6", [Send("quick"), Settle()])


def test_the_model_finds_that_what_expired_is_started() -> None:
    def take_out(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(Wishes, "objection", lambda *_: None)

    one_line = Scene(petal_concurrency=1)
    story = [Send("hold"), Send("quick", expires=3.0), Settle(), Pass(4), Release(0)]
    finds(take_out, "starts nothing expired", story, scene=one_line)


def test_the_model_finds_that_a_failing_disk_is_not_heeded() -> None:
    """Commands that cannot be recorded are accepted and wait for ever, instead of being refused."""

    def take_out(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(Dispatcher, "take_back", lambda *_: None)

    finds(take_out, "", [DiskFails(), Send("hold"), Settle(), Pass(5), DiskMended()])


def test_the_model_finds_that_a_group_is_not_heeded() -> None:
    def take_out(patch: pytest.MonkeyPatch) -> None:
        admit = Slots.admit

        def without_group(self: Any, execution: Any) -> bool:
            execution.spec = attrs.evolve(execution.spec, exclusive=None)
            return admit(self, execution)

        patch.setattr(Slots, "admit", without_group)

    finds(take_out, "one at a time", [Send("alone"), Settle(), Send("alone"), Settle()])


def test_the_model_finds_an_answer_without_an_effect() -> None:
    def take_out(patch: pytest.MonkeyPatch) -> None:
        patch.setattr("tests.serving.ledger.world.World.saw_end", lambda *_: None)

    finds(take_out, "no answer without its effect", [Send("quick"), Settle()])


def test_the_model_finds_what_is_never_acknowledged() -> None:
    def take_out(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(Acknowledgements, "settle", staticmethod(lambda command: None))

    finds(take_out, "everything ends", [Send("hold"), Settle()])
