"""The default transport: asyncio-mqtt and paho, on trio-asyncio.

    _socket       a socket, connected by Trio
    _wire         what paho has in its place
    _properties   properties of MQTT 5, as paho has them
    _paho         paho's client over a wire
    _library      asyncio-mqtt, imported without its notice
    _client       asyncio-mqtt's client, made to serve one link
    _calls        its coroutines, run beside the link's tasks
    _incoming     PUBLISH packets in, to the inbox
    _outgoing     acknowledgements out, and publishes that wait for theirs
    _link         one connection
    _transport    `AsyncioMqttTransport`

It may import what stands before it among the transports, and knows asyncio and paho. Begin with
`_link`; `_transport` puts one together.
"""

from __future__ import annotations

from ._transport import AsyncioMqttTransport as AsyncioMqttTransport
from ._transport import create as create
