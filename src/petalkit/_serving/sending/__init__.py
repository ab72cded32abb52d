"""Sending: answers and events on their way out, across links.

    outgoing    one message on its way out
    stale       events that were too old to send, told together
    suspects    messages that may be why links die
    deferred    messages that the broker takes later
    outbox      every response and event until the broker has acknowledged it
    responses   outcomes become responses: encoded once, bounded, put into the outbox

Begin with `outbox`.
"""
