"""Results held to their annotation: a value of the petal's own, not of a sender.

The rule: what a handler declares that it returns is what its callers get, or it is the handler's
error. A result is held to its type as a default is: an int is good for a float, any sequence for a
list, and a mapping for a TypedDict. What a hook or pydantic makes is theirs. The trap: it is done
for every command, so most values are looked at once, and by their class alone.
"""

from __future__ import annotations

import datetime as dt
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from .invalid import key_segment
from .models.defaults import is_choice, is_naive, is_of, is_typed_dict, missing
from .node import ANY_KIND, ARRAY, BOOLEAN, NULL, NUMBER, OBJECT, Node

Find = Callable[[Any], str | None]
_UNSET = msgspec.UNSET
_NOTHING: frozenset[type] = frozenset()


class Check(NamedTuple):
    """What looks a result over.

    Attributes:
        exact: classes of which every value is good.
        find: what is wrong with a value, with the place in it; None for nothing.
    """

    exact: frozenset[type]
    find: Find


def result_check(node: Node) -> Check | None:
    """What looks a result over; None when every result is good."""
    return _check(node, {})


def _check(node: Node, building: dict[int, list[Find]]) -> Check | None:
    if id(node) in building:  # a model that contains itself
        made = building[id(node)]
        return Check(_NOTHING, lambda value: made[0](value))
    if node.kinds == ANY_KIND and not node.members:
        return None
    slot = building[id(node)] = []
    if node.members:
        check = _of_union(node, building)
        del building[id(node)]
        slot.append(_fits if check is None else check.find)
        return check
    own, inner = _own(node), _of_parts(node, building)
    del building[id(node)]
    classes = _NOTHING if any(map(is_typed_dict, node.values)) else frozenset(node.values)
    if _asks(node):
        classes = _NOTHING
    find = own if inner is None else _after(classes, own, inner)
    slot.append(find)
    return Check(classes if inner is None else _NOTHING, find)


def _fits(_: Any) -> str | None:
    return None


def _asks(node: Node) -> bool:
    """Whether the class of a value does not say by itself that it is good."""
    return bool(
        node.constraints
        or node.choices is not None
        or node.lengths is not None
        or dt.datetime in node.values
    )


def _after(classes: frozenset[type], own: Find, inner: Find) -> Find:
    def find(value: Any) -> str | None:
        found = None if type(value) in classes else own(value)
        return inner(value) if found is None else found

    return find


def _own(node: Node) -> Find:
    """Its class and its conditions, without what is in it."""
    told = f"is no {node.name}" if node.kinds != {NULL} else "is not None"
    moments = dt.datetime in node.values

    def find(value: Any) -> str | None:
        # A range is a sequence to Python, and there is no JSON for it.
        if not (is_of(node, value) or _is_number(node, value)) or type(value) is range:
            return f"{told}, but {type(value).__name__}{_instead(node, value)}"
        if not is_choice(node, value):
            return f"is not of {node.name}"
        if node.lengths is not None and not node.lengths[0] <= len(value) <= node.lengths[1]:
            return f"is no {node.name}, by its length"
        if moments and is_naive(value):
            return "has no offset, as every time on the wire has"
        for one in node.constraints:
            if not one.holds(value):
                return str(one.told)
        for path, _ in missing(node, value):
            return f"{path} is required"
        return None

    return find


def _instead(node: Node, value: Any) -> str:
    """What to write where it is no array, and one can be made of it."""
    can_be_one = node.kinds == {ARRAY} and isinstance(value, Iterable)
    if not can_be_one or isinstance(value, str | bytes | bytearray | Mapping):
        return ""
    return ": write list(...), which has a length and can be read twice"


def _is_number(node: Node, value: Any) -> bool:
    """Those of numpy, which say so of themselves; its arrays, and its truth values."""
    if node.kinds == {BOOLEAN} and _is_array(value):
        return isinstance(value.tolist(), bool)
    if node.kinds == {NUMBER} and not isinstance(value, bool):
        wanted: type = numbers.Real if float in node.values else numbers.Integral
        return isinstance(value, wanted) and any(one in (int, float) for one in node.values)
    return node.kinds == {ARRAY} and _is_array(value)


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "tolist")


def _of_union(node: Node, building: dict[int, list[Find]]) -> Check | None:
    checks = [_check(one, building) for one in node.members]
    known = [one for one in checks if one is not None]
    if len(known) < len(checks):
        return None

    def find(value: Any) -> str | None:
        cls = type(value)
        found: list[str] = []
        for one in known:
            text = None if cls in one.exact else one.find(value)
            if text is None:
                return None
            found.append(text)
        deep = [text for text in found if not text.startswith("is ")]
        return deep[0] if len(deep) == 1 else f"is no {node.name}, but {cls.__name__}"

    return Check(_NOTHING.union(*(one.exact for one in known)), find)


def _of_parts(node: Node, building: dict[int, list[Find]]) -> Find | None:
    if node.fields:
        fields = [
            (field.attribute, field.wire, _or_none(check.exact, field), check.find)
            for field, inner in node.fields
            if not field.converted and (check := _check(inner, building)) is not None
        ]
        mapping = any(map(is_typed_dict, node.values))
        return _of_fields(fields, mapping=mapping) if fields else None
    inners = [_check(one, building) for one in node.parts]
    if len(inners) == 1 and node.lengths is None:
        if inners[0] is None:
            return None
        return _of_values(inners[0]) if node.kinds == {OBJECT} else _of_elements(inners[0])
    return _of_places(inners) if any(inners) else None


def _or_none(exact: frozenset[type], field: Any) -> frozenset[type]:
    """None is good where it is the default, as in `h: float = None`: it came in so."""
    return exact | {type(None)} if field.default is None else exact


def _of_fields(fields: list[tuple[str, str, frozenset[type], Find]], *, mapping: bool) -> Find:
    def find(value: Any) -> str | None:
        for attribute, wire, exact, inner in fields:
            one = value.get(wire, _UNSET) if mapping else getattr(value, attribute, _UNSET)
            if type(one) not in exact and one is not _UNSET:
                found = inner(one)
                if found is not None:
                    return _at(f".{wire}", found)
        return None

    return find


def _of_values(check: Check) -> Find:
    exact, inner = check

    def find(value: Mapping[Any, Any]) -> str | None:
        for key, one in value.items():
            if type(one) not in exact:
                found = inner(one)
                if found is not None:
                    return _at(f"[{key_segment(key)}]", found)
        return None

    return find


def _of_elements(check: Check) -> Find:
    exact, inner = check

    def find(value: Any) -> str | None:
        for index, one in enumerate(value if not _is_array(value) else ()):
            if type(one) not in exact:
                found = inner(one)
                if found is not None:
                    return _at(f"[{index}]", found)
        return None

    return find


def _of_places(checks: list[Check | None]) -> Find:
    def find(value: Any) -> str | None:
        for index, (check, one) in enumerate(zip(checks, value, strict=False)):
            if check is not None and type(one) not in check.exact:
                found = check.find(one)
                if found is not None:
                    return _at(f"[{index}]", found)
        return None

    return find


def _at(segment: str, found: str) -> str:
    return f"{segment}{found}" if found.startswith((".", "[")) else f"{segment} {found}"
