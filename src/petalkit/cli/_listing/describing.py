"""Types for people: a line for each field, with its default and conditions, and what is in it."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any

from rich.text import Text

from ..._authoring.inspection.foreign import repr_of
from ..._authoring.signature.binding import EMPTY
from ..._values.structuring import Node
from ..._values.types.node import Defs

INDENT = "    "
MAX_DEPTH = 4  # levels of models within models that are shown


def field_lines(
    name: str, node: Node | None, default: Any, indent: str, outer: tuple[Node, ...] = ()
) -> Iterator[Text]:
    """A field, and below it the fields of the models in it."""
    notes = "" if node is None else "".join(f", {note}" for note in node.notes)
    yield Text.assemble(
        indent,
        (name, "green"),
        "" if node is None else f": {node.name}",
        " (required)" if default is EMPTY else f" = {_shown(default)}",
        notes,
    )
    if node is not None:
        yield from model_lines(node, indent + INDENT, outer)


def model_lines(node: Node, indent: str, outer: tuple[Node, ...] = ()) -> Iterator[Text]:
    """The fields of the models in a type, those that stand in themselves once."""
    for model in models_in(node):
        if model in outer or len(outer) >= MAX_DEPTH:
            continue
        fields = list(fields_of(model))
        if model is not node and fields:
            yield Text(f"{indent}{model.name}:", style="dim")
        deeper = indent + INDENT if model is not node else indent
        for name, inner, default in fields:
            yield from field_lines(name, inner, default, deeper, (*outer, model))


def models_in(node: Node) -> list[Node]:
    """The models in a type, each once."""
    if node.keys is not None:
        return [node]
    found: list[Node] = []
    for part in node.parts:
        found += [one for one in models_in(part) if one not in found]
    return found


def fields_of(model: Node) -> Iterator[tuple[str, Node | None, Any]]:
    """The fields of a model: name, type, default or `EMPTY`."""
    if model.fields:
        for field, inner in model.fields:
            yield field.wire, inner, field.default
        return
    # One of another library, of which there is only the schema.
    defs = Defs()
    model.schema(defs)
    schema = defs.found.get(model.name, {})
    for name, one in schema.get("properties", {}).items():
        required = name in schema.get("required", ())
        yield name, None, EMPTY if required else one.get("default")


def _shown(default: Any) -> str:
    # It is of the petal's, and so is what says what it is.
    return repr_of(default.value if issubclass(type(default), enum.Enum) else default)
