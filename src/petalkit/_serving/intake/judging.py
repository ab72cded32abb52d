"""Judging: what a delivery asks for, and whether it is a command that may be accepted.

The order matters. What can be said of the sender's properties comes first: they can be read, and
answered, where the payload cannot. A copy belongs to its first, so it is found before its expiry is
looked at. What may be accepted goes to `admission`.
"""

from __future__ import annotations

import logging
import math

import msgspec

from ..._values.codec import InvalidEnvelope, decode_command, parse_expiry, printable
from ..._values.errors import ErrorCode
from ..._values.messages import Command, Identity, Properties
from ..._values.request import Reply, Wishes
from ..._values.response_topics import ResponseTopics
from ..._values.settings.settings import Settings
from ...transports import Delivery
from ..ledger.records import JournalError
from ..long_steps import MEASURED, LongSteps
from .admission import CANNOT_RECORD, Admission
from .malformed import MalformedMessages
from .parked import limits_of
from .redelivery import Redelivery
from .refusals import Refusals, Request
from .unexpected_topics import UnexpectedTopics

logger = logging.getLogger("petalkit.intake")


class Judging:
    """See the module.

    Args:
        settings: topics and limits.
        admission: for what may be accepted.
        redelivery: for copies.
        refusals: for what may not.

    Attributes:
        unexpected: for what is on other topics.
    """

    def __init__(
        self, settings: Settings, admission: Admission, redelivery: Redelivery, refusals: Refusals
    ) -> None:
        self._settings = settings
        self._limits = limits_of(settings)
        self._admission = admission
        self._acknowledgements = admission.acknowledgements
        self._redelivery = redelivery
        self._refusals = refusals
        self._table = refusals.catalog.table
        self._responses = refusals.responses
        self._counters = refusals.responses.counters
        self._malformed = MalformedMessages(refusals.responses, admission.acknowledgements)
        self._long_steps = LongSteps(self._counters)
        self._lines = refusals.responses.lines
        self._response_topics = ResponseTopics(settings, self._counters)
        self._honours_wait_ack = refusals.responses.dialect.honours_wait_ack
        self._topics: frozenset[str] = frozenset()
        self.unexpected = UnexpectedTopics(
            settings, self._counters, self._lines, admission.acknowledgements
        )

    def expect(self, identity: Identity) -> None:
        """Commands come on the topics of this identity from now on."""
        self._topics = self.unexpected.expect(identity)

    def take(self, delivery: Delivery, identity: Identity) -> None:
        """Judge one delivery."""
        fault = delivery.fault
        if fault is not None and not fault.too_large:
            self._malformed.refuse(delivery, identity, fault)
            return
        if delivery.topic not in self._topics:
            self.unexpected.take(delivery)
            return
        properties = delivery.properties
        reply: Reply | None = None
        objection: str | None = None
        if properties is not None:
            reply, objection = self._response_topics.reply(properties, identity)
        try:
            if fault is not None:
                raise InvalidEnvelope(ErrorCode.TOO_LARGE, fault.text)
            if len(delivery.payload) < MEASURED:
                command = decode_command(delivery.payload, delivery.topic, self._limits)
            else:
                command = self._decoded_and_timed(delivery)
            expires_at = parse_expiry(command) if "expiresAt" in command.extra else None
            if properties is not None:
                command = self._with_properties(command, properties)
        except InvalidEnvelope as error:
            if objection is not None:
                self._warn_of_topic(objection, error.command, error.message_id)
                error.wait_response |= error.message_id is not None
            self._refusals.unreadable(delivery, identity, error, reply)
            return
        unheard: str | None = None
        if objection is not None:
            self._warn_of_topic(objection, command.command, command.message_id)
            if not command.wait_response:  # but an answer is wanted, and has one place left
                command = msgspec.structs.replace(command, wait_response=True)
                unheard = objection
        wishes: Wishes | None = None
        if properties is not None or expires_at is not None:
            wishes = self._wishes(properties, expires_at, reply)
        # What is no boolean asks for nothing.
        wait_ack = self._honours_wait_ack and command.extra.get("waitAck") is True
        if wait_ack:
            spec = self._table.lookup(command.command)
            wait_ack = spec is None or not spec.guessed  # or nobody knows who received it
        request = Request(delivery, identity, command, wishes, wait_ack, unheard)
        try:
            self._judge(request)
        except JournalError as error:  # what it may be a copy of cannot be read
            if self._lines.allows(logger, logging.ERROR, "the journal cannot be read"):
                logger.error("%s", error)
            self._refusals.refuse(request, ErrorCode.UNAVAILABLE, CANNOT_RECORD)

    def _decoded_and_timed(self, delivery: Delivery) -> Command:
        """Its command. Raises InvalidEnvelope, as `decode_command` does."""
        payload, steps = delivery.payload, self._long_steps
        began = steps.clock()
        name: str | None = None
        try:
            command = decode_command(payload, delivery.topic, self._limits)
            name = command.command
        except InvalidEnvelope as error:
            name = error.command
            raise
        finally:
            step = f"decoding its {len(payload)} bytes"
            steps.tell(began, step, {"command": printable(name or "what is no command")})
        return command

    def _judge(self, request: Request) -> None:
        command, now = request.command, self._admission.now
        if self._admission.closed and not self._admission.is_urgent(command.command):
            self._turn_away(request, now)
            return
        if request.delivery.retain:
            self._refuse_retained(request, now)
            return
        copies = self._redelivery
        if copies.may_exist(command.message_id) and copies.take(request, now):
            return
        recent = self._refusals.recent
        refused = None
        if recent.messages or recent.waiting:
            refused = recent.find(command.message_id, request.delivery)
        if refused is not None:
            self._counters.duplicates_answered += 1
            self._refusals.again(request, refused)
            return
        spec = self._table.lookup(command.command)
        if request.unheard is not None and spec is not None and not spec.urgent:
            text = f"not run: its Response Topic is refused: {request.unheard}"
            self._refusals.refuse(request, ErrorCode.UNAUTHORIZED, text)
            return
        freshness = self._admission.freshness
        if request.wishes is not None or freshness.judges_all:
            objection = freshness.judge(request, spec)
            if objection is not None:
                self._refusals.refuse(request, *objection)
                return
        if spec is None:
            self._refusals.unknown(request)
        else:
            self._admission.admit(request, spec)

    def _turn_away(self, request: Request, now: float) -> None:
        """The device is stopping: what comes again is left to the session."""
        copies, message_id = self._redelivery, request.command.message_id
        if copies.may_exist(message_id) and copies.take(request, now, closed=True):
            return
        delivery = request.delivery
        if self._acknowledgements.comes_again(delivery):
            self._counters.given_back += 1
        elif delivery.qos > 0 and not self._responses.outbox.is_sending:
            # Its answer would not leave any more, and nobody brings it again: it is lost. Not
            # acknowledged, in case that the broker has kept its session after all.
            self._refusals.unsaid(request)
        else:
            self._refusals.stopping(request)

    def _refuse_retained(self, request: Request, now: float) -> None:
        if self._redelivery.is_known(request.command.message_id, now):
            # It came live before, without the flag, and has its answer.
            self._counters.refused[str(ErrorCode.RETAINED)] += 1
            self._acknowledgements.refused(request.delivery)
            return
        text = "a retained command is not run: it was sent to whoever comes, at any time"
        self._refusals.refuse(request, ErrorCode.RETAINED, text)

    def _with_properties(self, command: Command, properties: Properties) -> Command:
        """The command with what MQTT 5 said of it.

        Raises:
            InvalidEnvelope: TOO_LARGE.
        """
        if properties.size > self._settings.properties_max:
            refusal = InvalidEnvelope(
                ErrorCode.TOO_LARGE,
                f"the properties have {properties.size} bytes; "
                f"{self._settings.properties_max} are allowed",
            )
            refusal.message_id = command.message_id
            refusal.wait_response = command.wait_response or properties.response_topic is not None
            refusal.command = command.command
            raise refusal
        return msgspec.structs.replace(command, properties=properties)

    def _wishes(
        self, properties: Properties | None, expires_at: float | None, reply: Reply | None
    ) -> Wishes | None:
        expiry = None if properties is None else properties.message_expiry
        if expiry is None and expires_at is None and reply is None:
            return None
        return Wishes(
            expires_at=math.inf if expires_at is None else expires_at,
            # The broker has taken off what the message waited there, so it counts from here.
            deadline=math.inf if expiry is None else self._admission.now + expiry,
            reply=reply,
        )

    def _warn_of_topic(self, objection: str, command: str | None, message_id: str | None) -> None:
        if self._lines.allows(logger, logging.WARNING, "not answered on its Response Topic"):
            logger.warning(
                "a command is not answered on its Response Topic: %s",
                objection,
                extra={"command": command, "message_id": message_id},
            )
