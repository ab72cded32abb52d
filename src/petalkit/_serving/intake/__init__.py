"""Intake: deliveries of a link are read, judged, and accepted, refused or parked.

    recovery       what an earlier run has left, taken up by this one
    malformed      messages that break MQTT
    refusals       saying no: counted, answered, acknowledged
    parked         read, and neither accepted nor acknowledged: the channel is full
    freshness      whether a command has come in time
    disk_backlog   accepted, waiting on disk only
    redelivery     copies: the first runs, once, and answers for all
    intake         reads one link and judges every delivery

Begin with `intake`.
"""
