"""`petalkit list`.

    describing   types for people
    long_work    jobs and streams, with what belongs to them
    command      the command

Begin with `command`.
"""
