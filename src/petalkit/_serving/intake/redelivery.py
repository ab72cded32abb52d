"""Redelivery of commands: whichever came first is run, once, and answers for all of them.

The rule: a copy of what is queued or running joins it; one of what is finished gets its recorded
answer again; one of what is parked waits with it. The same ID with other words is no copy, and is
refused.
"""

from __future__ import annotations

import logging

import msgspec

from ..._values.errors import ErrorCode
from ..._values.request import REPLIES_MAX, wants_usual
from ..dispatch.execution import Execution
from ..ledger.acknowledgement import Acknowledgements
from ..ledger.contract import Ledger
from ..ledger.entry import Left
from ..ledger.forms import extras_replies
from ..ledger.records import CommandRecord
from ..ledger.remembered.duplicate_window import NOTHING, Finished, Spent, is_same_request
from .backlog.contract import Backlog
from .parked import ParkedLines
from .refusals import Refusals, Request

logger = logging.getLogger("petalkit.intake")


class Redelivery:
    """See the module.

    Args:
        ledger: what is known.
        acknowledgements: of copies.
        backlog: what waits in the ledger only.
        parked: what is parked.
        refusals: for what is no copy; sends a recorded answer again.
    """

    def __init__(
        self,
        ledger: Ledger[Execution],
        acknowledgements: Acknowledgements,
        backlog: Backlog,
        parked: ParkedLines,
        refusals: Refusals,
    ) -> None:
        self._ledger = ledger
        self._acknowledgements = acknowledgements
        self._backlog = backlog
        self._parked = parked
        self._refusals = refusals
        self._responses = refusals.responses
        self._outbox = refusals.responses.outbox
        self._counters = refusals.responses.counters

    def may_exist(self, message_id: str | None) -> bool:
        """Whether an earlier one of that ID is worth a closer look."""
        return message_id is not None and (
            message_id in self._ledger or self._parked.find(message_id) is not None
        )

    def is_known(self, message_id: str | None, now: float) -> bool:
        """Whether an earlier one of that ID is remembered."""
        return message_id is not None and (
            not isinstance(self._ledger.find(message_id, now), Left | None)
            or self._parked.find(message_id) is not None
        )

    def take(self, request: Request, now: float, *, closed: bool = False) -> bool:
        """Deal with a copy, or with what claims to be one; False when it is the first.

        Args:
            request: it.
            now: Trio's clock.
            closed: the device is stopping. False is returned then also for a copy that the next
                start has to deal with.

        Raises:
            JournalError: what it may be a copy of cannot be read.
        """
        message_id = request.command.message_id
        assert message_id is not None
        known = self._ledger.find(message_id, now)
        if known is None:
            return self._is_parked(request, message_id)
        if isinstance(known, Left):
            return (
                self._is_in_backlog(known, request)
                or self._is_left(known, request, closed)
                or self._is_parked(request, message_id)
            )
        if isinstance(known, Spent):
            self._is_spent(request, message_id)
        elif isinstance(known, Finished):
            self._is_finished(known, request, now)
        elif not _is_same(known.command.command, known.payload, request):
            self._refusals.reused(request)
        elif not self._join(known, request):
            self._refusals.no_place(request)
        else:
            self._counters.duplicates_joined += 1
            if request.wait_ack:
                self._refusals.receipt(request, None if known.spec.guessed else known.spec.petal)
            self._acknowledgements.owe_copy(known, request.delivery)
        return True

    def _is_finished(self, finished: Finished, request: Request, now: float) -> None:
        """Deal with a copy of a command that has its answer."""
        message_id = request.command.message_id
        if not _is_same(finished.command, finished.payload, request):
            self._refusals.reused(request)
            return
        self._counters.duplicates_answered += 1
        if self._responses.lines.allows(logger, logging.INFO, "not run again"):
            logger.info(
                "not run again: it was answered %.1f s ago, and is answered the same",
                now - finished.at,
                extra={"command": request.command.command, "message_id": message_id},
            )
        if request.wait_ack:
            self._refusals.receipt(request, None)
        if finished.response != NOTHING:
            self._answer_again(request, finished)
        self._acknowledgements.owe_again(request.delivery)

    def _is_spent(self, request: Request, message_id: str) -> None:
        """Deal with a copy of a command of which only that is known."""
        self._counters.duplicates_answered += 1
        if self._outbox.owes_answer(message_id):  # it is still on its way
            self._acknowledgements.owe_again(request.delivery)
        else:
            self._refusals.spent(request)

    def _answer_again(self, request: Request, finished: Finished) -> None:
        message_id = request.command.message_id
        # A redelivery may find the response still on its way; it needs no second one then.
        response, number = finished.response, finished.number
        owes, wishes = self._outbox.owes_answer, request.wishes
        if wants_usual(request.command, wishes) and not owes(message_id):
            self._responses.put_again(request.identity, message_id, response, number)
        reply = None if wishes is None else wishes.reply
        if reply is not None and not owes(reply.key(message_id)):
            self._responses.put_reply_again(reply, message_id, response, number)

    def _join(self, live: Execution, request: Request) -> bool:
        """Let a copy share the answer, wherever it wants it; False when there is no place for it.

        A copy can name a Response Topic of its own, and each is a message more: so they count.
        """
        wishes = request.wishes
        usual = wants_usual(request.command, wishes) and not live.wait_response
        replies = live.replies
        if wishes is not None and wishes.reply is not None and wishes.reply not in replies:
            replies = (*replies, wishes.reply)
        places = int(usual) + len(replies) - len(live.replies)
        if places and (len(replies) > REPLIES_MAX or not self._outbox.reserve(places)):
            return False
        live.wait_response = live.wait_response or usual
        if places and not live.finished:
            self._ledger.want(live, replies)
        if request.command.wait_response and not live.entered:  # its handler sees that too
            live.command = msgspec.structs.replace(live.command, wait_response=True)
        live.replies = replies
        return True

    def _is_in_backlog(self, left: Left, request: Request) -> bool:
        """Deal with a copy of a command that waits in the ledger only."""
        waiting = self._backlog.find(left)
        if waiting is None:
            return False
        if not _is_same(waiting.command, waiting.payload, request):
            self._refusals.reused(request)
        elif not self._backlog.join(waiting, request):
            self._refusals.no_place(request)
        else:
            self._counters.duplicates_joined += 1
            if request.wait_ack:
                self._refusals.receipt(request, None)
            self._acknowledgements.owe_again(request.delivery)
        return True

    def _is_left(self, left: Left, request: Request, closed: bool) -> bool:
        """Deal with a copy of what an earlier run has left, or this one leaves to the next.

        It must not be taken for the first. Its original is answered, or started, when it is taken
        up. A copy that wants more than that has to come again.
        """
        record = left.record
        if record is not None and not _is_same(record.command, record.payload, request):
            self._refusals.reused(request)
        elif record is None or not _is_answered_with(record, request):
            if closed:
                return False
            text = "it came before, and what an earlier run has left is being taken up"
            self._refusals.refuse(request, ErrorCode.BUSY, text)
        else:
            self._counters.duplicates_joined += 1
            if request.wait_ack:
                self._refusals.receipt(request, None)
            self._acknowledgements.copy_of_left(request.delivery)
        return True

    def _is_parked(self, request: Request, message_id: str) -> bool:
        """Deal with a copy of a command that is parked: one of them is enough."""
        parked = self._parked.find(message_id)
        if parked is None:
            return False
        if not _is_same(parked.spec.name, parked.delivery.payload, request):
            self._refusals.reused(request)
            return True
        reply = None if request.wishes is None else request.wishes.reply
        if reply is not None and (parked.wishes is None or parked.wishes.reply != reply):
            # What is parked may come again without this copy, which would have no answer then.
            text = "it came before, and is not accepted yet"
            self._refusals.refuse(request, ErrorCode.BUSY, text)
            return True
        self._counters.duplicates_joined += 1
        parked.wait_response = parked.wait_response or request.command.wait_response
        parked.wait_ack = parked.wait_ack or request.wait_ack
        first, copy = parked.delivery, request.delivery
        comes_again = parked.comes_again
        owed = self._acknowledgements.copy_of_parked(first, copy, comes_again=comes_again)
        self._parked.owe(parked, owed)
        return True


def _is_answered_with(record: CommandRecord, request: Request) -> bool:
    """Whether the answers that a recorded command wants are all that its copy wants."""
    wishes = request.wishes
    if wants_usual(request.command, wishes) and not record.wait_response:
        return False
    return wishes is None or wishes.reply is None or wishes.reply in extras_replies(record.extras)


def _is_same(name: str, payload: bytes, request: Request) -> bool:
    return is_same_request(name, payload, request.command, request.delivery.payload)
