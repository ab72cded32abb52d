"""Types of handlers and models <-> JSON: what is declared is enforced, or refused at registration.

A type is walked once. What comes of it is a `Node`: a closure that takes a JSON value or refuses
it, the JSON Schema that says the same, and a name for people. Nothing of the walk is left for the
time when commands come.

    _invalid      what is wrong with a value: path, text, and text for the log
    _hints        annotations as types: forward references, type variables, aliases
    _node         what a type becomes
    _scalars      numbers, texts, times, addresses
    _choices      enums, flags, literals
    _constraints  ranges, lengths, patterns, and the metadata that they come from
    _containers   arrays and objects
    _fields       the fields of models: attrs, dataclasses, TypedDicts, msgspec, named tuples
    _models       models
    _pydantic     models of pydantic, by its own validation
    _unions       one of several
    _build        the walk
    _results      values -> what JSON can hold
"""
