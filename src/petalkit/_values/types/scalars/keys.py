"""Keys of objects: they are texts in JSON, and numbers or dates are read from them."""

from __future__ import annotations

import re
from typing import Any

from ..invalid import Invalid
from ..node import BOOLEAN, NUMBER, STRING, CannotBuild, Defs, Node, Schema, Structure

NUMBER_TEXT = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?"
WHOLE_TEXT = r"-?(?:0|[1-9][0-9]*)(?:\.0+)?"
_WORDS = {"true": True, "false": False}


def as_key(node: Node) -> Structure:
    """What reads a type from the text of a key.

    Raises:
        CannotBuild: it has none.
    """
    if not node.kinds & {STRING, NUMBER, BOOLEAN} or not node.hashable:
        raise CannotBuild(f"{node.name} cannot be the key of an object", "[key]")
    convert = node.call()
    number = re.compile(_number_text(node))

    def structure(text: Any) -> Any:
        readings: list[Any] = []
        if NUMBER in node.kinds and number.fullmatch(text):
            readings.append(_number(text))
        if BOOLEAN in node.kinds and text in _WORDS:
            readings.append(_WORDS[text])
        if STRING in node.kinds or not readings:
            readings.append(text)
        for place, reading in enumerate(readings, 1):
            try:
                return convert(reading)
            except Invalid as error:
                if place == len(readings):
                    told = str(error).removesuffix(", got a string")
                    raise Invalid(f"as a key: {told}", f"as a key: {_log(error)}") from None
        raise AssertionError

    return convert if node.kinds == {STRING} else structure


def _number_text(node: Node) -> str:
    is_whole = bool(node.values) and all(issubclass(cls, int) for cls in node.values)
    return WHOLE_TEXT if is_whole else NUMBER_TEXT


def _log(error: Invalid) -> str:
    return "; ".join(one.log for one in error.problems).removesuffix(", got a string")


def _number(text: str) -> Any:
    try:
        return float(text) if "." in text or "e" in text or "E" in text else int(text)
    except ValueError:  # more digits than Python reads
        return text


def key_schema(node: Node, defs: Defs) -> Schema:
    """The schema of a key's text, as far as JSON Schema can say it of a text."""
    schema = node.schema(defs)
    if "enum" in schema:
        return {"enum": [_key_text(one) for one in schema["enum"]]}
    if node.kinds == {STRING}:
        return {name: value for name, value in schema.items() if name != "type"}
    if node.kinds == {NUMBER}:
        return {"pattern": f"^{_number_text(node)}$"}
    return {}


def _key_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
