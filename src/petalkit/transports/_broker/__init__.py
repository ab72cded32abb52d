"""An MQTT broker: one core, and what serves it to clients over sockets.

    core/       what it does, as values
    codec/      bytes <-> packets
    protocol/   one client's connection, without a socket
    serving/    over sockets

`memory` is the other door to the core. It may import `_values` and `_connecting`.
Begin with `core`.
"""
