"""Long work: jobs and streams beside commands, and who is told how they go on.

    reading/        who is told of jobs and streams, and when
    leases          operations that end unless they are renewed, by time that passes in suspend too
    tasks           the nursery of jobs and streams
    record          one job: its state, its last word, and how it ended
    kind            the jobs of one `@job`: what runs, what waits, what is kept of the ended ones
    messages        how jobs and streams are worded for those who read them
    notes           what the ledger keeps of jobs and their readers
    ends            when an end is noted, told, and forgotten
    method          the run of a job's method: its scope, its nursery, its thread
    running         all jobs: starts, turns, leases, ends
    recovery        jobs of an earlier run, taken up
    streams         the values of a stream, while somebody reads it
    beside          jobs as the dispatcher sees them
    commands/       the commands that belong to jobs and streams

A job is started by a command like any other, which is answered at once; so `intake`, `ledger` and
`dispatch` know nothing of jobs. Begin with `kind`.
"""
