"""Commands and messages in the form in which records have them, and back.

What most of them do not have (properties, Response Topics) is kept in one field, `extras`.
"""

from __future__ import annotations

from collections.abc import Hashable

import msgspec

from ..._values.codec import Limits, decode_command
from ..._values.messages import NO_PROPERTIES, Command, Identity, Message, Properties
from ..._values.request import Reply, Wishes
from .entry import Entry
from .records import Accepted, CommandRecord, MessageRecord


class _CommandExtras(msgspec.Struct, array_like=True):
    properties: Properties | None
    replies: tuple[Reply, ...]
    guessed: bool = False


class _MessageExtras(msgspec.Struct, array_like=True):
    properties: Properties | None
    is_reply: bool
    is_usual: bool


_encode = msgspec.msgpack.Encoder().encode
_decode_command = msgspec.msgpack.Decoder(_CommandExtras).decode
_decode_message = msgspec.msgpack.Decoder(_MessageExtras).decode


# -- commands


def command_extras(
    properties: Properties, replies: tuple[Reply, ...], *, guessed: bool
) -> bytes | None:
    """What else there is of a command.

    Args:
        properties: of MQTT 5.
        replies: the Response Topics that it is answered on.
        guessed: whether its petal was only guessed to serve it.
    """
    if properties is NO_PROPERTIES and not replies and not guessed:
        return None
    return _encode(_CommandExtras(properties, replies, guessed))


def as_accepted(entry: Entry, wall: float, now: float) -> Accepted:
    """A command as it is put down.

    Args:
        entry: it, with its number.
        wall: the wall clock.
        now: Trio's.
    """
    command, identity = entry.command, entry.identity
    return Accepted(
        entry.number,
        command.message_id,
        command.command,
        entry.payload,
        command.topic,
        identity.organization_id,
        identity.device_id,
        identity.base_topic,
        entry.wait_response,
        _expiry_of(entry.wishes, wall, now),
        command_extras(command.properties, entry.replies, guessed=entry.spec.guessed),
        wall,
    )


def command_of(record: CommandRecord, limits: Limits) -> Command:
    """The command again.

    Raises:
        InvalidEnvelope: the limits are narrower than when it came.
    """
    command = decode_command(record.payload, record.topic, limits)
    properties = None if record.extras is None else _decode_command(record.extras).properties
    if properties is not None:
        command = msgspec.structs.replace(command, properties=properties)
    return command


def extras_properties(extras: bytes | None) -> Properties:
    """What MQTT 5 said of a command, of its `extras`."""
    properties = None if extras is None else _decode_command(extras).properties
    return NO_PROPERTIES if properties is None else properties


def extras_replies(extras: bytes | None) -> tuple[Reply, ...]:
    """Where else a command is answered, of its `extras`."""
    return () if extras is None else _decode_command(extras).replies


def was_guessed(extras: bytes | None) -> bool:
    """Whether a command was only guessed to be served here, of its `extras`."""
    return extras is not None and _decode_command(extras).guessed


def identity_of(record: CommandRecord) -> Identity:
    """Under which it came."""
    # The topic is kept as it was, whatever scheme the settings have now.
    return Identity(record.organization_id, record.device_id, base_topic=record.base_topic)


def _expiry_of(wishes: Wishes | None, wall: float, now: float) -> float | None:
    """When it is over, on the wall clock; None for never.

    Args:
        wishes: of its sender.
        wall: the wall clock.
        now: Trio's.
    """
    if wishes is None:
        return None
    moment = min(wishes.expires_at, wishes.deadline - now + wall)
    return None if moment == float("inf") else moment


# -- messages


class _Same:
    """The properties that all responses on the usual topic have, encoded once."""

    def __init__(self) -> None:
        self._kept: tuple[Properties, bytes] | None = None

    def extras(self, properties: Properties) -> bytes:
        """What they are in a record."""
        kept = self._kept
        if kept is None or kept[0] is not properties:
            encoded = _encode(_MessageExtras(properties, False, False))
            kept = self._kept = properties, encoded
        return kept[1]


_same = _Same()


def message_extras(message: Message, reply: Reply | None) -> bytes | None:
    """What else there is of a message."""
    properties = message.properties
    if reply is None:
        return None if properties is None else _same.extras(properties)
    return _encode(_MessageExtras(properties, True, reply.is_usual))


def message_of(record: MessageRecord) -> tuple[Message, Hashable, Reply | None]:
    """The message again, what the outbox knows it by, and the Response Topic that it goes to.

    Raises:
        msgspec.MsgspecError: its `extras` cannot be read.
    """
    extras = None if record.extras is None else _decode_message(record.extras)
    properties = None if extras is None else extras.properties
    message = Message(record.topic or "", record.payload, record.qos, False, properties)
    answers: Hashable = record.message_id
    if extras is None or not extras.is_reply:
        return message, answers, None
    reply = Reply(message.topic, properties or NO_PROPERTIES, extras.is_usual)
    if properties is not None:
        answers = reply.key(record.message_id)
    return message, answers, reply
