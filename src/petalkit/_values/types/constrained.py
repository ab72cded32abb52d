"""A type with conditions on its values.

The rule: a condition that does not fit its type, or leaves no value, is refused where it is
declared. Else it would refuse every value as the sender's mistake.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import attrs

from .constraints import NUMBERS, Check, Constraint
from .invalid import Invalid, problems_of
from .node import STRING, CannotBuild, Defs, Node, Schema


def constrained(node: Node, constraints: list[Constraint]) -> Node:
    """A type with conditions on its values.

    Raises:
        CannotBuild: one of them does not fit it.
    """
    if not constraints:
        return node
    for one in constraints:
        _check_fit(node, one)
    _check_possible(node, [*node.constraints, *constraints])
    inner = node.call()
    # Lengths first, wherever they are written: what a pattern takes grows with the text, some even
    # as the power of it, and only a bound of that protects the event loop.
    checks = sorted(
        ((one.check, one) for one in constraints), key=lambda one: one[1].length is None
    )

    def structure(value: Any) -> Any:
        result = inner(value)
        for place, (check, _) in enumerate(checks):
            try:
                held = check(result)
            except (ValueError, TypeError) as error:  # of a predicate
                raise Invalid.of(problems_of(error)) from error
            if not held:
                raise _broken(checks[place:], result)
        return result

    def schema(defs: Defs) -> Schema:
        own: Schema = {}
        rest: list[Schema] = []
        base = node.schema(defs)
        for one in constraints:
            keywords = one.schema(node.kinds)
            if own.keys() & keywords.keys() or base.keys() & keywords.keys():
                rest.append(keywords)  # two patterns: both hold
            else:
                own |= keywords
        found = {**base, **own}
        return {**found, "allOf": [*found.get("allOf", []), *rest]} if rest else found

    notes = (
        *node.notes,
        *(one.note for one in constraints),
    )
    return attrs.evolve(
        node,
        structure=structure,
        schema=schema,
        notes=notes,
        constraints=(*node.constraints, *constraints),
        exact=None,
    )


def _broken(checks: list[tuple[Check, Constraint]], value: Any) -> Invalid:
    """All that a value breaks, at once: the first condition, and others that hold not either."""
    first = checks[0][1]
    found = Invalid(first.told, first.log)
    if first.length is not None and first.side == -1:  # too long to be looked at
        return found
    for check, one in checks[1:]:
        try:
            held = check(value)
        except (ValueError, TypeError):  # the first one has told the sender already
            continue
        if not held:
            found.problems.extend(Invalid(one.told, one.log).problems)
    return found


def _check_fit(node: Node, constraint: Constraint) -> None:
    kinds = constraint.kinds
    if kinds is not None and not (node.kinds <= kinds and _has_length(node, constraint)):
        raise CannotBuild(f"{constraint.told!r} does not fit {node.name}")
    bound = constraint.bound
    if bound is None:
        return
    if not node.values:
        raise CannotBuild(
            f"{constraint.told!r} cannot be enforced, because nobody knows what {node.name} gives"
        )
    for cls in node.values:
        if not _comparable(cls, bound):
            raise CannotBuild(
                f"{constraint.told!r} does not fit {node.name}: {cls.__name__} and "
                f"{type(bound).__name__} are not compared"
            )


def _check_possible(node: Node, constraints: list[Constraint]) -> None:
    whole = bool(node.values) and all(issubclass(one, int) for one in node.values)
    for least in constraints:
        for most in constraints:
            if least.side == 1 and most.side == -1 and _leave_nothing(least, most, whole):
                raise CannotBuild(
                    f"{least.told!r} and {most.told!r} leave no value that {node.name} could be"
                )
    if node.choices is not None and not any(
        all(one.holds(choice) for one in constraints) for choice in node.choices
    ):
        told = " and ".join(repr(one.told) for one in constraints)
        raise CannotBuild(f"{told}: none of {node.name} is")


def _leave_nothing(least: Constraint, most: Constraint, whole: bool) -> bool:
    if least.length is not None and most.length is not None:
        return least.length > most.length
    if least.bound is None or most.bound is None:
        return False
    low, high = least.bound, most.bound
    if whole and all(map(math.isfinite, (low, high))):
        low = math.floor(low) + 1 if least.open else math.ceil(low)
        high = math.ceil(high) - 1 if most.open else math.floor(high)
        return bool(low > high)
    return bool(low > high or ((least.open or most.open) and low == high))


def _has_length(node: Node, constraint: Constraint) -> bool:
    if constraint.told.startswith("must have a length"):
        return all(hasattr(cls, "__len__") for cls in node.values)
    if constraint.kinds == frozenset({STRING}):
        return all(issubclass(cls, str) for cls in node.values)
    return True


def _comparable(cls: type, bound: Any) -> bool:
    if isinstance(bound, bool) or issubclass(cls, bool):
        return False
    if issubclass(cls, NUMBERS):
        return isinstance(bound, NUMBERS)
    if issubclass(cls, dt.datetime):
        # Every moment has an offset, and cannot be compared with one that has none.
        return isinstance(bound, dt.datetime) and bound.tzinfo is not None
    if issubclass(cls, dt.time):
        return False  # some have an offset
    return isinstance(bound, cls) and any("__lt__" in vars(one) for one in cls.__mro__[:-1])
