"""`petalkit journal`.

    words     what a record says
    jobs      the same of jobs, and of second phases that are owed
    path      where the journal is when nobody says
    command   look, forget, make smaller

Begin with `command`.
"""
