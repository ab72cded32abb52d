"""State: where each message on its way stands, and what is known of it; no link, and no waiting.

    outgoing    one message on its way out
    places      how many there are, who has one, and how many bytes they hold
    in_flight   what waits for its acknowledgement, and the window that bounds it
    latest      events of which only the newest is wanted
    deferred    messages that the broker takes later
    suspects    messages that may be why links die
    stale       events that were too old to send, told together
    unanswered  answers for which there is no room, counted and told

Begin with `outgoing`.
"""
