"""CONNECT, CONNACK and DISCONNECT: what is said at both ends of a connection.

MQTT 5.0, sections 3.1, 3.2 and 3.14. A code of 0x80 or above refuses, whoever invented it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mqtt5

from ..._values.errors import RejectedByBroker
from ..._values.messages import Message, Properties
from .._contract import ConnectOptions
from .._limits import real_limits
from .._reason_codes import FAILURE
from .._receiving.violations import PROTOCOL_ERROR, Violation
from ._events import Connected, Ended, Refused
from ._reasons import reason_text, unexpected


def connect_packet(
    options: ConnectOptions, alias_maximum: int, *, username: str | None, password: str | None
) -> bytes:
    """The bytes of a CONNECT.

    Raises:
        RejectedByBroker: the will cannot be sent.
    """
    try:
        return mqtt5.ConnectPacket(
            options.client_id,
            username=username,
            password=None if password is None else password.encode(),
            clean_start=options.clean_start,
            will=None if options.will is None else _will(options.will, options.will_delay),
            keep_alive=options.keep_alive,
            session_expiry_interval=options.session_expiry,
            receive_max=options.receive_maximum,
            topic_alias_max=alias_maximum,
            max_packet_size=options.packet_maximum or None,
        ).write()
    except (ValueError, OverflowError) as error:
        raise RejectedByBroker(PROTOCOL_ERROR, f"CONNECT cannot be sent: {error}") from None


def check_connack(packet: Any, unnamed: int | None, options: ConnectOptions) -> Refused | None:
    """Whether the first packet of a broker accepts; None if so.

    Args:
        packet: which has to be a CONNACK.
        unnamed: its reason code, where the codec has no name for it.
        options: what CONNECT said.

    Raises:
        Violation: it is none, or says what cannot be.
    """
    if not isinstance(packet, mqtt5.ConnAckPacket):
        raise unexpected(packet)
    code = int(packet.reason_code) if unnamed is None else unnamed
    if code >= FAILURE:
        return Refused(code, _told(packet, code), packet.server_reference)
    # Section 3.2.2.1.1 wants more: a client without state is to refuse a session too. Ours
    # has none after a restart, and does not need it: that session holds subscriptions, and
    # commands that were sent meanwhile.
    if packet.session_present and options.clean_start:
        raise Violation(PROTOCOL_ERROR, "a session where a clean start was asked for")
    return None


def connected(
    packet: mqtt5.ConnAckPacket, options: ConnectOptions, publish_maximum: int
) -> Connected:
    """What a CONNACK that accepts says: as the broker wants it, or as we asked."""
    keep_alive = packet.server_keep_alive
    expiry = packet.session_expiry_interval
    return Connected(
        packet.session_present,
        options.keep_alive if keep_alive is None else keep_alive,
        publish_maximum,
        options.session_expiry if expiry is None else expiry,
    )


def disconnected(packet: mqtt5.DisconnectPacket, unnamed: int | None) -> Ended:
    """What a DISCONNECT of the broker says; for `unnamed` see `check_connack`."""
    code = int(packet.reason_code) if unnamed is None else unnamed
    text = f"the broker disconnected: {_told(packet, code)} ({code:#04x})"
    return Ended(code, text, by_server=True, server_reference=packet.server_reference)


def _told(packet: mqtt5.ConnAckPacket | mqtt5.DisconnectPacket, code: int) -> str:
    text = reason_text(packet, code)
    if packet.server_reference:
        return f"{text}; it names another server: {packet.server_reference}"
    return text


def limits_of(packet: mqtt5.ConnAckPacket) -> Mapping[str, int]:
    """See `Link.broker_limits`."""
    said: dict[str, int | None] = {
        "receive_maximum": packet.receive_max,
        "maximum_packet_size": packet.max_packet_size,
        "maximum_qos": int(packet.max_qos),
        "retain_available": int(packet.retain_available),
        "session_expiry_interval": packet.session_expiry_interval,
        "server_keep_alive": packet.server_keep_alive,
    }
    return real_limits(said)


def _will(message: Message, delay: int) -> mqtt5.Will:
    properties = message.properties or Properties()
    return mqtt5.Will(
        message.topic,
        payload=message.payload,
        qos=mqtt5.QoS(message.qos),
        retain=message.retain,
        will_delay_interval=delay,
        message_expiry_interval=properties.message_expiry,
        content_type=properties.content_type,
        response_topic=properties.response_topic,
        correlation_data=properties.correlation_data,
        user_properties=list(properties.user_properties),
    )
