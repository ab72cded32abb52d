"""What a page may ask, read strictly: it is our own page, or somebody who has its token.

Each is one JSON object with `ask`, which says what. Numbers of arguments are kept as they were
written, so an integer of 64 bits arrives as one.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec

NAME_MAX = 1000  # characters of a command, a stream or a device ID
CALL_TIMEOUT_MAX = 3600.0  # seconds
ENVELOPE_MAX = 16 * 1024  # bytes around the arguments of a command

Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_MAX)]
Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class _Ask(msgspec.Struct, frozen=True, tag_field="ask", forbid_unknown_fields=True):
    pass


class Open(_Ask, tag="open", frozen=True):
    """Look at a device, and at no other any more.

    Attributes:
        device: its ID.
    """

    device: Name


class Call(_Ask, tag="call", frozen=True):
    """Send a command to a device.

    Attributes:
        id: of this question, in the answer.
        device: its ID.
        command: the full name.
        data: the arguments, as they were written; see `arguments_of`.
        timeout: seconds.
    """

    id: Number
    device: Name
    command: Name
    data: msgspec.Raw = msgspec.Raw(b"{}")
    timeout: Annotated[float, msgspec.Meta(gt=0, le=CALL_TIMEOUT_MAX)] = 30.0


class Watch(_Ask, tag="watch", frozen=True):
    """Read a stream of the device that is looked at.

    Attributes:
        stream: its full name.
        rate: values per second, at most.
    """

    stream: Name
    rate: Annotated[float, msgspec.Meta(gt=0, le=100)] = 10.0


class Unwatch(_Ask, tag="unwatch", frozen=True):
    """Read it no more."""

    stream: Name


Asked: TypeAlias = Open | Call | Watch | Unwatch
_decoder = msgspec.json.Decoder(Asked)
_arguments = msgspec.json.Decoder(dict[str, Any])


class NotUnderstood(Exception):
    """A page asks for what there is not."""


def read_asked(text: str | bytes) -> Asked:
    """Read one question.

    Raises:
        NotUnderstood: it is none.
    """
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise NotUnderstood(str(error)) from None


def arguments_of(asked: Call) -> dict[str, Any]:
    """The arguments: what a person has written, so they alone may be wrong.

    Raises:
        NotUnderstood: no command can say them in JSON, such as 1e999.
    """
    try:
        return _arguments.decode(asked.data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise NotUnderstood(f"the arguments cannot be sent: {error}") from None
