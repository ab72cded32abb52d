"""`petalkit list`.

    schemas      commands as JSON Schema
    describing   types for people
    command      the command

Begin with `command`.
"""
