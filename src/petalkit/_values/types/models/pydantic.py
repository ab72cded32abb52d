"""Models of pydantic: structured by its own validation, as if it had read the JSON itself.

pydantic is not needed: whoever has such a model has imported it. What it takes is its own business,
also where that is less strict than petalkit (`strict=True` in the model's config changes that).
"""

from __future__ import annotations

import contextlib
import importlib
import typing
from typing import Any

import msgspec

from ..constraints import Constraint
from ..invalid import Invalid, pydantic_problems
from ..metadata import constraints_of
from ..node import (
    ANY_KIND,
    ARRAY,
    BOOLEAN,
    NULL,
    NUMBER,
    OBJECT,
    STRING,
    CannotBuild,
    Defs,
    Node,
    Schema,
)
from .defaults import as_plain
from .extra_keys import ExtraKeys

_KINDS = {
    "null": NULL, "boolean": BOOLEAN, "integer": NUMBER, "number": NUMBER, "string": STRING,
    "array": ARRAY, "object": OBJECT,
}  # fmt: skip


def is_of_pydantic(annotation: Any) -> bool:
    """Whether it is a model, or another type that pydantic alone can make."""
    return isinstance(annotation, type) and (
        "__pydantic_validator__" in vars(annotation)
        or hasattr(annotation, "__get_pydantic_core_schema__")
    )


def pydantic_node(annotation: Any, extra: ExtraKeys, *, result: bool = False) -> Node:
    """A type that pydantic makes.

    Args:
        annotation: the type.
        extra: told of keys that it does not have.
        result: whether the schema is that of what is written, not of what is read.

    Raises:
        CannotBuild: pydantic cannot.
    """
    pydantic: Any = importlib.import_module("pydantic")
    name = annotation.__name__
    try:
        adapter = pydantic.TypeAdapter(annotation)
        validate = adapter.validator.validate_json
        text = "#/$defs/" + name + ".{model}"
        own: Schema = adapter.json_schema(
            ref_template=text, mode="serialization" if result else "validation"
        )
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CannotBuild(f"pydantic cannot make {name} from JSON: {first}") from error
    if not result:
        _check_defaults(annotation, set())
    refused = pydantic.ValidationError
    keys = _keys(annotation)

    def structure(value: Any) -> Any:
        if keys is not None and type(value) is dict and not keys.issuperset(value):
            extra.seen = True
        try:
            return validate(msgspec.json.encode(value))
        except refused as error:
            raise Invalid.of(pydantic_problems(error)) from error

    def schema(defs: Defs) -> Schema:
        def make() -> Schema:
            document = {**own}
            for inner, found in document.pop("$defs", {}).items():
                defs.found[f"{name}.{inner}"] = found
            return document

        return defs.refer(annotation, name, make)

    return Node(
        name=name,
        structure=structure,
        kinds=_kinds(own),
        schema=schema,
        values=(annotation,),
        keys=keys,
        closed=getattr(annotation, "model_config", {}).get("extra") == "forbid",
        hashable=getattr(annotation, "__hash__", None) is not None,
    )


def _check_defaults(annotation: Any, seen: set[Any]) -> None:
    """Pydantic looks at what is sent, and not at a default, unless it is told to.

    Raises:
        CannotBuild: a default is outside the range of its field, or of another type.
    """
    if annotation in seen:
        return
    seen.add(annotation)
    fields: Any = getattr(annotation, "__pydantic_fields__", None)
    if fields is None:  # before pydantic 2.10
        fields = getattr(annotation, "model_fields", {})
    for name, field in fields.items() if isinstance(fields, dict) else ():
        if field.default is not None and field.default_factory is None and not field.is_required():
            default = as_plain(field.default)
            for one in _constraints(field.metadata):
                if not one.holds(default):
                    text = f"the default {field.default!r} {one.told}; write one that is, or None"
                    raise CannotBuild(text, f".{name}")
            config = getattr(annotation, "model_config", {})
            validated = field.validate_default or config.get("validate_default")
            if not (validated or _is_of(field.annotation, default)):
                text = f"the default {field.default!r} is of another type; write one of it, or None"
                raise CannotBuild(text, f".{name}")
        for inner in (field.annotation, *typing.get_args(field.annotation)):
            if isinstance(inner, type) and hasattr(inner, "__pydantic_validator__"):
                try:
                    _check_defaults(inner, seen)
                except CannotBuild as error:
                    raise error.below(f".{name}") from None


def _is_of(annotation: Any, default: Any) -> bool:
    """Whether a default is what is declared, as far as pydantic can say: it leaves it as it is."""
    pydantic: Any = importlib.import_module("pydantic")
    try:
        adapter = pydantic.TypeAdapter(annotation)
    except Exception:  # a type that only its model's configuration allows
        return True
    try:
        adapter.validate_python(default, strict=True)
    except pydantic.ValidationError:
        return False
    except Exception:  # a validator of the user's own
        return True
    return True


def _constraints(metadata: Any) -> list[Constraint]:
    found: list[Constraint] = []
    for one in metadata:
        with contextlib.suppress(CannotBuild):  # what only pydantic can ask
            found += constraints_of(one)
    return found


def _kinds(schema: Schema) -> frozenset[str]:
    defs = schema.get("$defs", {})
    schema = defs.get(schema.get("$ref", "").rpartition(".")[2], schema)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return frozenset().union(*(_kinds({"$defs": defs, **one}) for one in choices))
    kind = schema.get("type")
    return frozenset({_KINDS[kind]}) if kind in _KINDS else ANY_KIND


def _keys(model: Any) -> frozenset[str] | None:
    """Its names on the wire; None when it takes any, or they are not plain names."""
    fields: Any = getattr(model, "model_fields", None)
    config: Any = getattr(model, "model_config", {})
    if not isinstance(fields, dict) or config.get("extra") == "allow" or "root" in fields:
        return None
    found: set[str] = set()
    for name, field in fields.items():
        alias = field.validation_alias or field.alias
        if alias is None:
            found.add(name)
        elif isinstance(alias, str):
            found.add(alias)
            if config.get("populate_by_name") or config.get("validate_by_name"):
                found.add(name)
        else:
            return None
    return frozenset(found)
