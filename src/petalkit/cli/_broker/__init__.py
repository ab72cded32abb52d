"""`petalkit broker`.

    listening   listen, until a signal comes
    plain       a command line that needs no parser
    options     the bounds, as options
    command     `broker`, for the parser

Begin with `listening`.
"""
