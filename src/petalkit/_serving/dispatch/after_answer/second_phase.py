"""Commands that are answered before they end: what they come to is said later, under the same ID.

    accept() -> the first answer is put down and leaves -> the handler goes on -> the second phase

The rule: to the ledger the first answer ends the command, so that copies get that again. What is
still owed has a note beside it, and so it is said after a crash too, as `INTERRUPTED`. To the
dispatcher the command goes on: it has its slot, its time limit, and the grace of a stop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from ...._values.codec import NO_MESSAGE_ID, encode_json
from ...._values.envelopes.for_web import for_web
from ...._values.errors import ErrorCode, PayloadError
from ...._values.messages import NO_PROPERTIES, Identity, Message
from ...._values.settings.settings import Settings
from ...ledger.contract import Ledger
from ...ledger.forms import command_extras, extras_replies
from ...sending.responses import Responses
from ..execution import Execution

if TYPE_CHECKING:
    from ..finalization import Finalization


class SecondNote(msgspec.Struct, tag="second", omit_defaults=True):
    """What the ledger keeps of one: whom to tell, under which words."""

    command: str
    message_id: str
    organization_id: str
    device_id: str
    base_topic: str
    extras: bytes | None = None  # Response Topics, as the record of a command has them


_encode = msgspec.json.Encoder().encode


class SecondPhases:
    """See the module.

    Args:
        settings: topics.
        ledger: keeps what is owed.
        responses: words it, and has the outbox.
        finalization: gives a command its first answer.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger[Execution],
        responses: Responses,
        finalization: Finalization,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._responses = responses
        self._outbox = responses.outbox
        self._finalization = finalization

    async def accept(self, execution: Execution, fields: Mapping[str, Any]) -> None:
        """Give a command that runs its first answer, and return when that is safe.

        Raises:
            PayloadError: JSON cannot say the fields, or they are too large, or say `pending`.
            RuntimeError: it has one already.
        """
        if "pending" in fields:
            text = "accept() writes 'pending' itself; rename the field"
            raise PayloadError(ErrorCode.HANDLER_ERROR, text)
        if execution.goes_on or execution.finished:
            raise RuntimeError(f"{execution.spec.name} has its first answer already")
        message_id = execution.command.message_id
        response = self._responses.success(message_id, {"pending": True, **fields})
        # Their places are taken by the first answer, and these by the second.
        self._outbox.reserve(1 + len(execution.replies), urgent=True)
        execution.second_replies = execution.replies
        execution.goes_on = True
        safe = trio.Event()
        if execution.recorded:
            # Whatever the disk does now: no more of them than commands that run.
            execution.note = self._ledger.note(_encode(_note_of(execution)), must=True)
        self._finalization.finish(execution, response, None, trio.current_time(), safe.set)
        await safe.wait()  # no limit but the command's own

    def finish(self, execution: Execution, response: bytes, code: str | None) -> None:
        """What it has come to.

        Args:
            execution: it.
            response: as it would have been answered, had it not been before.
            code: of its failure.
        """
        execution.goes_on = False
        if execution.logged:
            execution.log_answer(code)
        topic = execution.identity.topic(self._settings.web_topic)
        name, message_id = execution.spec.name, execution.command.message_id
        messages = [Message(topic, self._worded(name, message_id, response), 1, False)]
        messages += [reply.message(response) for reply in execution.second_replies]
        self._tell(messages, execution.note)

    def interrupted(self, number: int, note: SecondNote) -> None:
        """One of an earlier run, which ended while it went on."""
        identity = Identity(note.organization_id, note.device_id, base_topic=note.base_topic)
        text = f"{note.command} was running when the device's program ended"
        message_id, replies = note.message_id or None, extras_replies(note.extras)
        # The first answer is remembered: under the same ID it would be all that comes.
        response = self._responses.failure(message_id, ErrorCode.INTERRUPTED, text, remembered=True)
        self._outbox.reserve(1 + len(replies), urgent=True)
        payload = self._worded(note.command, message_id, response)
        topic = identity.topic(self._settings.web_topic)
        messages = [Message(topic, payload, 1, False)]
        self._tell([*messages, *(reply.message(response) for reply in replies)], number)

    def _worded(self, name: str, message_id: str | None, response: bytes) -> bytes:
        fields: dict[str, Any] = msgspec.json.decode(response)
        dialect = self._responses.dialect
        for one in dialect.envelope:
            fields.pop(one, None)
        envelope = for_web(
            f"/{name}",
            message_id or NO_MESSAGE_ID,
            self._responses.timestamps(),
            dialect.device_id,
            (dialect.arguments, fields),
        )
        return encode_json(envelope)

    def _tell(self, messages: Sequence[Message], note: int | None) -> None:
        """Send it when it is safe: else a crash in between would make it another."""
        left = self._settings.response_expiry
        owed = self._ledger.owed
        posts = [
            (message, None if note is None else owed.post(message, left)) for message in messages
        ]

        def put() -> None:
            for message, number in posts:
                self._outbox.put_response(message, None, trio.current_time(), number)
            self._responses.counters.second_phases += 1

        self._ledger.unnote(note, put)


def _note_of(execution: Execution) -> SecondNote:
    identity = execution.identity
    return SecondNote(
        execution.spec.name,
        execution.command.message_id or "",
        identity.organization_id,
        identity.device_id,
        identity.base_topic,
        command_extras(NO_PROPERTIES, execution.replies, guessed=False),
    )
