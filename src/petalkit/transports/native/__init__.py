"""MQTT 5 on Trio's own streams, with the codec of mqtt5.

    _events       what a session says has happened
    _unnamed      properties that the codec has no name for
    _receiving    PUBLISH packets in, and what is owed for them
    _publishing   PUBLISH packets out, and their window
    _framing      bytes <-> packets
    _session      the session as a value, without input or output
    _link         three tasks around it
    _transport    `NativeTransport`

Begin with `_session`.
"""

from __future__ import annotations

from ._transport import NativeTransport as NativeTransport
from ._transport import create as create
