"""`petalkit broker`.

    options   the bounds, as options
    command   listen, until a signal comes

Begin with `command`.
"""
