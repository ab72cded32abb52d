"""A command as a ledger sees it: while it lives here, at its end, and when it was left behind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeAlias, TypeVar

import msgspec

from ..._authoring.registry import CommandSpec
from ..._values.messages import Command, Identity, Message
from ..._values.request import Reply, Wishes
from .records import CommandRecord

AnswerMessages: TypeAlias = Iterable[tuple[Message, Reply | None]]
"""Messages that answer a command, and the Response Topic of each; None for the usual topic."""


class Entry(Protocol):
    """What a ledger needs of an accepted command; `Execution` has it.

    Attributes:
        number: the order of arrival; given by `accept`.
        recorded: whether this ledger keeps it beyond the process, or is about to.
        on_disk: whether that is done: it is safe.
        owed: numbers of the messages that answer it, once it is finished.
    """

    command: Command
    payload: bytes
    identity: Identity
    spec: CommandSpec
    wait_response: bool
    replies: tuple[Reply, ...]
    wishes: Wishes | None
    number: int
    recorded: bool
    on_disk: bool
    owed: Mapping[Reply | None, int] | None


E = TypeVar("E", bound=Entry)


class Ending(msgspec.Struct, frozen=True, gc=False):
    """The final state of a command."""

    response: bytes
    """What it is, or would be, answered with; `NOTHING` for one that is not ours."""
    code: str | None
    """Its error code; None for a success."""
    remembered: bool
    """Whether a later copy is a duplicate. Not, if it was refused before its start."""
    at: float
    """When, on Trio's clock."""


class Left(msgspec.Struct, frozen=True):
    """A command that is in no line of this process: an earlier one left it, or it waits here only.

    Here, that is in the ledger: see `Ledger.keep`.
    """

    number: int
    """Of it."""
    record: CommandRecord | None
    """What is known of it; None when that cannot be read yet."""
