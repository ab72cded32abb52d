"""What a handler takes and returns, resolved once, when the table of commands is built.

    returning   what it declares that it returns, and whether it does
    arguments   the arguments of a command, made of its `data`
    binding     how its parameters are bound

Begin with `binding`.
"""
