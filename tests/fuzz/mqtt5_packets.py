"""Packets of a broker, made of fuzzed bytes: mostly whole, so that what is behind is reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mqtt5

from .reader import Reader

_QOS = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE, mqtt5.QoS.EXACTLY_ONCE)


def _text(reader: Reader) -> str:
    """Mostly a short one."""
    number = reader.byte()
    return "tuv"[number % 3] * (number % 4) if number < 200 else reader.text()


def _id(reader: Reader) -> int:
    number = reader.byte()
    return number % 8 if number < 240 else int.from_bytes(reader.take(2))


def _code(reader: Reader, codes: Any) -> Any:
    every = [vars(codes)[name] for name in sorted(vars(codes)) if name.isupper()]
    return reader.choice(every)


def _publish(reader: Reader) -> mqtt5.Packet:
    flags = reader.byte()
    qos = _QOS[flags % 3]
    more: dict[str, Any] = {}
    has = reader.byte()
    if has & 1:
        more["topic_alias"] = 1 + reader.byte() % 20
    if has & 2:
        more["message_expiry_interval"] = int.from_bytes(reader.take(4))
    if has & 4:
        more["response_topic"] = _text(reader)
    if has & 8:
        more["correlation_data"] = reader.sized()
    if has & 16:
        more["user_properties"] = [(_text(reader), _text(reader))] * (1 + has // 64)
    return mqtt5.PublishPacket(
        _text(reader),
        reader.sized(),
        qos=qos,
        packet_id=None if qos is _QOS[0] else _id(reader),
        duplicate=bool(flags & 64) and qos is not _QOS[0],
        retain=bool(flags & 128),
        **more,
    )


def _connack(reader: Reader) -> mqtt5.Packet:
    flags = reader.byte()
    more: dict[str, Any] = {}
    if flags & 2:
        more["receive_max"] = 1 + reader.byte() % 8
    if flags & 4:
        more["max_packet_size"] = 1 + int.from_bytes(reader.take(2))
    if flags & 8:
        more["max_qos"] = _QOS[reader.byte() % 2]
    if flags & 16:
        more["retain_available"] = False
    if flags & 32:
        more["server_keep_alive"] = int.from_bytes(reader.take(2))
    if flags & 64:
        more["session_expiry_interval"] = int.from_bytes(reader.take(4))
    if flags & 128:
        more["reason_code"] = _code(reader, mqtt5.ConnAckReasonCode)
    return mqtt5.ConnAckPacket(session_present=bool(flags & 1), **more)


def _answer(kind: Any, codes: Any) -> Callable[[Reader], mqtt5.Packet]:
    def make(reader: Reader) -> mqtt5.Packet:
        packet: mqtt5.Packet = kind(
            _id(reader),
            reason_code=_code(reader, codes) if reader.byte() & 1 else codes.SUCCESS,
        )
        return packet

    return make


_MAKERS: tuple[Callable[[Reader], mqtt5.Packet], ...] = (
    _publish,
    _publish,
    _connack,
    _answer(mqtt5.PubAckPacket, mqtt5.PubAckReasonCode),
    _answer(mqtt5.PubRecPacket, mqtt5.PubRecReasonCode),
    _answer(mqtt5.PubRelPacket, mqtt5.PubRelReasonCode),
    _answer(mqtt5.PubCompPacket, mqtt5.PubCompReasonCode),
    lambda reader: mqtt5.SubAckPacket(_id(reader), [_code(reader, mqtt5.SubAckReasonCode)]),
    lambda reader: mqtt5.UnsubAckPacket(_id(reader), [_code(reader, mqtt5.UnsubAckReasonCode)]),
    lambda reader: mqtt5.PingRespPacket(),
    lambda reader: mqtt5.DisconnectPacket(reason_code=_code(reader, mqtt5.DisconnectReasonCode)),
    lambda reader: mqtt5.PingReqPacket(),
)


def packet(reader: Reader) -> bytes:
    """One packet; now and then with a byte changed, or with any bytes in its place."""
    kind = reader.byte()
    if kind >= 250:
        return reader.sized()
    try:
        written = bytearray(_MAKERS[kind % len(_MAKERS)](reader).write())
    except (ValueError, OverflowError):  # the codec makes none like it
        return b""
    if kind >= 228:
        written[reader.byte() % len(written)] = reader.byte()
    return bytes(written)


def stream(reader: Reader) -> bytes:
    """Several of them; or any bytes, which one bit chooses."""
    if reader.byte() & 1:
        return reader.rest()
    packets = [mqtt5.ConnAckPacket().write()] if reader.byte() & 1 else []
    while reader:
        packets.append(packet(reader))
    return b"".join(packets)
