"""MQTT 5 on Trio's own streams, with the codec of mqtt5.

    _events       what a session says has happened
    _reasons      what reason codes say, and those that the codec has no name for
    _receiving    PUBLISH packets in, and what is owed for them
    _encoding     messages of ours -> PUBLISH packets
    _publishing   those on their way, and their window
    _questions    SUBSCRIBE and UNSUBSCRIBE, until they are answered
    _connect      CONNECT, CONNACK and DISCONNECT
    _framing      bytes -> packets
    _session      the session as a value, without input or output
    _outgoing     what a link has to write
    _link         three tasks around them
    _transport    `NativeTransport`

It may import what stands before it among the transports, and knows the codec. Begin with
`_session`, which does no I/O; `_link` runs it.
"""

from __future__ import annotations

from ._transport import NativeTransport as NativeTransport
from ._transport import create as create
