"""JSON Schema for people: a line for each field, as `petalkit list` words the types of Python.

The rule: a schema comes from a device, so nothing in it is believed: what is not of the kind that
it should be is left out. The bound: so many levels and so many lines are shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from ..._serving.process.log_lines import escape

MAX_DEPTH = 4  # levels of objects within objects
FIELDS_MAX = 200  # of one object
_WORD_MAX = 200  # characters of a default or a list of choices
_INDENT = "    "
_RANGES = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
    "minLength": "characters at least",
    "maxLength": "characters at most",
    "pattern": "matching",
}
Schema = Mapping[str, Any]


def field_lines(
    schema: Any, indent: str, *, root: Schema | None = None, depth: int = 0
) -> Iterator[Text]:
    """The fields of an object, and those of the objects in it."""
    if not isinstance(schema, dict):
        return
    root = schema if root is None else root
    schema = _resolved(schema, root)
    fields, required = schema.get("properties"), schema.get("required")
    names: list[Any] = required if isinstance(required, list) else []
    for name, one in list(fields.items())[:FIELDS_MAX] if isinstance(fields, dict) else ():
        if not isinstance(one, dict):
            continue
        said = _resolved(one, root)
        notes = [*_default(one, needed=name in names), *_notes(said)]
        shown = type_name(one, root)
        yield Text.assemble(indent, (escape(name), "green"), f": {shown}", *notes)
        if depth < MAX_DEPTH:
            inner = _object_in(said, root)
            if inner is not None:
                yield from field_lines(inner, indent + _INDENT, root=root, depth=depth + 1)


def type_name(schema: Schema, root: Schema, depth: int = 0) -> str:
    """A type in few words, such as `list[integer]` or `string | null`."""
    if depth > MAX_DEPTH:
        return "..."
    title = schema.get("$ref")
    if isinstance(title, str):
        return escape(title.rpartition("/")[2][:_WORD_MAX])
    choices = schema.get("enum")
    if isinstance(choices, list):
        return _short(" | ".join(_json(one) for one in choices))
    if "const" in schema:
        return _short(_json(schema["const"]))
    for key in ("anyOf", "oneOf"):
        several = schema.get(key)
        if isinstance(several, list):
            found = [type_name(one, root, depth + 1) for one in several if isinstance(one, dict)]
            return " | ".join(dict.fromkeys(found))
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(escape(str(one)) for one in kind[:10])
    if kind == "array":
        items = schema.get("items")
        inner = type_name(items, root, depth + 1) if isinstance(items, dict) else "anything"
        return f"list[{inner}]"
    if kind == "object" and isinstance(values := schema.get("additionalProperties"), dict):
        return f"mapping to {type_name(values, root, depth + 1)}"
    return escape(str(kind)[:_WORD_MAX]) if isinstance(kind, str) else "anything"


def _resolved(schema: Schema, root: Schema) -> Schema:
    """What a reference within the document stands for."""
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#/$defs/"):
        return schema
    defs = root.get("$defs")
    found = defs.get(reference.removeprefix("#/$defs/")) if isinstance(defs, dict) else None
    return found if isinstance(found, dict) else {}


def _object_in(schema: Schema, root: Schema) -> Schema | None:
    """The object that a field is, or is a list of, or may be."""
    if "properties" in schema:
        return schema
    parts: list[Any] = [schema.get("items"), *_list(schema, "anyOf"), *_list(schema, "oneOf")]
    for one in parts:
        if isinstance(one, dict):
            found = _resolved(one, root)
            if "properties" in found:
                return found
    return None


def _list(schema: Schema, key: str) -> list[Any]:
    found = schema.get(key)
    return found if isinstance(found, list) else []


def _default(schema: Schema, *, needed: bool) -> list[str]:
    if needed:
        return [" (required)"]
    return [f" = {_short(_json(schema['default']))}"] if "default" in schema else []


def _notes(schema: Schema) -> Iterator[str]:
    for key, words in _RANGES.items():
        value = schema.get(key)
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            yield f", {words} {_short(str(value))}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _short(text: str) -> str:
    return escape(text if len(text) <= _WORD_MAX else f"{text[:_WORD_MAX]}...")
