"""Looking at classes and functions that others have written.

    foreign    a look that never raises
    marks      the marks of `@command`, and those that are lost
    handlers   what a handler is, and its annotations as types
    mistakes   what Python lets pass in the class of a petal, and has no effect

Begin with `foreign`. They may import `_values`, and the rules of `unknown_keys`.
"""
