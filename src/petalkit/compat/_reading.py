"""What a petal's code says without being run: how it takes commands, and which proxies it names.

The rule: a look raises nothing and runs nothing of the petal's. It sees names that stand in the
code of the petal's own classes, and no other: `self._proxies["redis"]` is seen, and what is made of
a variable is not. So it says what a petal asks for, and never that it asks for nothing else.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator, Mapping
from types import CodeType
from typing import Any

import attrs

from .._authoring.inspection.foreign import attribute_of
from ._base import Petal
from ._decorators import MQTT_MARK

PROXIES = "_proxies"
REMOVED = ("subscribe_to_topic", "unsubscribe_from_topic", "subscribe_pattern")
_READS = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_BETWEEN = frozenset({"PUSH_NULL", "PRECALL", "COPY"})  # which say nothing of the names


@attrs.frozen
class NamedProxies:
    """The proxies that a petal's code names.

    Attributes:
        insisted: in `self._proxies[name]`; without it that code fails.
        asked: in `self._proxies.get(name)`.
    """

    insisted: frozenset[str]
    asked: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        """Both."""
        return self.insisted | self.asked


def named_proxies(petal: object) -> NamedProxies:
    """The proxies that the code of a petal names."""
    insisted: set[str] = set()
    asked: set[str] = set()
    for _, code in _codes(petal):
        if PROXIES not in code.co_names:
            continue
        steps = [one for one in dis.get_instructions(code) if one.opname not in _BETWEEN]
        for step, first, second in zip(steps, steps[1:], steps[2:], strict=False):
            if step.opname not in _READS or step.argval != PROXIES:
                continue
            if _is_text(first) and second.opname == "BINARY_SUBSCR":
                insisted.add(first.argval)
            elif first.opname in _READS and first.argval == "get" and _is_text(second):
                asked.add(second.argval)
    return NamedProxies(frozenset(insisted), frozenset(asked - insisted))


def _is_text(step: dis.Instruction) -> bool:
    return step.opname == "LOAD_CONST" and isinstance(step.argval, str)


def uses_actions(petal: object) -> bool:
    """Whether a petal is of the host's newer form: `@mqtt_action`, also put on at run time."""
    for one in _own_classes(petal):
        for value in list(vars(one).values()):
            if isinstance(attribute_of(value, MQTT_MARK), Mapping):
                return True
    return any(MQTT_MARK in (*code.co_names, *code.co_consts) for _, code in _codes(petal))


def removed_calls(petal: object) -> dict[str, list[str]]:
    """The methods that the guide has removed, each with the petal's methods that call it."""
    found: dict[str, list[str]] = {}
    for method, code in _codes(petal):
        for name in REMOVED:
            if name in code.co_names and method not in found.setdefault(name, []):
                found[name].append(method)
    return {name: methods for name, methods in found.items() if methods}


def _own_classes(petal: object) -> list[type]:
    mro = type(petal).__mro__
    # What stands behind the base class is not the petal's.
    ours = Petal.__mro__ if Petal in mro else object.__mro__
    return [one for one in mro if one not in ours]


def _codes(petal: object) -> Iterator[tuple[str, CodeType]]:
    """The code of a petal's own methods, with what is nested in it; the name of each method."""
    for one in _own_classes(petal):
        for name, value in list(vars(one).items()):
            for function in _functions_of(value):
                yield from ((name, code) for code in _with_nested(function))


def _functions_of(value: Any) -> Iterator[CodeType]:
    seen = 0
    todo = [value]
    while todo and seen < 10:  # decorators around decorators
        one, seen = todo.pop(), seen + 1
        for attribute in ("__wrapped__", "__func__", "fget"):
            inner = attribute_of(one, attribute)
            if inner is not None:
                todo.append(inner)
        code = attribute_of(one, "__code__")
        if isinstance(code, CodeType):
            yield code


def _with_nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_nested(constant)
