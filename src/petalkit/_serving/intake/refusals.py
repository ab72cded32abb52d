"""Saying no to what came: counted, answered where that is wanted, and acknowledged."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import msgspec

from ..._values.codec import InvalidEnvelope
from ..._values.errors import ErrorCode
from ..._values.messages import Command, Identity
from ..._values.request import Reply, Terms, wants_usual
from ...transports import Delivery
from ..dispatch.unknown_commands import UnknownCommands
from ..ledger.recent_refusals import Refused, RefusedLately
from ..sending.responses import Answers

logger = logging.getLogger("petalkit.intake")


class Request(msgspec.Struct, eq=False):
    """A command as it came, before it is judged.

    Attributes:
        delivery: what brought it; its acknowledgement is owed.
        identity: under which it came.
        command: what it asks for.
        terms: on which it came.
        wait_ack: whether its sender is to be told that it came.
    """

    delivery: Delivery
    identity: Identity
    command: Command
    terms: Terms | None
    wait_ack: bool = False


class Refusals:
    """See the module.

    Args:
        unknown: what to say of commands that nobody serves.
        answers: encodes, counts and sends.
        lately: told of what was refused.
    """

    def __init__(self, unknown: UnknownCommands, answers: Answers, lately: RefusedLately) -> None:
        self._unknown = unknown
        self._answers = answers
        self._lately = lately

    def refuse(
        self,
        request: Request,
        code: ErrorCode,
        text: str,
        errors: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """Say no; without a word to the sender where another program may answer."""
        command, terms = request.command, request.terms
        ours = not self._unknown.may_be_anothers(command.command)
        self._answers.refuse(
            request.identity,
            code,
            text,
            command=command.command,
            message_id=command.message_id,
            answer=ours and wants_usual(command, terms),
            reply=terms.reply if ours and terms is not None else None,
            details={"errors": list(errors)} if errors else None,
        )
        refused = Refused(code, text, self._lately.arrival(request.delivery))
        self._lately.note(command.message_id, request.delivery.payload, refused)
        request.delivery.ack()

    def again(self, request: Request, refused: Refused) -> None:
        """Say the same once more, unless nobody waits for that; see `_refused_lately`."""
        command, terms = request.command, request.terms
        certain = self._lately.is_certain(refused, request.delivery)
        logger.info(
            "refused %s again: it may be a second delivery by the broker",
            refused.code,
            extra={"command": command.command, "message_id": command.message_id},
        )
        if not (certain or self._unknown.may_be_anothers(command.command)):
            answer = refused.answer or self._answers.failure(
                command.message_id, refused.code, refused.text
            )
            if wants_usual(command, terms):
                self._answers.put_unreserved(request.identity, None, answer)
            if terms is not None and terms.reply is not None:
                self._answers.put_reply(terms.reply, None, answer)
        arrival = self._lately.arrival(request.delivery)
        refused = msgspec.structs.replace(refused, arrival=arrival)
        self._lately.note(command.message_id, request.delivery.payload, refused)
        request.delivery.ack()

    def reused(self, request: Request) -> None:
        """Its ID belongs to another."""
        text = "this messageId was used for another command or other data"
        self.refuse(request, ErrorCode.MESSAGE_ID_REUSED, text)

    def no_place(self, request: Request) -> None:
        """It could not be answered if it were run."""
        self.refuse(request, ErrorCode.BUSY, "there is no room for one more response")

    def stopping(self, request: Request) -> None:
        """It came too late for this process."""
        self.refuse(request, ErrorCode.SHUTTING_DOWN, "the device is shutting down")

    def unknown(self, request: Request) -> None:
        """No petal serves it. Answered as it is set, with what is served."""
        command, terms = request.command, request.terms
        name = command.command
        answered = self._unknown.are_answered(name)
        usual = answered and wants_usual(command, terms)
        reply = terms.reply if answered and terms is not None else None
        self._answers.refuse(
            request.identity,
            ErrorCode.UNKNOWN_COMMAND,
            self._unknown.text(name),
            command=name,
            message_id=command.message_id,
            answer=usual,
            reply=reply,
            details=self._unknown.details(name) if usual or reply is not None else None,
        )
        request.delivery.ack()

    def unreadable(
        self, delivery: Delivery, identity: Identity, error: InvalidEnvelope, reply: Reply | None
    ) -> None:
        """It is no command; answered as far as it could be read, else told on `debug`."""
        self._answers.refuse(
            identity,
            error.code,
            error.message,
            command=error.command,
            message_id=error.message_id,
            answer=error.wait_response and not (reply is not None and reply.is_usual),
            reply=reply,
            details={"errors": list(error.errors)} if error.errors else None,
        )
        if not error.wait_response and reply is None:
            self._answers.report_unreadable(identity, delivery.topic, error)
        delivery.ack()
