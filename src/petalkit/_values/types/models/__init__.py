"""Types with fields: attrs, dataclasses, TypedDicts, msgspec, named tuples and pydantic.

    fields     what a model declares, read alike of all kinds but pydantic
    defaults   defaults that nobody could send
    extra_keys   keys within `data` that no model has
    pydantic   pydantic's own validation, as if it had read the JSON
    objects    an object's keys through the fields, then into the constructor

Begin with `fields`.
"""
