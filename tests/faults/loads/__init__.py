"""Loads that a device has to bear with its defaults, and what each may cost.

    probes    in the device: when the bytes of a command were read, and when it was started
    petals    in the device: what is served
    wire      MQTT as bytes, for those who send much and are sent much
    device    `petalkit run` with its defaults, and what is seen of it from outside
    stage     a broker, a device, an urgent stop every so often, and those who count
    row       what one story has shown, and which of its bounds is broken
    stories   the loads
    report    the table
    main      the command line

No settings of the device are changed, unless a story is about that setting. Begin with `stories`.
"""
