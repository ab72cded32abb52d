"""Long work: jobs beside commands, and who is told how they go on.

    subscriptions   who is told of what, how often: the latest value, at each one's own rate
    record          one job: its state, its last word, and how it ended
    outcomes        what a job's method returned or raised, kept as fields
    kind            the jobs of one `@job`: what runs, what waits, what is kept of the ended ones
    messages        how jobs and streams are worded for those who read them
    running         a job's method, from its start to its one final state
    commands        the commands that belong to a job

A job is started by a command like any other, which is answered at once; so `intake`, `ledger` and
`dispatch` know nothing of jobs. Begin with `kind`.
"""
