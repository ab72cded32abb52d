"""The one final state of each command: recorded, answered, acknowledged, in that order.

With a journal the record comes first and the rest when it is on disk: whoever has seen an answer
sees no other one after a crash. The command keeps its `messageId` until then, so that a copy
that comes in between joins it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import trio

from ..._values.errors import ErrorCode
from ..._values.messages import Message
from ..._values.request import Reply
from ..._values.statistics import Counters
from ..ledger.duplicate_window import NOTHING, DuplicateWindow
from ..ledger.journal.records import Finished, Forgotten
from ..ledger.journal.write_ahead import Journal
from ..ledger.posts import Posts
from ..ledger.recent_refusals import Refused, RefusedLately
from ..sending.outbox import Outbox
from ..sending.responses import Answers
from .execution import Execution
from .unknown_commands import UnknownCommands


class Endings:
    """See the module.

    Args:
        duplicates: told of every end.
        answers: has the properties of responses.
        outbox: takes them, in places that were reserved.
        counters: counts them.
        unknown: says which commands another program may answer.
        lately: told of commands that were refused before their start.
        journal: None for none.
        posts: the same.
    """

    def __init__(
        self,
        duplicates: DuplicateWindow[Execution],
        answers: Answers,
        outbox: Outbox,
        counters: Counters,
        unknown: UnknownCommands,
        lately: RefusedLately,
        journal: Journal | None,
        posts: Posts | None,
    ) -> None:
        self._duplicates = duplicates
        self._answers = answers
        self._outbox = outbox
        self._counters = counters
        self._unknown = unknown
        self._lately = lately
        self._journal = journal
        self._posts = posts
        # Finished, and not on disk: what is still to be done.
        self._unwritten: dict[int, tuple[Execution, Callable[[], None]]] = {}
        self._progress: trio.Event | None = None  # set at the next end, if somebody waits

    async def wait_next(self) -> None:
        """Wait until one more command has its final state. The caller bounds it."""
        if self._progress is None:
            self._progress = trio.Event()
        await self._progress.wait()

    def leave_to_others(self, execution: Execution) -> None:
        """Let no failure of ours stand beside the answer of another program."""
        if execution.spec.guessed and self._unknown.may_be_anothers(execution.spec.name):
            execution.silent = True

    def finish(self, execution: Execution, response: bytes, code: str | None, now: float) -> None:
        """Give a command its final state, unless it has one."""
        if execution.finished:
            return
        execution.finished = True
        if code is None:
            self._counters.succeeded += 1
        else:
            self._counters.count_failed(str(code))
        not_served = execution.not_served
        counts = not_served is None or not_served.may_have_run
        remembered = (execution.entered and counts) or code == ErrorCode.EXPIRED
        if execution.silent or (not_served is not None and not not_served.answered):
            self._release_places(execution)
            response = NOTHING
        if execution.recorded:
            self._record(execution, response, code, remembered)
        else:
            self._conclude(execution, response, code, now, remembered)
        if self._progress is not None:
            self._progress.set()
            self._progress = None

    def _record(
        self, execution: Execution, response: bytes, code: str | None, remembered: bool
    ) -> None:
        journal, posts = self._journal, self._posts
        assert journal is not None
        assert posts is not None
        conclude = functools.partial(self._conclude_recorded, execution, response, code, remembered)
        self._unwritten[execution.number] = execution, conclude
        then = functools.partial(self._written, execution.number)
        if response == NOTHING and not remembered:
            journal.add(Forgotten(execution.number), then)  # it was not ours
            return
        code = None if code is None else str(code)
        journal.add(Finished(execution.number, code, response, remembered, journal.wall()), then)
        messages: list[tuple[Message, Reply | None]] = [
            (reply.message(response), reply) for reply in execution.replies
        ]
        if execution.wait_response:
            messages.insert(0, (self._usual(execution, response), None))
        execution.posts = {
            reply: posts.post_response(message, execution.number, reply)
            for message, reply in messages
        }

    def _written(self, number: int) -> None:
        unwritten = self._unwritten.pop(number, None)
        if unwritten is not None:
            unwritten[1]()

    def take_back(self, numbers: Iterable[int]) -> None:
        """These cannot be recorded: answer those of them that are finished without that."""
        for number in numbers:
            unwritten = self._unwritten.get(number)
            if unwritten is not None:
                unwritten[0].posts = None  # they are in no journal either
                self._written(number)

    def _conclude_recorded(
        self, execution: Execution, response: bytes, code: str | None, remembered: bool
    ) -> None:
        assert self._journal is not None
        message_id = execution.command.message_id
        if message_id is not None and not remembered:
            self._journal.forget(message_id, execution.number)
        self._conclude(execution, response, code, trio.current_time(), remembered)

    def _conclude(
        self,
        execution: Execution,
        response: bytes,
        code: str | None,
        now: float,
        remembered: bool,
    ) -> None:
        message_id = execution.command.message_id
        if message_id is not None:
            if remembered:
                self._duplicates.finish(message_id, response, now)
            else:
                self._duplicates.forget(message_id)
                if response != NOTHING and code is not None:
                    text = "it came before, and was refused"
                    refused = Refused(code, text, execution.arrival, response)
                    self._lately.note(message_id, execution.payload, refused)
        if response == NOTHING:
            self._release_places(execution)  # those of copies that came meanwhile
        if execution.wait_response:
            message = self._usual(execution, response)
            number = self._number(execution, message, None)
            self._outbox.put_response(message, message_id, now, number)
        for reply in execution.replies:
            message = reply.message(response)
            number = self._number(execution, message, reply)
            self._outbox.put_response(message, reply.key(message_id), now, number)
        if execution.logged:
            execution.log_answer(code)
        execution.acknowledge()

    def _usual(self, execution: Execution, response: bytes) -> Message:
        properties = self._answers.properties
        return Message(execution.response_topic, response, 1, False, properties)

    def _number(self, execution: Execution, message: Message, reply: Reply | None) -> int | None:
        """Of a response in the journal. What is not there yet, a copy wants that came since."""
        if execution.posts is None:
            return None
        assert self._posts is not None
        return execution.posts.get(reply) or self._posts.post_response(
            message, execution.number, reply
        )

    def give_back(self, execution: Execution) -> None:
        """A command that has not started is the broker's, or the journal's, to bring again."""
        execution.finished = True
        if execution.command.message_id is not None:
            self._duplicates.forget(execution.command.message_id)
        self._release_places(execution)
        if execution.on_disk:  # not of both, or it is run twice
            execution.acknowledge()

    def _release_places(self, execution: Execution) -> None:
        """It will not be answered."""
        for _ in range(execution.wait_response + len(execution.replies)):
            self._outbox.release()
        execution.wait_response = False
        execution.replies = ()
