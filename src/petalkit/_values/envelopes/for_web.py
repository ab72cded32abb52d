"""Messages for web clients that look like commands: they have one reader for both."""

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
