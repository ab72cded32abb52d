"""`petalkit run`, without the parser of the command line.

    serving   petals served until a signal comes
    plain     a command line that needs no parser

Begin with `serving`.
"""
