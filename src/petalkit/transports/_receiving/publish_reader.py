"""The bytes of one PUBLISH -> what it says, and what is wrong with it. No library, no I/O.

The rule: as long as topic and packet identifier can be read, whatever else is wrong is a `Fault` of
this one message, which can be acknowledged and so does not come again; only what cannot be
acknowledged is a `Violation`. For MQTT 5.0 (section 3.3) and 3.1.1 (the same, without properties).

The trap: most of what can be wrong is the doing of one *sender*, which the broker has passed on as
it was. A broker delivers a message at QoS 1 again on each connection until it is acknowledged.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..._values.messages import Properties
from .._delivery import Fault
from .violations import (
    MALFORMED_PACKET,
    PAYLOAD_FORMAT_INVALID,
    PROTOCOL_ERROR,
    TOPIC_ALIAS_INVALID,
    Violation,
)

# For the PUBACK or PUBREC of what is refused: MQTT 5.0, sections 3.4.2.1 and 3.5.2.1.
_UNSPECIFIED_ERROR = 0x80
_TOPIC_NAME_INVALID = 0x90

# Properties of a PUBLISH by their identifiers: MQTT 5.0, section 3.3.2.3.
_FORMAT, _EXPIRY, _CONTENT_TYPE, _RESPONSE_TOPIC = 0x01, 0x02, 0x03, 0x08
_CORRELATION, _SUBSCRIPTION, _ALIAS, _USER = 0x09, 0x0B, 0x23, 0x26
_REPEATABLE = (_SUBSCRIPTION, _USER)


class Publish(msgspec.Struct):
    """A PUBLISH as it came.

    Attributes:
        topic: empty where a topic alias stands for it, or where it cannot be read.
        payload: without the rest of the packet; empty if that was too large to be kept.
        qos: 0, 1 or 2.
        retain: see `Delivery`.
        dup: the same.
        packet_id: 0 with QoS 0.
        properties: None when there is none that petalkit knows, or when they cannot be read.
        topic_alias: 0 for none.
        fault: why it is refused; None when it can be delivered.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    dup: bool
    packet_id: int
    properties: Properties | None = None
    topic_alias: int = 0
    fault: Fault | None = None


class _Faulty(Exception):
    def __init__(self, text: str, reason_code: int = MALFORMED_PACKET) -> None:
        super().__init__(text)
        self.text = text
        self.reason_code = reason_code


def read_publish(first: int, body: bytes, *, v5: bool) -> Publish:
    """Read one that is whole.

    Args:
        first: the first byte of the packet.
        body: all behind the Remaining Length.
        v5: whether it has properties.

    Raises:
        Violation: nobody can say what would have to be acknowledged.
    """
    publish, at = _read_head(first, body)
    if v5:
        try:
            end, start = _properties_end(body, at)
            if end > start:
                _read_properties(body, start, end, publish)
            if not (publish.topic or publish.topic_alias or publish.fault):
                raise _Faulty("neither a topic nor a topic alias", PROTOCOL_ERROR)
        except _Faulty as faulty:
            if publish.fault is None:
                publish.fault = _fault(faulty)
            return publish
        at = end
    elif not (publish.topic or publish.fault):
        publish.fault = Fault("an empty topic", answer=_TOPIC_NAME_INVALID)
    publish.payload = body[at:]
    return publish


def read_oversized(first: int, body: bytes, size: int, *, v5: bool) -> Publish:
    """Read the head of one that is too large to be kept.

    Its properties serve to answer, where they can be read; what is wrong with them is no matter.

    Args:
        first: the first byte of the packet.
        body: what `head_to_keep` says to keep of all behind the Remaining Length.
        size: bytes of the whole packet.
        v5: whether it has properties.

    Raises:
        Violation: nobody can say what would have to be acknowledged.
    """
    publish, at = _read_head(first, body)
    if v5:
        try:
            end, start = _properties_end(body, at)
            _read_properties(body, start, end, publish)
        except _Faulty:
            publish.properties = None
    if publish.fault is None:
        publish.fault = Fault(
            f"a message of {size} bytes is too large to be read", too_large=True, answer=0
        )
    return publish


def head_to_keep(first: int, body: bytes | bytearray | memoryview, limit: int, *, v5: bool) -> int:
    """How many bytes of a body that is too large are needed by `read_oversized`.

    Args:
        first: the first byte of the packet.
        body: as much of it as there is.
        limit: bytes; longer properties are not kept.
        v5: whether it has properties.

    Returns:
        More than there are, while that cannot be told yet.
    """
    there = len(body)
    if there < 2:
        return 2
    at = 2 + (body[0] << 8 | body[1]) + (2 if first & 0x06 else 0)
    if not v5:
        return at
    length = 0
    for index in range(4):
        if at + index >= there:
            return at + index + 1
        byte = body[at + index]
        length |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            end = at + index + 1 + length
            return end if end <= limit else at
    return at


def _read_head(first: int, body: bytes) -> tuple[Publish, int]:
    """Topic and packet identifier, and where they end."""
    qos = first >> 1 & 3
    if qos == 3:
        raise Violation(MALFORMED_PACKET, "a PUBLISH with QoS 3")
    end = len(body)
    at = 2 + int.from_bytes(body[:2])
    packet_id = 0
    text = body[2:at]
    if qos:
        at += 2
        packet_id = int.from_bytes(body[at - 2 : at])
    if at > end:
        raise Violation(MALFORMED_PACKET, "a PUBLISH that ends in its topic or packet identifier")
    if qos and not packet_id:
        raise Violation(PROTOCOL_ERROR, "a PUBLISH with packet identifier 0")
    fault = None
    try:
        topic = text.decode()
    except UnicodeDecodeError:
        topic = ""
        fault = Fault("a topic that is not UTF-8", answer=_TOPIC_NAME_INVALID)
    retain, dup = bool(first & 1), bool(first & 8)
    return Publish(topic, b"", qos, retain, dup, packet_id, fault=fault), at


def _fault(faulty: _Faulty) -> Fault:
    answer = _UNSPECIFIED_ERROR
    if faulty.reason_code == PAYLOAD_FORMAT_INVALID:
        answer = PAYLOAD_FORMAT_INVALID
    return Fault(faulty.text, reason_code=faulty.reason_code, answer=answer)


# -- properties


def _properties_end(body: bytes, at: int) -> tuple[int, int]:
    """Where they end, and where they begin."""
    length, start = _read_varint(body, at, len(body))
    end = start + length
    if end > len(body):
        raise _Faulty("properties longer than their packet")
    return end, start


def _read_properties(body: bytes, at: int, end: int, publish: Publish) -> None:
    said: dict[int, Any] = {}
    user: list[tuple[str, str]] = []
    while at < end:
        identifier = body[at]
        at += 1
        if identifier in said and identifier not in _REPEATABLE:
            raise _Faulty(f"property {identifier:#04x} twice", PROTOCOL_ERROR)
        value: Any
        match identifier:
            case 0x26:  # user property
                name, at = _read_text(body, at, end)
                value, at = _read_text(body, at, end)
                user.append((name, value))
            case 0x03 | 0x08:  # content type, response topic
                value, at = _read_text(body, at, end)
            case 0x09:  # correlation data
                value, at = _read_binary(body, at, end)
            case 0x02:  # message expiry interval
                value, at = _read_integer(body, at, end, 4)
            case 0x23:  # topic alias
                value, at = _read_integer(body, at, end, 2)
                if not value:
                    raise _Faulty("topic alias 0", TOPIC_ALIAS_INVALID)
                publish.topic_alias = value
            case 0x01:  # payload format indicator
                value, at = _read_integer(body, at, end, 1)
                if value > 1:
                    raise _Faulty(_wrong_format(value), PAYLOAD_FORMAT_INVALID)
            case 0x0B:  # subscription identifier
                value, at = _read_varint(body, at, end)
                if not value:
                    raise _Faulty("subscription identifier 0", PROTOCOL_ERROR)
            case _:
                raise _Faulty(f"property {identifier:#04x}, which a PUBLISH has not")
        said[identifier] = value
    if user or not said.keys() <= _NOT_OURS:
        publish.properties = Properties(
            response_topic=said.get(_RESPONSE_TOPIC),
            correlation_data=said.get(_CORRELATION),
            message_expiry=said.get(_EXPIRY),
            content_type=said.get(_CONTENT_TYPE),
            user_properties=tuple(user),
        )


_NOT_OURS = {_FORMAT, _SUBSCRIPTION, _ALIAS}


def format_fault(indicator: int) -> Fault:
    """Of a Payload Format Indicator that is none: MQTT 5.0, section 3.3.2.3.2."""
    return _fault(_Faulty(_wrong_format(indicator), PAYLOAD_FORMAT_INVALID))


def _wrong_format(indicator: int) -> str:
    return f"payload format indicator {indicator}"


def _read_varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    """A variable byte integer, which has to be minimal: MQTT 5.0, section 1.5.5."""
    value = 0
    for index in range(4):
        if at + index >= end:
            raise _Faulty("a variable byte integer that is cut off")
        byte = body[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if index and not byte:
                break
            return value, at + index + 1
    raise _Faulty("a variable byte integer of more bytes than it needs")


def _read_integer(body: bytes, at: int, end: int, size: int) -> tuple[int, int]:
    if at + size > end:
        raise _Faulty("a property that is cut off")
    return int.from_bytes(body[at : at + size]), at + size


def _read_binary(body: bytes, at: int, end: int) -> tuple[bytes, int]:
    length, at = _read_integer(body, at, end, 2)
    if at + length > end:
        raise _Faulty("a property that is cut off")
    return body[at : at + length], at + length


def _read_text(body: bytes, at: int, end: int) -> tuple[str, int]:
    data, at = _read_binary(body, at, end)
    try:
        return data.decode(), at
    except UnicodeDecodeError:
        raise _Faulty("a property that is not UTF-8") from None
