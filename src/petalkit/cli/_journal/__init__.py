"""`petalkit journal`.

    words     what a record says
    path      where the journal is when nobody says
    command   look, forget, make smaller

Begin with `command`.
"""
