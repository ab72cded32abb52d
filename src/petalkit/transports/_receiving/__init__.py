"""PUBLISH packets on their way in, alike for both clients of a broker.

    violations       messages that break MQTT, as errors with a reason code
    inbox            what a link has read and nobody has taken
    bounded_inbox    the same with a bound, at which reading stops
    publish_reader   one PUBLISH packet, read and checked
    receiving        acknowledgements, in order of arrival (MQTT 5.0, section 4.6)

It may import `_delivery` and `_line`, and no library of MQTT. Begin with `receiving`.
"""
