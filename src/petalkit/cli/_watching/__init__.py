"""`petalkit watch`: what a device says, as it says it.

    lines     one thing that was said, for people and for programs
    sources   where it comes from: events, jobs, streams, births and farewells, figures
    command   the command

All of it goes through `petalkit.client`. Begin with `command`.
"""
