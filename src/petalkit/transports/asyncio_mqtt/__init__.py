"""The default transport: asyncio-mqtt and paho, on trio-asyncio.

    _socket      a socket for paho, connected by Trio
    _client      paho's client, made to serve one link
    _outgoing    publishes that wait for their acknowledgement
    _link        one connection
    _transport   `AsyncioMqttTransport`

Begin with `_transport`.
"""

from __future__ import annotations

from ._transport import AsyncioMqttTransport as AsyncioMqttTransport
from ._transport import create as create
