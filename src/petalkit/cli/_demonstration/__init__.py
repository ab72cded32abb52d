"""What `petalkit demo` and `petalkit console --demo` show: a device, and the broker that it is on.

    flight_log   its petal with something to see: a job, streams, events
    device       the device, the broker and a client, in this process

Begin with `device`.
"""
