"""What every ledger that outlives its process gives back, as values: its records.

The rule: whoever asks a ledger knows these, and nothing of how they are kept. Every moment here is
wall-clock seconds since the epoch: nothing else means the same after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import msgspec

from ..._values.errors import PetalkitError

NOT_STARTED = "accepted"
RUNNING = "started"
FINISHED = "finished"


class JournalError(PetalkitError):
    """The journal cannot be opened, or not be written.

    Attributes:
        path: the file.
        reason: what is wrong, and what to do about it.
    """

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"journal {str(path)!r}: {reason}")
        self.path = path
        self.reason = reason


class Accepted(msgspec.Struct, gc=False, array_like=True, tag=0):
    """A command is accepted, and has not started.

    Attributes:
        number: its place in the order of arrival, and its key.
        message_id: the caller's; None when it sent none.
        command: its name.
        payload: the bytes that it came as.
        topic: where it came in.
        organization_id: under which it came.
        device_id: the same.
        base_topic: the same: the topic that both make.
        wait_response: whether it is answered on the usual topic.
        expires_at: when nobody wants it any more; None for never.
        extras: properties and Response Topics, encoded; None when there are none.
        at: when.
        started_at: when its handler was about to be called, if that is put down with it.
    """

    number: int
    message_id: str | None
    command: str
    payload: bytes
    topic: str
    organization_id: str
    device_id: str
    base_topic: str
    wait_response: bool
    expires_at: float | None
    extras: bytes | None
    at: float
    started_at: float | None = None


@attrs.frozen(kw_only=True)
class CommandRecord:
    """What is known of one command. Attributes as of `Accepted`.

    Attributes:
        state: `"accepted"`, `"started"` or `"finished"`.
        starts: how often its handler was about to be called.
        response: None while there is none.
        owed: messages that answer it and are not settled.
        outcome: why a message that answered it was given up; None when none was.
    """

    number: int
    message_id: str | None
    command: str
    payload: bytes = attrs.field(repr=False)
    topic: str
    organization_id: str
    device_id: str
    base_topic: str
    wait_response: bool
    expires_at: float | None
    extras: bytes | None = attrs.field(repr=False)
    state: str
    starts: int
    accepted_at: float
    started_at: float | None
    finished_at: float | None
    code: str | None
    response: bytes | None = attrs.field(repr=False)
    remembered: bool
    owed: int
    outcome: str | None


@attrs.frozen(kw_only=True)
class MessageRecord:
    """A message that is still to be sent, its payload filled in.

    Attributes:
        number: its place in the order of sending, and its key.
        answers: the number of the command that it answers; None for an event.
        message_id: of that command.
        topic: the full topic; None for one that waits for the identity.
        name: the topic under the base topic, of one that waits for the identity.
        extras: its properties, encoded; None when there are none.
        expires_at: when it is given up.
    """

    number: int
    answers: int | None
    message_id: str | None
    topic: str | None
    name: str | None
    payload: bytes = attrs.field(repr=False)
    qos: int
    extras: bytes | None = attrs.field(repr=False)
    expires_at: float


@attrs.frozen(kw_only=True)
class Found:
    """What a ledger held when it was opened.

    Attributes:
        last: the highest number that was ever used; 0 for none.
        remembered: number by `messageId` of every command of which a copy is a duplicate: those
            without a final state, and the finished ones with `remembered`.
        running: commands that had started and have no final state, in order.
        not_started: how many were accepted and had not started.
        messages: what is still to be sent, in order.
        notes: what was kept by `Ledger.note`, in order.
    """

    last: int
    remembered: Mapping[str, int]
    running: tuple[CommandRecord, ...]
    not_started: int
    messages: tuple[MessageRecord, ...]
    notes: Mapping[int, bytes] = attrs.field(factory=dict, repr=False)


NOTHING_LEFT = Found(last=0, remembered={}, running=(), not_started=0, messages=())
