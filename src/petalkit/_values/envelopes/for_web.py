"""Messages for web clients: like commands, since they have one reader for both, or plain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def for_web(
    command: str,
    message_id: str,
    timestamp: str,
    device_id: str,
    arguments: tuple[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """One such message.

    Args:
        command: what it is about.
        message_id: of it, or of the command that it belongs to.
        timestamp: now, as on the wire.
        device_id: who says it.
        arguments: the name that a dialect's callers use for them, and they.
    """
    return {
        "messageId": message_id,
        "command": command,
        "timestamp": timestamp,
        "waitResponse": False,
        "deviceId": device_id,
        arguments[0]: arguments[1],
    }


def plain_event(
    stream_id: str, timestamp: str, device_id: str, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """An event of a job or a stream for readers that ask for no such envelope.

    Args:
        stream_id: how its reader calls what it has subscribed to.
        timestamp: now, as on the wire.
        device_id: who says it.
        fields: petalkit's own: what a petal gives stands under one of them.
    """
    return {
        "published_stream_id": stream_id,
        "timestamp": timestamp,
        "deviceId": device_id,
        **fields,
    }
