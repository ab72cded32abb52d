"""What an earlier run has left behind, taken up by this one.

What had finished is answered. What was running when the process died is not run again, because
nobody knows how far it had come: it is `INTERRUPTED`, unless it is declared `idempotent`. What had
not started starts.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Hashable, Mapping
from typing import Any

import msgspec
import trio

from ..._values.basics.clocks import wall_clock_is_set
from ..._values.basics.words import counted
from ..._values.errors import ErrorCode
from ..._values.messages import Identity, Message
from ..._values.request import Reply
from ..._values.response_topics import ResponseTopics
from ..._values.settings.settings import Settings
from ..._values.topics import TopicError
from ..dispatch.catalog import Catalog
from ..dispatch.execution import Execution
from ..ledger.contract import Ledger
from ..ledger.entry import Ending
from ..ledger.forms import extras_replies, identity_of, message_of, was_guessed
from ..ledger.owed_messages import REJECTED
from ..ledger.records import CommandRecord, Found, MessageRecord
from ..ledger.remembered.duplicate_window import NOTHING
from ..sending.outbox import Restored
from ..sending.responses import Responses

logger = logging.getLogger("petalkit.journal")

STARTS_MAX = 3  # of an idempotent command; one that kills the process each time has to end


class Recovery:
    """See the module.

    Args:
        settings: topics and limits.
        catalog: says what may be run again, and which commands another program may answer.
        responses: words, encodes, counts; has the outbox, which takes what is to be sent.
        ledger: what the earlier run has left, and where endings are put down.
    """

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        responses: Responses,
        ledger: Ledger[Execution],
    ) -> None:
        self.catalog = catalog
        self.responses = responses
        self._settings = settings
        self._outbox = responses.outbox
        self._counters = responses.counters
        self._response_topics = ResponseTopics(settings, responses.counters)
        self._ledger = ledger

    def restore_messages(self, found: Found) -> None:
        """Take up what was to be sent. It needs no petal."""
        for record in found.messages:
            try:
                message, answers, reply = message_of(record)
            except msgspec.MsgspecError:
                self._give_up(record, "its record cannot be read")
                continue
            if reply is not None and not self._is_allowed(reply, None):
                self._give_up(record, "its Response Topic is not allowed any more")
                continue
            left = _seconds(self.responses.timestamps.now(), record.expires_at)
            restored = Restored(left, record.answers is None, record.name)
            self._outbox.restore(message, answers, record.number, restored)

    def _give_up(self, record: MessageRecord, reason: str) -> None:
        self._counters.publish_rejected += 1
        logger.error("a message of an earlier run is not sent: %s", reason)
        self._ledger.owed.settle(record.number, REJECTED)

    def take_up(self, found: Found) -> int:
        """Take up what was running, and return how many commands are to be started.

        When the lifespans are entered: a petal may add its commands there.
        """
        again = sum(self._take_up_running(record) for record in found.running)
        waiting = found.not_started + again
        self._counters.restored += waiting
        if waiting or found.running or found.messages:
            logger.warning(
                "taken up from %s: %s to start, %d interrupted, %s to send",
                self._ledger.place,
                counted(waiting, "command"),
                len(found.running) - again,
                counted(len(found.messages), "message"),
            )
        return waiting

    def _take_up_running(self, record: CommandRecord) -> bool:
        """Whether it is to be started again."""
        try:
            spec = self.catalog.table.lookup(record.command)
        except Exception:  # a petal's own code may be asked
            logger.exception("nobody can say who serves %r", record.command)
            spec = None
        if spec is not None and spec.idempotent and record.starts < STARTS_MAX:
            self._ledger.requeue(record)
            return True
        self._counters.interrupted += 1
        text = f"{record.command} was running when the device's program ended"
        self.end(record, ErrorCode.INTERRUPTED, text, remembered=True)
        return False

    def end(
        self,
        record: CommandRecord,
        code: ErrorCode,
        text: str,
        *,
        remembered: bool = False,
        reserved: bool = False,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Give a command its final state that is in no line, and was not started by this run.

        Args:
            record: of it.
            code: why.
            text: the same for people.
            remembered: whether a later copy is a duplicate; else it is judged anew.
            reserved: whether the places of its answers are. Else they pass the bound: for those
                that were running, which are few.
            details: more fields of the answer.
        """
        self._counters.count_failed(str(code))
        fields = {"command": record.command, "message_id": record.message_id}
        logger.info("ended: %s", code, extra={**fields, "error_code": str(code)})
        replies = self.replies(record)
        messages: list[tuple[Message, Reply | None]] = []
        if self._was_guessed(record) and self.catalog.may_be_anothers(record.command):
            response, remembered = NOTHING, False
        else:
            response = self.responses.failure(
                record.message_id, code, text, remembered=remembered, details=details
            )
            messages = self._messages(record, replies, response)
        ending = Ending(response, str(code), remembered, trio.current_time())
        then = functools.partial(self._put, record.message_id, reserved)
        self._ledger.end(record, ending, messages, then)
        for _ in range(reserved * (record.wait_response + len(replies) - len(messages))):
            self._outbox.release()

    def _put(
        self,
        message_id: str | None,
        reserved: bool,
        message: Message,
        reply: Reply | None,
        number: int,
    ) -> None:
        key: Hashable = message_id if reply is None else reply.key(message_id)
        if reserved:
            self._outbox.put_response(message, key, trio.current_time(), number)
        else:
            restored = Restored(self._settings.response_expiry, False, None)
            self._outbox.restore(message, key, number, restored)

    def replies(self, record: CommandRecord) -> tuple[Reply, ...]:
        """The Response Topics that a command is still to be answered on."""
        try:
            replies = extras_replies(record.extras)
            identity = identity_of(record) if replies else None
        except (msgspec.MsgspecError, TopicError):
            return ()
        return tuple(one for one in replies if self._is_allowed(one, identity))

    def _is_allowed(self, reply: Reply, identity: Identity | None) -> bool:
        if identity is None and reply.is_usual:
            return True  # where it was asked, and where the other answers went
        return self._response_topics.objection(reply.topic, identity) is None

    def _was_guessed(self, record: CommandRecord) -> bool:
        try:
            return was_guessed(record.extras)
        except msgspec.MsgspecError:
            return False

    def _messages(
        self, record: CommandRecord, replies: tuple[Reply, ...], response: bytes
    ) -> list[tuple[Message, Reply | None]]:
        found: list[tuple[Message, Reply | None]] = []
        if record.wait_response:
            try:
                topic = identity_of(record).topic(self._settings.response_topic)
            except TopicError as error:  # a byte of the disk has changed: nobody can be answered
                logger.error("a command of the journal cannot be answered: %s", error)
            else:
                message = Message(topic, response, 1, False, self.responses.properties)
                found.append((message, None))
        found.extend((reply.message(response), reply) for reply in replies)
        return found


def _seconds(wall: float, moment: float) -> float:
    """From now to a moment on the wall clock; infinity when one of both means nothing."""
    if not (wall_clock_is_set(wall) and wall_clock_is_set(moment)):
        return math.inf
    return moment - wall
