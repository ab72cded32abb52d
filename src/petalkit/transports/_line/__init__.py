"""A line of bytes: what has left, whether it is alive, and how long waiting is worth it.

    receive_queue   what has come and is not read
    send_queue      what the kernel still holds
    keepalive       PINGREQ when it is due, and a dead peer noticed
    patience        limits that count silence, not time
    rest            where tasks wait until there is something to do

Begin with `send_queue`; it may import nothing else of petalkit.
"""
