"""Petals while they are served: their lives, and the commands of every runtime.

    restarts           when a failed petal is started again
    added_commands     commands that a petal adds and removes while it is served
    descriptions       commands, jobs and streams as JSON has them, and one hash of all
    inventory          what is served, with its schemas, and one hash of them
    builtin_commands   the commands under `petalkit/`
    background         the background tasks of one life
    services           what several petals share, run beside their commands
    host               what a petal sees of the runtime that serves it
    lifespans          one petal's lives: lifespan, background tasks, end, and again

Begin with `lifespans`.
"""
