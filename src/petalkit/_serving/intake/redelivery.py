"""Copies of commands: whichever came first is run, once, and answers for all of them.

The rule: a copy of what is queued or running joins it; one of what is finished gets its recorded
answer again; one of what is held waits with it. The same ID with other words is no copy, and is
refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from ..._values.errors import ErrorCode
from ..._values.request import REPLIES_MAX, wants_usual
from ..._values.statistics import Counters
from ...transports import Delivery, WithdrawableDelivery
from ..dispatch.execution import Execution
from ..ledger.duplicate_window import NOTHING, DuplicateWindow, Finished, is_same_request
from ..ledger.journal.forms import command_extras, extras_replies
from ..ledger.journal.records import CommandRecord
from ..sending.outbox import Outbox
from ..sending.responses import Answers
from .disk_backlog import DiskBacklog
from .parked import HeldLine
from .refusals import Refusals, Request

logger = logging.getLogger("petalkit.intake")


class Copies:
    """See the module.

    Args:
        duplicates: what is queued, running or finished.
        held: what is held.
        answers: sends a recorded answer again.
        refusals: for what is no copy.
        outbox: has the places of answers, and those that are on their way.
        counters: counts copies.
        owe: acknowledges a copy to the broker together with its first.
        acknowledge: acknowledges one when what it wants is on disk.
        tell: tells its sender that it came; given the petal, if it is known.
        disk: what waits on disk; None for nothing.
    """

    def __init__(
        self,
        duplicates: DuplicateWindow[Execution],
        held: HeldLine,
        answers: Answers,
        refusals: Refusals,
        outbox: Outbox,
        counters: Counters,
        owe: Callable[[Execution, Delivery], None],
        acknowledge: Callable[[Delivery], None],
        tell: Callable[[Request, str | None], None],
        disk: DiskBacklog | None,
    ) -> None:
        self._duplicates = duplicates
        self._held = held
        self._answers = answers
        self._refusals = refusals
        self._outbox = outbox
        self._counters = counters
        self._owe = owe
        self._acknowledge = acknowledge
        self._tell = tell
        self._disk = disk

    def may_exist(self, message_id: str | None) -> bool:
        """Whether an earlier one of that ID is worth a closer look."""
        return message_id is not None and (
            message_id in self._duplicates or self._held.find(message_id) is not None
        )

    def is_known(self, message_id: str | None, now: float) -> bool:
        """Whether an earlier one of that ID is remembered."""
        return message_id is not None and (
            self._duplicates.live(message_id) is not None
            or self._duplicates.finished(message_id, now) is not None
            or self._held.find(message_id) is not None
        )

    def take(self, request: Request, now: float, *, closed: bool = False) -> bool:
        """Deal with a copy, or with what claims to be one; False when it is the first.

        Args:
            request: it.
            now: Trio's clock.
            closed: the device is stopping. False is returned then also for a copy that the next
                start has to deal with.
        """
        message_id = request.command.message_id
        assert message_id is not None
        live = self._duplicates.live(message_id)
        if live is not None:
            if not _is_same(live.command.command, live.payload, request):
                self._refusals.reused(request)
            elif not self._join(live, request):
                self._refusals.no_place(request)
            else:
                self._counters.duplicates_joined += 1
                if request.wait_ack:
                    self._tell(request, None if live.spec.guessed else live.spec.petal)
                self._owe(live, request.delivery)
            return True
        finished = self._duplicates.finished(message_id, now)
        if finished is None:
            return (
                self._is_on_disk(request, message_id)
                or self._is_left(request, message_id, closed)
                or self._is_held(request, message_id)
            )
        if not _is_same(finished.command, finished.payload, request):
            self._refusals.reused(request)
            return True
        self._counters.duplicates_answered += 1
        ago = now - finished.at
        logger.info(
            "not run again: it was answered %.1f s ago, and is answered the same",
            ago,
            extra={"command": request.command.command, "message_id": message_id},
        )
        if request.wait_ack:
            self._tell(request, None)
        if finished.response != NOTHING:
            self._answer_again(request, message_id, finished)
        self._acknowledge(request.delivery)
        return True

    def _answer_again(self, request: Request, message_id: str, finished: Finished) -> None:
        # A redelivery may find the response still on its way; it needs no second one then.
        response, number = finished.response, finished.number
        owes, terms = self._outbox.owes_answer, request.terms
        if wants_usual(request.command, terms) and not owes(message_id):
            self._answers.put_unreserved(request.identity, message_id, response, number)
        reply = None if terms is None else terms.reply
        if reply is not None and not owes(reply.key(message_id)):
            self._answers.put_reply(reply, message_id, response, number)

    def _join(self, live: Execution, request: Request) -> bool:
        """Let a copy share the answer, wherever it wants it; False when there is no place for it.

        A copy can name a Response Topic of its own, and each is a message more: so they count.
        """
        terms = request.terms
        usual = wants_usual(request.command, terms) and not live.wait_response
        replies = live.replies
        if terms is not None and terms.reply is not None and terms.reply not in replies:
            replies = (*replies, terms.reply)
        places = int(usual) + len(replies) - len(live.replies)
        if places and (len(replies) > REPLIES_MAX or not self._outbox.reserve(places)):
            return False
        live.wait_response = live.wait_response or usual
        if places and live.recorded and not live.finished and self._disk is not None:
            extras = command_extras(live.command.properties, replies, guessed=live.spec.guessed)
            self._disk.want(live.number, live.wait_response, extras)
        if request.command.wait_response and not live.entered:  # its handler sees that too
            live.command = msgspec.structs.replace(live.command, wait_response=True)
        live.replies = replies
        return True

    def _is_on_disk(self, request: Request, message_id: str) -> bool:
        """Deal with a copy of a command that waits on disk."""
        if self._disk is None:
            return False
        waiting = self._disk.find(message_id)
        if waiting is None:
            return False
        if not _is_same(waiting.command, waiting.payload, request):
            self._refusals.reused(request)
        elif not self._disk.join(waiting, request):
            self._refusals.no_place(request)
        else:
            self._counters.duplicates_joined += 1
            if request.wait_ack:
                self._tell(request, None)
        return True

    def _is_left(self, request: Request, message_id: str, closed: bool) -> bool:
        """Deal with a copy of what an earlier run has left, or this one leaves to the next.

        It must not be taken for the first. Its original is answered, or started, when it is taken
        up. A copy that wants more than that has to come again.
        """
        if not self._duplicates.is_left(message_id):
            return False
        record = self._duplicates.left(message_id)
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
                self._tell(request, None)
            request.delivery.ack()
        return True

    def _is_held(self, request: Request, message_id: str) -> bool:
        """Deal with a copy of a command that is held: one of them is enough."""
        held = self._held.find(message_id)
        if held is None:
            return False
        if not _is_same(held.spec.name, held.delivery.payload, request):
            self._refusals.reused(request)
            return True
        reply = None if request.terms is None else request.terms.reply
        if reply is not None and (held.terms is None or held.terms.reply != reply):
            # What is held may come again without this copy, which would have no answer then.
            text = "it came before, and is not accepted yet"
            self._refusals.refuse(request, ErrorCode.BUSY, text)
            return True
        self._counters.duplicates_joined += 1
        held.wait_response = held.wait_response or request.command.wait_response
        held.wait_ack = held.wait_ack or request.wait_ack
        if isinstance(held.delivery, WithdrawableDelivery):
            # It could be taken back, although the sender is told here that it came.
            held.comes_again = False
            held.delivery.ack()
        request.delivery.ack()
        return True


def _is_answered_with(record: CommandRecord, request: Request) -> bool:
    """Whether the answers that a recorded command wants are all that its copy wants."""
    terms = request.terms
    if wants_usual(request.command, terms) and not record.wait_response:
        return False
    return terms is None or terms.reply is None or terms.reply in extras_replies(record.extras)


def _is_same(name: str, payload: bytes, request: Request) -> bool:
    return is_same_request(name, payload, request.command, request.delivery.payload)
