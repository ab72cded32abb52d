"""`petalkit list`.

    describing   types for people
    command      the command

Begin with `command`.
"""
