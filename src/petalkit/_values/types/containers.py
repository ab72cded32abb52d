"""Arrays and objects: what is in them goes through the closures of their elements.

The rule: the JSON type is asked for first, since to Python a string is a list of strings. An
object's keys are texts in JSON: what is declared as a number, a date or an enum is read from them.
"""

from __future__ import annotations

import collections
import collections.abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .invalid import (
    MAX_REPORTED_ERRORS,
    Invalid,
    Problem,
    add_problems,
    expected,
    key_segment,
)
from .node import (
    ARRAY,
    OBJECT,
    CannotBuild,
    Defs,
    Node,
    Schema,
    Structure,
)
from .scalars.keys import as_key, key_schema

_Set: Any = set
SEQUENCES: dict[Any, Callable[[list[Any]], Any]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    collections.deque: collections.deque,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Iterable: list,
    collections.abc.Collection: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
}
MAPPINGS: dict[Any, Callable[[], Any]] = {
    dict: dict,
    collections.abc.Mapping: dict,
    collections.abc.MutableMapping: dict,
    collections.OrderedDict: collections.OrderedDict,
    collections.defaultdict: dict,  # made into one at the end
}


def array(name: str, element: Node, build: Callable[[list[Any]], Any], values: type) -> Node:
    """An array of any length."""
    is_set = build in (set, frozenset)
    if is_set and not element.hashable:
        raise CannotBuild(f"{element.name} cannot be an element of a set; write list[...]")
    convert, exact = element.call(), element.exact
    may_crowd = is_set and element.exact is not str

    def structure(value: Any) -> Any:
        if type(value) is not list and not isinstance(value, list | tuple):
            raise expected("an array", value)
        made: list[Any] = []
        append = made.append
        try:
            for item in value:
                append(item if type(item) is exact else convert(item))
        except Exception as error:
            # As many were made as stand before the one that is wrong: nothing is done again, or a
            # wrong value would cost twice as much for each array around it.
            raise _rest(value, len(made), error, convert) from None
        if may_crowd and len(made) > MAX_CROWD:
            crowd = Crowd()
            for one in made:
                crowd.take(one)
        return build(made)

    def schema(defs: Defs) -> Schema:
        return {"type": "array", "items": element.schema(defs)}

    return Node(
        name=name,
        structure=structure,
        kinds=frozenset({ARRAY}),
        schema=schema,
        values=(values,),
        parts=(element,),
        hashable=build in (frozenset, tuple) and element.hashable,
    )


def _rest(value: Sequence[Any], first: int, error: Exception, convert: Structure) -> Invalid:
    """What is wrong with an array of which one element is; it stops where no more is told."""
    problems: list[Problem] = []
    add_problems(problems, f"[{first}]", error)
    for index in range(first + 1, len(value)):
        if len(problems) >= MAX_REPORTED_ERRORS:
            break
        try:
            convert(value[index])
        except Exception as other:
            add_problems(problems, f"[{index}]", other)
    return Invalid.of(problems)


MAX_CROWD = 100  # different values of one hash, in a set or among the keys of an object


class Crowd:
    """Notices values that were chosen to have one hash, as 2**61 - 1 and its multiples have.

    A set looks at all of those for each that is put in, so it would take the square of their
    number. Hashes of texts cannot be foreseen; those of numbers, and of tuples of them, can.
    """

    def __init__(self) -> None:
        self._found: dict[int, tuple[Any, int]] = {}

    def take(self, value: Any) -> None:
        """One more.

        Raises:
            Invalid: there are too many.
        """
        if type(value) is int and -_PLAIN_INT < value < _PLAIN_INT:
            return
        number = hash(value)
        first, count = self._found.get(number, (value, 0))
        if count and value == first:
            return  # the same again, which costs nothing
        if count >= MAX_CROWD:
            raise Invalid("holds too many different values that have one hash")
        self._found[number] = (first, count + 1)


_PLAIN_INT = 2**61 - 1  # the hash of an int below it is its own


def _each_one(values: Iterable[Any], converts: list[Structure]) -> list[Any]:
    """Each by its own closure, with the place of each problem."""
    problems: list[Problem] = []
    result: list[Any] = []
    for index, (value, convert) in enumerate(zip(values, converts, strict=True)):
        try:
            result.append(convert(value))
        except Exception as error:
            add_problems(problems, f"[{index}]", error)
            if len(problems) >= MAX_REPORTED_ERRORS:
                break
    if problems:
        raise Invalid.of(problems)
    return result


def fixed_array(
    name: str, elements: list[Node], build: Callable[[list[Any]], Any], values: type, least: int
) -> Node:
    """An array with a type for each place, such as a tuple; those after `least` may be absent."""
    converts = [one.call() for one in elements]
    count = len(elements)
    told = str(count) if least == count else f"{least} to {count}"

    def structure(value: Any) -> Any:
        if type(value) is not list and not isinstance(value, list | tuple):
            raise expected("an array", value)
        if not least <= len(value) <= count:
            raise Invalid(f"expected {told} elements, got {len(value)}")
        return build(_each_one(value, converts[: len(value)]))

    def schema(defs: Defs) -> Schema:
        found: Schema = {"type": "array", "minItems": least, "maxItems": count}
        if elements:
            found["prefixItems"] = [one.schema(defs) for one in elements]
        return found

    return Node(
        name=name,
        structure=structure,
        kinds=frozenset({ARRAY}),
        schema=schema,
        values=(values,),
        parts=tuple(elements),
        lengths=(least, count),
        hashable=all(one.hashable for one in elements),
    )


def mapping(name: str, key: Node | None, value: Node, make: Callable[[], Any], cls: type) -> Node:
    """An object of any keys; `key` is None for those that are taken as they are."""
    convert, key_convert = value.call(), None if key is None else as_key(key)
    exact = value.exact
    may_crowd = key is not None and key.exact is not str

    def structure(given: Any) -> Any:
        if type(given) is not dict and not isinstance(given, Mapping):
            raise expected("an object", given)
        result: Any = make()
        problems: list[Problem] = []
        crowd = Crowd() if may_crowd and len(given) > MAX_CROWD else None
        for name, item in given.items():
            try:
                made = name if key_convert is None else key_convert(name)
                if crowd is not None:
                    crowd.take(made)
                if key_convert is not None and made in result:
                    raise Invalid("is there twice, written in two ways")
                result[made] = item if type(item) is exact else convert(item)
            except Exception as error:
                add_problems(problems, f"[{key_segment(name)}]", error)
                if len(problems) >= MAX_REPORTED_ERRORS:
                    break
        if problems:
            raise Invalid.of(problems)
        return result

    def schema(defs: Defs) -> Schema:
        found: Schema = {"type": "object"}
        inner = value.schema(defs)
        if inner:
            found["additionalProperties"] = inner
        if key is not None:
            found["propertyNames"] = key_schema(key, defs)
        return found

    return Node(
        name=name,
        structure=structure,
        kinds=frozenset({OBJECT}),
        schema=schema,
        values=(cls,),
        parts=(value,),
        greedy=True,
        hashable=False,
    )
