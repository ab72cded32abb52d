"""A broker as values: what it does, without bytes, sockets or a clock of its own.

    bounds          what it may hold, at most
    values          messages, subscriptions, and the end of a connection
    policy          who may do what
    counters        what it has counted
    shared          what all sessions share: how much there is of everything
    session         what it keeps for one client
    subscriptions   who has subscribed to what
    routes          who gets what is published on a topic
    retained        retained messages
    broker          the broker itself: `Broker`

It may import `_values`, and neither Trio nor I/O. Begin with `broker`.
"""
