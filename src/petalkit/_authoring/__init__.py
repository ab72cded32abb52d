"""Authoring: what a petal is, before anything runs. It knows no runtime.

    unknown_keys   keys of `data` that a handler has no use for
    context        what a handler may ask for, and how a petal reaches its runtime
    marks          the marks of `@command`, and those that are lost
    collecting     which methods of a class are commands, and who marked them
    handlers       what a handler is, and its annotations as types
    mistakes       what Python lets pass in the class of a petal, and has no effect
    declared       what a petal says of itself, and what of it cannot be used
    returning      what a handler declares that it returns, and whether it does
    arguments      the arguments of a command, made of its `data`
    binding        how a handler's parameters are bound, resolved once
    registry       the table of commands
    petal          `Petal` and `@command`

It may import `_values`. Begin with `petal`; a new option of `@command` goes through `collecting`.
"""
