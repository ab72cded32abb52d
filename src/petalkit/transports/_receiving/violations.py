"""What a peer can do wrong, as reason codes of MQTT 5 (section 2.4). No library, no I/O."""

from __future__ import annotations

MALFORMED_PACKET = 0x81
PROTOCOL_ERROR = 0x82
UNSUPPORTED_PROTOCOL_VERSION = 0x84
TOPIC_ALIAS_INVALID = 0x94
PACKET_TOO_LARGE = 0x95
PAYLOAD_FORMAT_INVALID = 0x99


class Violation(Exception):
    """The peer has broken the protocol, and the connection is to end.

    Attributes:
        reason_code: for the DISCONNECT that is the answer.
        text: for the log.
    """

    def __init__(self, reason_code: int, text: str) -> None:
        super().__init__(text)
        self.reason_code = reason_code
        self.text = text
