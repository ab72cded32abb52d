"""Types of handlers and models <-> JSON: what is declared is enforced, or refused at registration.

A type is walked once. What comes of it is a `Node`: a closure that takes a JSON value or refuses
it, the JSON Schema that says the same, and a name for people. Nothing of the walk is left for the
time when commands come.

    invalid       what is wrong with a value: path, text, and text for the log
    hints         annotations as types: forward references, type variables, aliases
    node          what a type becomes
    scalars/      numbers, texts, times, addresses
    containers    arrays and objects
    constraints   ranges, lengths, patterns
    constrained   a type with conditions on its values
    metadata      what stands in `Annotated`, and attrs' validators, as constraints
    models/       types with fields
    results       values -> what JSON can hold
    checking      results as they are declared
    unions        one of several
    choices       enums, flags, literals
    build         the walk

Begin with `node`, then `build`.
"""
