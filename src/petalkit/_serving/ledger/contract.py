"""What every ledger keeps: what is known of each command, and which messages are still owed.

    accept -> start -> finish

The rule: each step puts something down, and calls `then` when that is as safe as this ledger makes
it: in memory at once, with a journal after the commit. So nobody may assume that `then` has been
called when the step returns, nor that it has not. What is put down without a checkpoint in between
is safe together or not at all.

Nobody above asks which ledger it is. What differs is a question of the contract: has it room, is
it failing, does it take commands of this kind, may `then` come later.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Generic

from ..._authoring.registry import CommandSpec
from ..._values.messages import Message
from ..._values.request import Reply
from .entry import AnswerMessages, E, Ending, Entry, Left
from .notes import LedgerNotes
from .owed_messages import OwedMessages
from .records import CommandRecord, Found
from .remembered.duplicate_window import DuplicateWindow, Finished, Spent


class Ledger(LedgerNotes, ABC, Generic[E]):
    """See the module.

    Args:
        window: what is queued, running, or finished and remembered in memory.
        owed: what is put down of messages.

    Attributes:
        on_room: called when more can be accepted than before, or can be read of what waits here.
        on_failing: called when nothing can be put down from now on, with the numbers of the
            commands that are accepted and not safe: nothing more is put down of them.
        may_wait: whether `then` may be called later than the step.
        keeps_waiting: whether commands can wait here only; see `keep`.
    """

    may_wait: bool
    keeps_waiting: bool

    def __init__(self, window: DuplicateWindow[E], owed: OwedMessages) -> None:
        self.window = window
        self.owed = owed
        self.on_room: Callable[[], object] = lambda: None
        self.on_failing: Callable[[Collection[int]], object] = lambda _: None

    # -- how it stands

    @property
    @abstractmethod
    def has_room(self) -> bool:
        """Whether one more command can be accepted now."""

    def is_crowded(self, spec: CommandSpec, message_id: str | None, now: float) -> bool:
        """Whether one may not be accepted until time has passed; not asked for urgent ones.

        To accept it is to forget one that ran within the replay window; to wait is to hold up all.

        Args:
            spec: of the command.
            message_id: the same; without one it is not remembered.
            now: Trio's clock.
        """
        return message_id is not None and self.window.is_full(now)

    def may_be_crowded(self, coming: int) -> bool:
        """Whether `is_crowded` is worth a call while no more than so many are accepted."""
        return self.window.may_be_full(coming)

    def why_crowded(self, spec: CommandSpec) -> str:
        """Why that is so, for the sender of such a command: with the settings that bound it."""
        return "too many commands have run in a short time (replay_window, replay_count)"

    @property
    @abstractmethod
    def failing(self) -> bool:
        """Whether nothing can be put down for now."""

    @abstractmethod
    def takes(self, spec: CommandSpec) -> bool:
        """Whether commands like this one are kept as others are; not with `journal=False`."""

    # -- what is known

    @property
    def remembered(self) -> int:
        """How many finished commands it knows by their `messageId`, at most."""
        return len(self.window)

    def __contains__(self, message_id: str) -> bool:
        """Whether `find` is worth a call: it may cost a look at the disk."""
        return message_id in self.window

    @abstractmethod
    def find(self, message_id: str, now: float) -> E | Finished | Spent | Left | None:
        """The command of that ID: live, finished, spent, or left by an earlier process.

        Raises:
            JournalError: it cannot be read.
        """

    # -- a command's life

    @abstractmethod
    def accept(self, entry: E, then: Callable[[E], object]) -> None:
        """A command is accepted; it has its number when this returns."""

    def take_up(self, entry: E) -> None:
        """One that was accepted before, and waited elsewhere, is in the line now."""
        if entry.command.message_id is not None:
            self.window.begin(entry.command.message_id, entry)

    @abstractmethod
    def start(self, entry: E, then: Callable[[E], object] | None) -> None:
        """The handler of a command is about to be called; after `then`, if there is one.

        Of a command that is not recorded nothing is put down: `then` is called at once.
        """

    @abstractmethod
    def want(self, entry: E, replies: tuple[Reply, ...]) -> None:
        """A copy of a command that is not finished wants an answer that the first did not."""

    @abstractmethod
    def finish(
        self,
        entry: E,
        ending: Ending,
        answers: Callable[[E, bytes], AnswerMessages],
        then: Callable[[E, Ending, float], object],
    ) -> None:
        """A command has its final state; `then` answers and acknowledges it.

        It keeps its `messageId` until then, so that a copy that comes in between joins it.

        Args:
            entry: it.
            ending: its final state.
            answers: makes the messages that answer it, of it and its response.
            then: called with it, the ending, and the time.
        """

    @abstractmethod
    def withdraw(self, entry: E) -> None:
        """It was accepted, and is refused without a trace after all."""

    def give_back(self, entry: E) -> None:
        """It has not started, and comes again, from the broker or from here."""
        if entry.command.message_id is not None:
            self.window.forget(entry.command.message_id)

    @abstractmethod
    def post_of(self, entry: E, message: Message, reply: Reply | None) -> int | None:
        """The number of a message that answers a finished command; None where none is kept."""

    @abstractmethod
    def when_safe(self, then: Callable[[], object]) -> None:
        """Call `then`, once, when all that was put down so far is safe: at once if it is."""

    @abstractmethod
    def when_safe_or_failing(self, then: Callable[[], object]) -> None:
        """Call `then`, once, when all that was put down so far is safe, or this is failing.

        And what is put down because of that: a copy of what has just finished may want an answer.
        """

    # -- commands that wait here only; not in a ledger that has no `keeps_waiting`

    def keep(self, entry: Entry, then: Callable[[], object]) -> None:
        """A command is accepted, to wait here only; it has its number when this returns.

        Until `take_up` it is not live: `find` has it as `Left`.

        Args:
            entry: it; kept by nobody here once it is safe.
            then: called when it is. Never for one of those that `on_failing` names.
        """
        raise NotImplementedError

    def want_of_kept(self, number: int, wait_response: bool, extras: bytes | None) -> None:
        """A copy of one of them wants an answer that the first did not.

        Args:
            number: of it.
            wait_response: whether it is answered on the usual topic from now on.
            extras: what its record says beside from now on; see `forms.command_extras`.
        """
        raise NotImplementedError

    def waiting(self, numbers: Sequence[int]) -> Sequence[CommandRecord]:
        """Those of some commands that are safe and have not started, in order.

        Args:
            numbers: of them; a few dozen.

        Raises:
            JournalError: they cannot be read.
        """
        raise NotImplementedError

    def look_again(self, *, at_once: bool = False) -> None:
        """Call `on_room` though nothing has changed, in a while or when others had their turn."""
        raise NotImplementedError

    # -- what an earlier process has left

    @property
    def place(self) -> str:
        """Where it keeps things, for the log."""
        return "memory"

    @property
    def sync(self) -> str:
        """How it waits for the disk: see `Statistics.journal_sync`."""
        return ""

    @property
    def earlier_to(self) -> int:
        """The number of the last command of an earlier process; 0 for none."""
        return 0

    def not_started(self, after: int, limit: int) -> Sequence[CommandRecord]:
        """Commands that are safe, and have not started, in order.

        Args:
            after: of higher numbers only.
            limit: how many at most.

        Raises:
            JournalError: they cannot be read.
        """
        return ()

    def requeue(self, record: CommandRecord) -> None:
        """One that had started in an earlier process is to be started again."""
        raise NotImplementedError

    def end(
        self,
        record: CommandRecord,
        ending: Ending,
        answers: AnswerMessages,
        then: Callable[[Message, Reply | None, int], object],
    ) -> None:
        """One that is in no line here has its final state: an earlier process left it, or it waits.

        Args:
            record: of it.
            ending: its final state.
            answers: the messages that answer it.
            then: called for each of them, with its number, when all that is safe.
        """
        raise NotImplementedError

    # -- life

    @abstractmethod
    def open(self, give_up: Callable[[], Awaitable[object]]) -> AbstractAsyncContextManager[Found]:
        """Keep what is put down until the block is left; what an earlier process has left.

        Args:
            give_up: returns when what is not open yet is not to be waited for any more.

        Raises:
            JournalError: it cannot be opened.
        """

    @abstractmethod
    async def wait_written(self) -> None:
        """Wait until everything that was put down is safe. The caller bounds it."""

    def _remember(self, entry: E, ending: Ending, now: float) -> None:
        message_id = entry.command.message_id
        if message_id is None:
            return
        if ending.remembered:
            self.window.finish(message_id, ending.response, now, urgent=entry.spec.urgent)
        else:
            self.window.forget(message_id)
