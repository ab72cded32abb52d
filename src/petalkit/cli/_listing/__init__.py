"""`petalkit list`.

    describing     types for people
    schema_words   JSON Schema for people, as devices say it
    long_work      jobs and streams, with what belongs to them
    command        the command

Begin with `command`.
"""
