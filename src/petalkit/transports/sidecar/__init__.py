"""An external MQTT client, over HTTP: its callback in, its publish call out.

    _server       an HTTP server with bounds
    _addresses    where the client is, and where it may call us
    _answers      what its answers mean
    _client       asking it
    _connection   publishing to it, by kept connections
    _health       is it there, and has it a broker
    _canary       whether it calls us back
    _publisher    publishes in order, with a window
    _link         one connection, in MQTT's words
    _callback     what it brings
    _transport    `SidecarTransport`

Begin with `_transport`.
"""

from __future__ import annotations

from ._transport import SidecarTransport as SidecarTransport
from ._transport import create as create
