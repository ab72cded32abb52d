"""Sending: answers and events on their way out, across links.

    outgoing    one message on its way out
    stale       events that were too old to send, told together
    suspects    messages that may be why links die
    deferred    messages that the broker takes later
    places      how many there are, who has one, and how many bytes they hold
    in_flight   what waits for its acknowledgement, and the window that bounds it
    latest      events of which only the newest is wanted
    contents    what is in the outbox, wherever it stands
    sender      sends it over one link at a time
    events      the way in for events, which wait for room
    outbox      every response and event until the broker has acknowledged it
    responses   outcomes become responses: encoded once, bounded, put into the outbox

Begin with `outbox`.
"""
