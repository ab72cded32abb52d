"""What the journal is told, as values: operations.

An operation is one thing that happened to one command or one message. Operations are written in
the order in which they were made, many in one transaction, and each is all there or not at all.
`Accepted` is one of them, and is made by whoever accepts.

They stand in the log as they are here, each with its tag: a tag or a field that has been written
once means the same for ever. A new field comes last, with a default; and since a version that does
not know it would read past it, the log begins with another magic then (see `log.segments`).

Every moment here is wall-clock seconds since the epoch: nothing else means the same after a
restart.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from ..records import Accepted


class Started(msgspec.Struct, gc=False, array_like=True, tag=1):
    """Its handler is about to be called. `starts` of the record grows by one."""

    number: int
    at: float


class Requeued(msgspec.Struct, gc=False, array_like=True, tag=2):
    """A command that had started, in an earlier run, is to be started again."""

    number: int


class Wanted(msgspec.Struct, gc=False, array_like=True, tag=3):
    """A copy of a command that has no final state yet wants an answer that the first did not."""

    number: int
    wait_response: bool
    extras: bytes | None


class Finished(msgspec.Struct, gc=False, array_like=True, tag=4):
    """A command has its final state.

    Attributes:
        number: of the command.
        code: its error code; None for a success.
        response: the bytes it was, or would have been, answered with; empty for none.
        remembered: whether a later copy is a duplicate. Not, if it was refused before its start.
        at: when.
        post: the number of the message at QoS 1 that answers it, as `Posted` would say; 0 for none.
            Where it is answered on more topics, those are messages of their own.
        topic: of that message.
        extras: the same.
        expires_at: the same.
    """

    number: int
    code: str | None
    response: bytes
    remembered: bool
    at: float
    post: int = 0
    topic: str = ""
    extras: bytes | None = None
    expires_at: float = 0.0


class Forgotten(msgspec.Struct, gc=False, array_like=True, tag=5):
    """A command is to leave no trace: it turned out not to be ours."""

    number: int


class Posted(msgspec.Struct, gc=False, array_like=True, tag=6):
    """A message is to be sent until it is acknowledged.

    Attributes:
        number: its place in the order of sending, and its key. Of the same count as those of
            commands, so no two are equal.
        answers: the number of the command that it answers; None for an event.
        topic: the full topic; None for one that waits for the identity.
        name: the topic under the base topic, of one that waits for the identity.
        payload: its bytes; None when they are the response of the command that it answers.
        qos: 0 or 1.
        extras: its properties, encoded; None when there are none.
        expires_at: when it is given up.
    """

    number: int
    answers: int | None
    topic: str | None
    name: str | None
    payload: bytes | None
    qos: int
    extras: bytes | None
    expires_at: float


class Settled(msgspec.Struct, gc=False, array_like=True, tag=7):
    """A message need not be sent any more.

    Attributes:
        number: of the message.
        outcome: None when it was acknowledged; else why it was given up: "expired", "rejected",
            "set aside", "replaced" or
            "displaced". Kept in the record of the command that it answers.
    """

    number: int
    outcome: str | None


class Noted(msgspec.Struct, gc=False, array_like=True, tag=8):
    """What somebody above keeps under a number of the same count, in words of its own.

    Attributes:
        number: its key.
        value: takes the place of the one before; None: nothing is kept any more.
    """

    number: int
    value: bytes | None


Operation: TypeAlias = (
    Accepted | Started | Requeued | Wanted | Finished | Forgotten | Posted | Settled | Noted
)
