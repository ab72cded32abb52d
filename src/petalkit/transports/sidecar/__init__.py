"""An external MQTT client, over HTTP: its callback in, its publish call out.

    _addresses     where the client is, and where it may call us
    _answers       what its answers mean
    _client        asking it
    _publishing/   publishing to it, in order, with a window
    _health        is it there, and has it a broker
    _canary        whether it has died
    _offers        what it sent, until it has its answer
    _link          one connection, in MQTT's words
    _callback/     our endpoint, which it calls
    _transport     `SidecarTransport`

It may import the contract, the inbox, TLS and credentials among the transports. Begin with `_link`;
`_transport` puts one together.
"""

from __future__ import annotations

from ._transport import SidecarTransport as SidecarTransport
from ._transport import create as create
