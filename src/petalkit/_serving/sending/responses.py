"""Turns outcomes into responses: encodes them once, bounds them, and puts them into the outbox."""

from __future__ import annotations

import functools
import logging
from collections.abc import Hashable, Mapping
from typing import Any

import msgspec
import trio

from ..._values.codec import (
    Timestamps,
    printable,
)
from ..._values.dialects import SERVICE_RECEIVED, Dialect
from ..._values.errors import ErrorCode, PayloadError
from ..._values.messages import Identity, Message, Properties
from ..._values.request import Reply, whole_seconds
from ..._values.settings.settings import Settings
from ..._values.statistics import Counters
from ..failures import shortened, text_of
from ..line_limit import LineLimit
from .debug_reports import DebugReports
from .outbox import RECEIPT, Outbox

logger = logging.getLogger("petalkit.answers")

_REFUSED = {code: f"refused: {code}" for code in ErrorCode}


class Responses:
    """See the module.

    Args:
        settings: topics and bounds.
        outbox: where answers go.
        timestamps: the wall clock of the wire.
        counters: where refusals are counted.
        dialect: how they are worded.
        lines: of the log, about what is refused.

    Attributes:
        outbox, timestamps, counters, dialect, lines: as given; whoever answers needs them too.
        reports: what is said on `debug` of what nobody can be answered.
        properties: of every answer on the usual topic: after `response_expiry` a broker need not
            keep it either. None with MQTT 3.1.1.
    """

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        timestamps: Timestamps,
        counters: Counters,
        dialect: Dialect,
        lines: LineLimit,
    ) -> None:
        self._settings = settings
        self._payload_max = settings.payload_max
        self.outbox = outbox
        self.timestamps = timestamps
        self._topic_of: tuple[Identity | None, str] = (None, "")  # the last one, made once
        self.counters = counters
        self.dialect = dialect
        self.lines = lines
        self.properties = (
            Properties(message_expiry=whole_seconds(settings.response_expiry))
            if settings.speaks_mqtt_5
            else None
        )
        self.reports = DebugReports(settings, outbox, timestamps, dialect)
        outbox.hooks.on_too_large = self._say_too_large

    def _say_too_large(self, message: Message, answers: Hashable) -> None:
        """A response was over the broker's own bound, which is less than `payload_max`."""
        if answers is RECEIPT:
            return
        found: object = answers[0] if isinstance(answers, tuple) else answers  # see `Reply.key`
        message_id = found if isinstance(found, str) else None
        text = f"the response has {len(message.payload)} bytes, and the broker takes no such"
        payload = self.failure(message_id, ErrorCode.TOO_LARGE, text)
        if len(payload) >= len(message.payload):  # with a long ID: it would be replaced for ever
            return
        instead = msgspec.structs.replace(message, payload=payload)
        self.outbox.put_instead(instead, answers)

    def topic(self, identity: Identity) -> str:
        """The usual topic of responses."""
        if identity is not self._topic_of[0]:
            self._topic_of = (identity, identity.topic(self._settings.response_topic))
        return self._topic_of[1]

    def success(self, message_id: str | None, fields: Mapping[str, Any]) -> bytes:
        """The response to a success.

        Raises:
            PayloadError: see `Dialect.success`; or TOO_LARGE, it is over `payload_max`.
        """
        payload = self.dialect.success(message_id, self.timestamps(), fields)
        if len(payload) > self._payload_max:
            raise self._too_large(payload)
        return payload

    def own_words(
        self, message_id: str | None, fields: Mapping[str, Any], error_code: str | None
    ) -> bytes:
        """The response of a petal that words its own, of either outcome.

        Raises:
            PayloadError: see `Dialect.own_words`; or TOO_LARGE, it is over `payload_max`.
        """
        payload = self.dialect.own_words(message_id, self.timestamps(), fields, error_code)
        if len(payload) > self._payload_max:
            raise self._too_large(payload)
        return payload

    def _too_large(self, payload: bytes) -> PayloadError:
        return PayloadError(
            ErrorCode.TOO_LARGE,
            f"the response has {len(payload)} bytes; {self._payload_max} are allowed",
        )

    def failure(
        self,
        message_id: str | None,
        code: str,
        message: str,
        *,
        retryable: bool | None = None,
        remembered: bool = False,
        details: Mapping[str, Any] | None = None,
    ) -> bytes:
        """The response to a failure; details that cannot be sent are left out and logged.

        `remembered`: whether a copy gets it too, as `Finalization.finish` decides; see
        `Dialect.failure`.

        Never raises: petals write these texts, and whoever answers has nobody to complain to.
        """
        timestamp = self.timestamps()
        encode = functools.partial(self.dialect.failure, retryable=retryable, remembered=remembered)
        if not isinstance(code, ErrorCode):
            code = printable(code)
        message = printable(message)
        if details:
            try:
                payload = encode(message_id, timestamp, code, message, details=details)
                if len(payload) <= self._settings.payload_max:
                    return payload
                self._tell_left_out(code, "too large")
            except Exception as error:  # also a property or a mapping of the petal's that raises
                self._tell_left_out(code, text_of(error))
        payload = encode(message_id, timestamp, code, message)
        if len(payload) > self._settings.payload_max:
            text = "the text of the error is too long to be sent"
            payload = encode(message_id, timestamp, code, text)
        return payload

    def _tell_left_out(self, code: str, why: str) -> None:
        if self.lines.allows(logger, logging.ERROR, "details of errors left out"):
            logger.error("details of a %s error left out: %s", code, why)

    def refuse(
        self,
        identity: Identity,
        code: ErrorCode,
        text: str,
        *,
        command: str | None,
        message_id: str | None,
        answer: bool,
        reply: Reply | None = None,
        details: Mapping[str, Any] | None = None,
        key: Hashable = None,
    ) -> list[Message]:
        """Say no to a command that is not accepted, count it, and answer it if that is wanted.

        Args:
            identity: under which it came.
            code: why.
            text: the same for people.
            command: its name, if it could be read.
            message_id: its ID, if it could be read.
            answer: whether to answer on the usual topic.
            reply: where else to answer.
            details: more fields of the answer.
            key: what the outbox is to know the answer by.

        Returns:
            The answers for which there was no place.
        """
        self.counters.refused[str(code)] += 1
        if self.lines.allows(logger, logging.INFO, _REFUSED[code]):
            logger.info(
                "refused: %s",
                shortened(text),
                extra={"command": command, "message_id": message_id, "error_code": str(code)},
            )
        if not answer and reply is None:
            return []
        payload = self.failure(message_id, code, text, details=details)
        return self.put_refusal(identity if answer else None, reply, payload, key)

    def put_refusal(
        self,
        identity: Identity | None,
        reply: Reply | None,
        payload: bytes,
        key: Hashable = None,
    ) -> list[Message]:
        """Send a refusal to all who want it; its messages if there was no place for them.

        Args:
            identity: under which the command came, for the usual topic; None for not there.
            reply: where else.
            payload: the answer.
            key: what the outbox is to know it by.
        """
        messages: list[Message] = []
        if identity is not None:
            messages.append(Message(self.topic(identity), payload, 1, False, self.properties))
        if reply is not None:
            messages.append(reply.message(payload))
        # All or none: what is held may be given back, and then have another outcome.
        if not self.outbox.places.may_refuse(len(messages) * len(payload), len(messages)):
            return messages
        for message in messages:
            self.outbox.put_refusal(message, None, has_place=True, refused=key)
        return []

    def put_again(
        self, identity: Identity, message_id: str | None, payload: bytes, command: int | None
    ) -> None:
        """Send a recorded answer again; counted when there is no room.

        Args:
            identity: under which the command came.
            message_id: that it answers, if another answer to that may be on its way.
            payload: the answer.
            command: the number of the command in the journal whose answer it is again.
        """
        message = Message(self.topic(identity), payload, 1, False, self.properties)
        if not self.outbox.put_refusal(message, message_id, command):
            self.outbox.unanswered()

    def put_reply_again(
        self, reply: Reply, message_id: str | None, payload: bytes, command: int | None
    ) -> None:
        """The same to a Response Topic."""
        message = reply.message(payload)
        if not self.outbox.put_refusal(message, reply.key(message_id), command, reply):
            self.outbox.unanswered()

    def acknowledge(
        self,
        identity: Identity,
        message_id: str | None,
        service: str,
        ack_type: str = SERVICE_RECEIVED,
        *,
        reserved: bool = False,
    ) -> bool:
        """Send a receipt: the word that a command came. Never waits; in any dialect.

        It takes the place of a response, and so it passes events, which may fill theirs for long.
        It takes none of the allowance, which is for answers.

        Args:
            identity: under which the command came.
            message_id: of the command.
            service: who received it: the name of a petal.
            ack_type: what has happened to it.
            reserved: whether its place is reserved already.

        Returns:
            False when it was not sent: there was no place, or it is over `payload_max`. That is
            counted.
        """
        payload = self.dialect.ack(
            message_id, self.timestamps(), printable(service), printable(ack_type)
        )
        if len(payload) > self._payload_max:
            if reserved:
                self.outbox.release()
        elif reserved or self.outbox.reserve():
            topic = identity.topic(self._settings.ack_topic)
            message = Message(topic, payload, 1, False, self.properties)
            self.outbox.put_response(message, RECEIPT, trio.current_time())
            return True
        self.counters.acks_unsent += 1
        return False
