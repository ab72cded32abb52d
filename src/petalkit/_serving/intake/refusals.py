"""What is said at once to what came: no, or only that it came.

What is refused is acknowledged, or held until its answer finds a place: see `held_refusals`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import msgspec

from ..._values.codec import InvalidEnvelope
from ..._values.errors import ErrorCode
from ..._values.messages import Command, Identity, Message
from ..._values.request import Reply, Wishes, wants_usual
from ...transports import Delivery
from ..dispatch.catalog import Catalog
from ..ledger.recent_refusals import NOTHING_NOTED, RecentRefusals, Refused
from ..sending.held_refusals import HeldRefusals
from ..sending.responses import Responses

logger = logging.getLogger("petalkit.intake")

STOPPING = "the device is shutting down"


class Request(msgspec.Struct, eq=False):
    """A command as it came, before it is judged.

    Attributes:
        delivery: what brought it; its acknowledgement is owed.
        identity: under which it came.
        command: what it asks for.
        wishes: of its sender.
        wait_ack: whether its sender is to be told that it came.
        unheard: why it cannot be answered where its sender listens; None when it can.
    """

    delivery: Delivery
    identity: Identity
    command: Command
    wishes: Wishes | None
    wait_ack: bool = False
    unheard: str | None = None


class Refusals:
    """See the module.

    Args:
        catalog: what to say of commands that nobody serves.
        responses: encodes, counts and sends.
        recent: told of what was refused.
        held: acknowledges what was, or holds it until it can be answered.
    """

    def __init__(
        self,
        catalog: Catalog,
        responses: Responses,
        recent: RecentRefusals,
        held: HeldRefusals,
    ) -> None:
        self.catalog = catalog
        self.responses = responses
        self.recent = recent
        self.held = held

    def refuse(
        self,
        request: Request,
        code: ErrorCode,
        text: str,
        errors: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """Say no; without a word to the sender where another program may answer."""
        command, wishes = request.command, request.wishes
        ours = not self.catalog.may_be_anothers(command.command)
        refused = Refused(code, text, self.recent.arrival(request.delivery))
        noting = self.recent.noting(command.message_id, request.delivery.payload, refused)
        left = self.responses.refuse(
            request.identity,
            code,
            text,
            command=command.command,
            message_id=command.message_id,
            answer=ours and wants_usual(command, wishes),
            reply=wishes.reply if ours and wishes is not None else None,
            details={"errors": list(errors)} if errors else None,
            key=noting.key,
        )
        self.held.finish(request.delivery, left, noting)

    def again(self, request: Request, refused: Refused) -> None:
        """Say the same once more, unless nobody waits for that; see `recent_refusals`."""
        command, wishes = request.command, request.wishes
        left: list[Message] = []
        arrival = self.recent.arrival(request.delivery)
        noting = self.recent.noting(
            command.message_id,
            request.delivery.payload,
            msgspec.structs.replace(refused, arrival=arrival),
        )
        certain = self.recent.is_certain(refused, request.delivery)
        if self.responses.lines.allows(logger, logging.INFO, "refused again"):
            logger.info(
                "refused %s again: it may be a second delivery by the broker",
                refused.code,
                extra={"command": command.command, "message_id": command.message_id},
            )
        if not (certain or self.catalog.may_be_anothers(command.command)):
            answer = refused.answer or self.responses.failure(
                command.message_id, refused.code, refused.text
            )
            usual = request.identity if wants_usual(command, wishes) else None
            reply = None if wishes is None else wishes.reply
            left = self.responses.put_refusal(usual, reply, answer, noting.key)
        self.held.finish(request.delivery, left, noting)

    def receipt(self, request: Request, petal: str | None, *, reserved: bool = False) -> None:
        """Tell the sender, on `ack`, that its command came, or a copy of it.

        Args:
            request: what came.
            petal: that serves it; None when that has to be looked up.
            reserved: whether there is a place for it in the outbox.
        """
        command = request.command
        if petal is None:
            spec = self.catalog.table.lookup(command.command)
            # It may be served no longer; its prefix is the next best name.
            petal = command.command.partition("/")[0] if spec is None else spec.petal
        self.responses.acknowledge(request.identity, command.message_id, petal, reserved=reserved)

    def reused(self, request: Request) -> None:
        """Its ID belongs to another."""
        text = "this messageId was used for another command or other data"
        self.refuse(request, ErrorCode.MESSAGE_ID_REUSED, text)

    def spent(self, request: Request) -> None:
        """Its ID has run a short while ago, and what it was is let go."""
        text = "this messageId has run a short while ago, and its answer is not kept any more"
        self.refuse(request, ErrorCode.MESSAGE_ID_REUSED, text)

    def crowded(self, request: Request, why: str) -> None:
        """To run it, one that ran a short while ago would have to be forgotten."""
        self.refuse(request, ErrorCode.BUSY, why)

    def no_place(self, request: Request) -> None:
        """It could not be answered if it were run."""
        self.refuse(request, ErrorCode.BUSY, "there is no room for one more response")

    def unavailable(self, request: Request, petal: str) -> None:
        """Its petal has failed: its sender, who waits, is told at once."""
        self.refuse(request, ErrorCode.UNAVAILABLE, f"petal {petal!r} is not available")

    def stopping(self, request: Request) -> None:
        """It came too late for this process."""
        self.refuse(request, ErrorCode.SHUTTING_DOWN, STOPPING)

    def unsaid(self, request: Request) -> None:
        """The same, and its sender cannot be told. It is not acknowledged."""
        command = request.command
        self.responses.counters.unanswered += 1
        self.responses.refuse(
            request.identity,
            ErrorCode.SHUTTING_DOWN,
            STOPPING,
            command=command.command,
            message_id=command.message_id,
            answer=False,
        )

    def unknown(self, request: Request) -> None:
        """No petal serves it. Answered as it is set, with what is served."""
        command, wishes = request.command, request.wishes
        name = command.command
        answered = self.catalog.are_answered(name)
        usual = answered and wants_usual(command, wishes)
        reply = wishes.reply if answered and wishes is not None else None
        left = self.responses.refuse(
            request.identity,
            ErrorCode.UNKNOWN_COMMAND,
            self.catalog.text(name),
            command=name,
            message_id=command.message_id,
            answer=usual,
            reply=reply,
            details=self.catalog.details(name) if usual or reply is not None else None,
        )
        self.held.finish(request.delivery, left, NOTHING_NOTED)

    def unreadable(
        self, delivery: Delivery, identity: Identity, error: InvalidEnvelope, reply: Reply | None
    ) -> None:
        """It is no command; answered as far as it could be read, else told on `debug`."""
        left = self.responses.refuse(
            identity,
            error.code,
            error.message,
            command=error.command,
            message_id=error.message_id,
            answer=error.wait_response and not (reply is not None and reply.is_usual),
            reply=reply,
            details={"errors": list(error.errors)} if error.errors else None,
        )
        nobody = not error.wait_response and reply is None
        if nobody and not self.responses.reports.unreadable(identity, delivery.topic, error):
            self.responses.counters.unanswered += 1
        self.held.finish(delivery, left, NOTHING_NOTED)
