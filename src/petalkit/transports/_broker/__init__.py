"""An MQTT broker: one core, and what serves it to clients over sockets.

    core/   what it does, as values

`memory` is the other door to the core. It may import `_values` and `_connecting`.
Begin with `core`.
"""
