"""The one final state of each command: put down, answered, acknowledged, in that order.

Answer and acknowledgement come when the ledger says so: whoever has seen an answer sees no other
one after a crash. The command keeps its `messageId` until then, so that a copy that comes in
between joins it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import trio

from ..._values.errors import ErrorCode
from ..._values.messages import Message
from ..._values.request import Reply
from ..ledger.acknowledgement import Acknowledgements
from ..ledger.contract import Ledger
from ..ledger.entry import AnswerMessages, Ending
from ..ledger.recent_refusals import RecentRefusals, Refused
from ..ledger.remembered.duplicate_window import NOTHING
from ..sending.responses import Responses
from .catalog import Catalog
from .execution import NO_LINE, Execution


class Finalization:
    """See the module.

    Args:
        ledger: told of every end.
        acknowledgements: of what brought the command.
        responses: has the properties of responses, the outbox with their places, and the counters.
        unknown: says which commands another program may answer.
        refusals: told of commands that were refused before their start.
    """

    def __init__(
        self,
        ledger: Ledger[Execution],
        acknowledgements: Acknowledgements,
        responses: Responses,
        unknown: Catalog,
        refusals: RecentRefusals,
    ) -> None:
        self._ledger = ledger
        self.acknowledgements = acknowledgements
        self._responses = responses
        self._outbox = responses.outbox
        self._counters = responses.counters
        self._unknown = unknown
        self._refusals = refusals
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

    def finish(
        self,
        execution: Execution,
        response: bytes,
        code: str | None,
        now: float,
        then: Callable[[], object] | None = None,
    ) -> None:
        """Give a command its final state, unless it has one.

        Args:
            execution: it.
            response: what it is answered with.
            code: of its failure.
            now: Trio's clock.
            then: called when that is safe.
        """
        if execution.finished:
            return
        execution.finished = True
        if code is None:
            self._counters.succeeded += 1
        else:
            code = str(code)
            self._counters.count_failed(code)
        not_served = execution.not_served
        counts = not_served is None or not_served.may_have_run
        remembered = (execution.entered and counts) or code == ErrorCode.EXPIRED
        if execution.silent or (not_served is not None and not not_served.answered):
            self._release_places(execution)
            response = NOTHING
        ending = Ending(response, code, remembered, now)
        conclude = self._conclude
        if then is not None:
            conclude = functools.partial(self._conclude_and, then)
        self._ledger.finish(execution, ending, self._answers, conclude)
        if self._progress is not None:
            self.tell_progress()

    def tell_progress(self) -> None:
        """Wake whoever waits for one more to have ended."""
        if self._progress is not None:
            self._progress.set()
            self._progress = None

    def _conclude_and(
        self, then: Callable[[], object], execution: Execution, ending: Ending, now: float
    ) -> None:
        self._conclude(execution, ending, now)
        then()

    def _conclude(self, execution: Execution, ending: Ending, now: float) -> None:
        """Its final state is safe: say it to everybody who waits for it."""
        response, code = ending.response, ending.code
        message_id = execution.command.message_id
        if not ending.remembered and response != NOTHING and code is not None:
            text = "it came before, and was refused"
            replies = () if execution.wait_response else execution.replies
            key = message_id if not replies else replies[0].key(message_id)
            refused = Refused(code, text, execution.arrival, response, key)
            self._refusals.note(message_id, execution.payload, refused)
        if response == NOTHING:
            self._release_places(execution)  # those of copies that came meanwhile
        urgent = execution.line is NO_LINE  # it has asked for no place
        for message, reply in self._answers(execution, response):
            key = message_id if reply is None else reply.key(message_id)
            number = None
            if execution.owed is not None:
                number = self._ledger.post_of(execution, message, reply)
            self._outbox.put_response(message, key, now, number, urgent=urgent)
        if execution.logged:
            execution.log_answer(code)
        if execution.deliveries:
            self.acknowledgements.settle(execution)

    def _answers(self, execution: Execution, response: bytes) -> AnswerMessages:
        """The messages that answer a command: on the usual topic, and where else it asked for."""
        usual: list[tuple[Message, Reply | None]] = []
        if execution.wait_response:
            properties = self._responses.properties
            usual = [(Message(execution.response_topic, response, 1, False, properties), None)]
        if not execution.replies:
            return usual
        return usual + [(reply.message(response), reply) for reply in execution.replies]

    def give_back(self, execution: Execution) -> None:
        """A command that has not started is the broker's, or the ledger's, to bring again."""
        execution.finished = True
        self._ledger.give_back(execution)
        self._release_places(execution)
        self.acknowledgements.given_back(execution)

    def _release_places(self, execution: Execution) -> None:
        """It will not be answered."""
        for _ in range(execution.wait_response + len(execution.replies)):
            self._outbox.release()
        execution.wait_response = False
        execution.replies = ()
