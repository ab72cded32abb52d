"""Sending: answers and events on their way out, across links.

    state/      where each message on its way stands, and what is known of it
    contents    what is in the outbox, and how a message comes in and leaves it
    sender      sends it over one link at a time
    events      the way in for events, which wait for room
    outbox      every response and event until the broker has acknowledged it
    lost_pubacks  notices, before `publish_timeout`, that a PUBACK will not come
    held_refusals  refusals whose answers have no place yet, unacknowledged
    debug_reports  what is said on `debug` of what came, at a bounded rate
    responses   outcomes become responses: encoded once, bounded, put into the outbox

Begin with `outbox`; what every answer has in its header is in `responses`.
"""
