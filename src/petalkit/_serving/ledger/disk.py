"""The ledger of a device with a journal: what is put down is safe when it is on disk.

What has `journal=False`, and what comes while the journal takes no more, is known in memory only.
The trap: a disk can begin to fail between a step and its `then`. What is not on disk is given back
then, once, by `on_failing`; or it has finished, and is concluded as if never recorded.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Collection

import trio

from ..._authoring.registry import CommandSpec
from ..._values.messages import Message
from ..._values.request import Reply
from .entry import AnswerMessages, E, Ending, Entry, Left
from .forms import as_accepted, command_extras
from .journal.operations import Finished, Forgotten, Wanted
from .journal.write_ahead import Journal
from .journal_backed import JournalBacked
from .owed_messages import RecordedMessages
from .records import FINISHED, CommandRecord
from .remembered.duplicate_window import NOTHING, SPENT, DuplicateWindow, Spent
from .remembered.duplicate_window import Finished as Remembered

logger = logging.getLogger("petalkit.journal")


class DiskLedger(JournalBacked[E]):
    """See the module, and `Ledger`.

    Args:
        window: what is known of commands that are not recorded.
        journal: where the others are.
        owed: the same of messages.
    """

    def __init__(
        self, window: DuplicateWindow[E], journal: Journal, owed: RecordedMessages
    ) -> None:
        super().__init__(window, owed, journal)
        self._owed = owed
        # Finished, and not on disk: what is still to be done.
        self._unwritten: dict[int, tuple[E, Callable[[], None]]] = {}
        journal.watch(lambda: self.on_room(), self._take_back)

    # -- how it stands

    def is_crowded(self, spec: CommandSpec, message_id: str | None, now: float) -> bool:
        """See `Ledger`. What is not recorded takes nothing of the journal's room."""
        full = spec.journal and self._journal.is_crowded
        return full or super().is_crowded(spec, message_id, now)

    def may_be_crowded(self, coming: int) -> bool:
        """See `Ledger`. The journal says it of each."""
        return True

    def why_crowded(self, spec: CommandSpec) -> str:
        """See `Ledger`."""
        # Crowded, and yet it takes more: then it is for their number, and not for the size.
        if spec.journal and self._journal.is_crowded and not self._journal.takes_more:
            return "the journal is full of what has run in a short time (journal_size)"
        return super().why_crowded(spec)

    # -- what is known

    @property
    def remembered(self) -> int:
        """See `Ledger`."""
        return super().remembered + self._journal.remembered

    def __contains__(self, message_id: str) -> bool:
        return self._journal.knows(message_id) or super().__contains__(message_id)

    def find(self, message_id: str, now: float) -> E | Remembered | Spent | Left | None:
        """See `Ledger`."""
        live = self.window.live(message_id)
        if live is not None:
            return live
        if not self._journal.knows(message_id):
            return self.window.finished(message_id, now)
        record = self._journal.find(message_id)
        if record is not None and record.state == FINISHED:
            if not record.payload:  # let go, to make room
                return SPENT
            wall = self._journal.wall()
            at = now - max(0.0, wall - (record.finished_at or wall))
            response = record.response or NOTHING
            return Remembered(record.command, record.payload, response, at, 0, record.number)
        # It is left until what becomes of it is written; somebody may have made it forget.
        number = self._journal.number_of(message_id)
        return None if number is None else Left(number, record)

    # -- a command's life

    def accept(self, entry: E, then: Callable[[E], object]) -> None:
        """See `Ledger`."""
        journal = self._journal
        entry.number = journal.next_number()
        if entry.command.message_id is not None:
            self.window.begin(entry.command.message_id, entry)
        if not (entry.spec.journal and journal.takes_more):
            then(entry)
            return
        entry.recorded = True
        self._put_accepted(entry, functools.partial(self._accepted, entry, then))

    def _put_accepted(self, entry: Entry, then: Callable[[], object]) -> None:
        accepted = as_accepted(entry, self._journal.wall(), trio.current_time())
        self._journal.add(accepted, then)

    def _accepted(self, entry: E, then: Callable[[E], object]) -> None:
        entry.on_disk = True
        then(entry)

    def start(self, entry: E, then: Callable[[E], object] | None) -> None:
        """See `Ledger`."""
        if not entry.recorded:
            if then is not None:
                then(entry)
            return
        told = None if then is None else functools.partial(then, entry)
        self._journal.start(entry.number, told)

    def want(self, entry: E, replies: tuple[Reply, ...]) -> None:
        """See `Ledger`."""
        if entry.recorded:
            properties = entry.command.properties
            extras = command_extras(properties, replies, guessed=entry.spec.guessed)
            self._journal.add(Wanted(entry.number, entry.wait_response, extras))

    def finish(
        self,
        entry: E,
        ending: Ending,
        answers: Callable[[E, bytes], AnswerMessages],
        then: Callable[[E, Ending, float], object],
    ) -> None:
        """See `Ledger`."""
        if not entry.recorded:
            self._remember(entry, ending, ending.at)
            then(entry, ending, ending.at)
            return
        journal, number = self._journal, entry.number
        self._unwritten[number] = entry, functools.partial(self._conclude, entry, ending, then)
        told = functools.partial(self._finished, number)
        if ending.response == NOTHING and not ending.remembered:
            journal.add(Forgotten(number), told)  # it was not ours
            return
        code, response, wall = ending.code, ending.response, journal.wall()
        remembered = ending.remembered and entry.command.message_id is not None
        finished = Finished(number, code, response, remembered, wall)
        entry.owed = owed = {}
        posts = list(answers(entry, response))
        if posts:
            owed[posts[0][1]] = self._owed.post_with(finished, *posts[0])
        journal.add(finished, told)
        for message, reply in posts[1:]:
            owed[reply] = self._owed.post_response(message, number, reply)

    def _finished(self, number: int) -> None:
        unwritten = self._unwritten.pop(number, None)
        if unwritten is not None:
            unwritten[1]()

    def _conclude(
        self, entry: E, ending: Ending, then: Callable[[E, Ending, float], object]
    ) -> None:
        now = trio.current_time()
        message_id = entry.command.message_id
        if message_id is not None:
            if not ending.remembered:
                self._journal.forget(message_id, entry.number)
            if self._journal.knows(message_id):
                self.window.forget(message_id)  # the journal remembers it
            else:
                self._remember(entry, ending, now)
        then(entry, ending, now)

    def withdraw(self, entry: E) -> None:
        """See `Ledger`."""
        self.give_back(entry)
        if entry.recorded:
            if entry.command.message_id is not None:
                self._journal.forget(entry.command.message_id, entry.number)
            self._journal.add(Forgotten(entry.number))

    def post_of(self, entry: E, message: Message, reply: Reply | None) -> int | None:
        """See `Ledger`. What is not there yet, a copy wants that has come since."""
        if entry.owed is None:
            return None
        return entry.owed.get(reply) or self._owed.post_response(message, entry.number, reply)

    def _take_back(self, numbers: Collection[int]) -> None:
        """These cannot be recorded: what is finished is concluded without that."""
        for number in numbers:
            unwritten = self._unwritten.get(number)
            if unwritten is not None:
                unwritten[0].owed = None  # they are in no journal either
                try:
                    self._finished(number)
                except Exception:  # our bug: the others are not to pay for it
                    logger.exception("could not conclude a command that cannot be recorded")
        self.on_failing(numbers)

    # -- commands that wait here only

    def keep(self, entry: Entry, then: Callable[[], object]) -> None:
        """See `Ledger`."""
        entry.number = self._journal.next_number()
        entry.recorded = True
        self._put_accepted(entry, then)

    # -- what an earlier process has left

    def end(
        self,
        record: CommandRecord,
        ending: Ending,
        answers: AnswerMessages,
        then: Callable[[Message, Reply | None, int], object],
    ) -> None:
        """See `Ledger`."""
        journal, number = self._journal, record.number
        if not ending.remembered:
            journal.forget(record.message_id or "", number)
        if ending.response == NOTHING and not ending.remembered:
            journal.add(Forgotten(number))
            return
        code, response = ending.code, ending.response
        journal.add(Finished(number, code, response, ending.remembered, journal.wall()))
        for message, reply in answers:
            post = self._owed.post_response(message, number, reply)
            journal.when_written(functools.partial(then, message, reply, post))
