"""The commands that belong to jobs and streams.

    common       what they share
    of_jobs      a job's start, and five more
    of_streams   a stream's two, and one for all
    declared     what petals declare, as a table of which nothing is called
    cancelling   `petalkit/cancel`: of any command, and of any job

Begin with `of_jobs`.
"""
