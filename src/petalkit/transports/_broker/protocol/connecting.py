"""CONNECT and its answer: what a client asks for, and what it gets of that.

The rule: what is not granted as asked is told in the CONNACK (MQTT 5.0, section 3.2.2.3), as far as
the version can say it.
"""

from __future__ import annotations

import math
import secrets
from typing import Any

import mqtt5

from ...._values.topics import TopicError, check_topic
from ..._receiving.violations import PROTOCOL_ERROR, Violation
from ..core.bounds import Bounds
from ..core.values import NEVER, Hello, Publication, Refused, Will
from .publishing import check_levels, property_arguments, property_size

_CLIENT_ID_NOT_VALID = 0x85  # MQTT 5.0, section 2.4
_BAD_AUTHENTICATION_METHOD = 0x8C
_TOPIC_NAME_INVALID = 0x90


def read_connect(packet: mqtt5.ConnectPacket, bounds: Bounds, *, v5: bool) -> Hello:
    """What a CONNECT asks of the core.

    Raises:
        Refused: it cannot be had.
        Violation: it is malformed.
    """
    if packet.authentication_method is not None:
        raise Refused(_BAD_AUTHENTICATION_METHOD, "no authentication method is known")
    client_id = packet.client_id
    if not client_id:
        if not v5 and not packet.clean_start:  # MQTT 3.1.1, section 3.1.3.1
            raise Refused(_CLIENT_ID_NOT_VALID, "a session needs a client ID")
        client_id = f"auto-{secrets.token_hex(8)}"
    if len(client_id.encode()) > bounds.max_client_id or "\0" in client_id:
        text = f"a client ID has at most {bounds.max_client_id} bytes"
        raise Refused(_CLIENT_ID_NOT_VALID, text)
    if not v5:
        lifetime: float = 0 if packet.clean_start else bounds.max_session_expiry
    else:
        lifetime = min(packet.session_expiry_interval, bounds.max_session_expiry)
    return Hello(
        client_id=client_id,
        clean_start=packet.clean_start,
        lifetime=math.inf if lifetime == NEVER else lifetime,
        will=_will(packet.will, bounds),
    )


def _will(will: mqtt5.Will | None, bounds: Bounds) -> Will | None:
    if will is None:
        return None
    try:
        check_topic(will.topic)
    except TopicError as error:
        raise Refused(_TOPIC_NAME_INVALID, f"the will: {error}") from None
    check_levels(will.topic, bounds)
    origin = property_arguments(will)
    if origin and any(character in origin.get("response_topic", "") for character in "+#"):
        raise Violation(PROTOCOL_ERROR, "a Response Topic with a wildcard")
    publication = Publication(
        will.topic,
        will.payload or b"",
        int(will.qos),
        will.retain,
        origin,
        extra=property_size(origin),
    )
    expiry = will.message_expiry_interval
    return Will(publication, math.inf if expiry is None else expiry, will.will_delay_interval)


def connack_properties(packet: mqtt5.ConnectPacket, hello: Hello, bounds: Bounds) -> dict[str, Any]:
    """What the CONNACK of MQTT 5 says."""
    said: dict[str, Any] = {
        "receive_max": bounds.receive_maximum,
        "topic_alias_max": bounds.topic_alias_maximum,
        "max_packet_size": bounds.max_packet_size,
    }
    if not packet.client_id:
        said["assigned_client_id"] = hello.client_id
    if packet.session_expiry_interval > bounds.max_session_expiry:
        said["session_expiry_interval"] = bounds.max_session_expiry
    return said
