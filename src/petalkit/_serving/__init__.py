"""Serving: the way of a command from a link to its answer, and the lives of those who serve it.

    waiting      waiting for the first of several things
    failures     reading exceptions that others have written
    identity     the organization-ID waiter: who this device is
    loggers      our own loggers, kept on
    connack      what a new link's CONNACK takes away
    ledger/      what is known of each command, in memory and on disk
    sending/     responses and events, until the broker has acknowledged them
    dispatch/    the queue, what may start, the handler's call, the one final state
    intake/      reading a link, judging, admission
    supervisor   one link at a time, for months
    petals/      lives of petals: lifespans, restarts, the commands under `petalkit/`
    watchdog     names the command that blocks the event loop
    memory       what all their buffers hold together, at most
    wiring       all of them put together, in one place
    runtime      the nurseries they live in, and the order in which they die
    opening      for the length of a block
    process/     serving as a whole process: signals, logs, exit codes

A command goes wire -> intake -> ledger -> dispatch -> sending -> wire. It may import `_values`,
`transports` and `_authoring`. Begin with `wiring`, then follow a command from `intake/`; lives and
deaths are in `runtime`.
"""
