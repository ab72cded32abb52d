"""Intake: deliveries of a link are read, judged, and accepted, refused or parked.

    recovery       what an earlier run has left, taken up by this one
    malformed      messages that break MQTT
    unexpected_topics   messages on topics that this identity does not serve
    refusals       what is said at once: no, or that it came
    parked         what is read, and neither accepted nor acknowledged: the channel is full
    freshness      whether a command has come in time
    backlog/       accepted, waiting in the ledger only
    redelivery     copies: the first runs, once, and answers for all
    room           whether one more has room: in channel, ledger and outbox
    parking        when to park: for how long a slow petal may hold up others by that
    admission      what may be accepted is, or waits, or is refused
    judging        from a delivery to a command that may be accepted
    intake         reads one link, and knows when to stop reading

Begin with `intake`, then `judging` and `admission`.
"""
