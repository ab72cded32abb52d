"""Accepted commands that have not started: in which order they may, and how many of whom there are.

    callers  who has sent a command, to be fair
    shares   how much one petal may take: commands, bytes, places on disk
    turns    whose line is next
    queue    the lines of all petals, and which command may start next
    readiness  petals that are not ready at once

Begin with `queue`; what bounds one petal is in `shares`.
"""
