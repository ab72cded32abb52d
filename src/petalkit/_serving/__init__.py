"""Serving: the way of a command from a link to its answer, and the lives of those who serve it.

    waiting      waiting for the first of several things
    fair_queue   a queue in which each caller has its turn
    failures     reading exceptions that others have written
    long_steps   tells of what keeps the event loop to itself for long
    line_limit   lines of the log that a sender can cause without end
    identity/    who this device is, known now, late, or another from here on
    pauses       how long reading was paused
    loggers/     our own loggers: kept on, and the lines of every command, for little
    ledger/      what is known of each command, in memory and on disk
    sending/     responses and events, until the broker has acknowledged them
    dispatch/    the queue, what may start, the handler's call, the one final state
    jobs/        long work, which goes on after its first answer
    intake/      reading a link, judging, admission
    links/       one link at a time, for months
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
