"""Bytes of MQTT <-> packets, for both versions; the codec is `mqtt5`'s.

    header   the fixed header, and acknowledgements, which both versions share
    v5       MQTT 5
    v311     MQTT 3.1.1, as MQTT 5 without properties
    choice   which of them a client speaks: its first packet

No I/O. Begin with `v5`.
"""
