"""Refusals: what a command costs that is refused, beside one of its size that is good.

CPU of the steps between bytes and answer that grow with what is sent or served, in one process,
without a link. Wrong data is measured beside good data of the same size and type, and an unknown
command with tables of several sizes. See README.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable
from typing import Any, Literal

import attrs

from _common import print_aim, print_environment, print_table, progress
from petalkit import Petal, make_converter
from petalkit._authoring.registry import build_table
from petalkit._authoring.signature.arguments import invalid_data
from petalkit._serving.dispatch.catalog import Catalog
from petalkit._values.codec import encode_json
from petalkit._values.structuring import types_of
from petalkit._values.types.invalid import Invalid, problems_of

AIM_RATIO = 3.0  # of what a good command of that size takes
AIM_UNKNOWN = 200.0  # us
LEVELS = 14  # of arrays in arrays, of models in models: 30 of them took hours once


@attrs.frozen
class Point:
    x: float
    y: float = 0.0


@attrs.frozen
class Tree:
    kids: list[Tree] = attrs.field(factory=list)
    leaf: int = 0


@attrs.frozen
class Left:
    child: Left | Right | None = None
    x: int = 0


@attrs.frozen
class Right:
    child: Left | Right | None = None
    y: int = 0


@attrs.frozen
class Up:
    kind: Literal["up"]
    by: int


@attrs.frozen
class Down:
    kind: Literal["down"]
    by: int


def chain(value: Any, levels: int, wrap: Callable[[Any], Any]) -> Any:
    for _ in range(levels):
        value = wrap(value)
    return value


def cases(size: int) -> list[tuple[str, Any, Any, Any]]:
    """Name, type, good value and wrong value."""

    def many(value: Any) -> list[Any]:
        return [value] * (size // (len(json.dumps(value, separators=(",", ":"))) + 1))

    nested: Any = int
    for _ in range(LEVELS):
        nested = list[nested]
    large = [(10_000 + number) * (2**61 - 1) for number in range(size // 25)]
    spread = [number * 1_000_003 for number in range(size // 12)]
    return [
        ("list[int], all wrong", list[int], many(1), many("")),
        ("list[int], the last wrong", list[int], many(1), [*many(1), ""]),
        ("list[Point], all wrong", list[Point], many({"x": 1}), many({"x": ""})),
        ("list[Up | Down], all wrong", list[Up | Down], many({"kind": "up", "by": 1}), many({})),
        ("list[Left | Right], all wrong", list[Left | Right], many({"x": 1}),
         many({"x": "", "y": ""})),
        ("dict[str, int], all wrong", dict[str, int], dict.fromkeys(map(str, range(size // 9)), 1),
         dict.fromkeys(map(str, range(size // 9)), "")),
        ("set[int], of one hash", set[int], spread, large),
        (f"{LEVELS} arrays, the leaf wrong", nested, chain(1, LEVELS, lambda one: [one]),
         chain("", LEVELS, lambda one: [one])),
        (f"Tree of {LEVELS}, the leaf wrong", Tree,
         chain({}, LEVELS, lambda one: {"kids": [one]}),
         chain({"leaf": ""}, LEVELS, lambda one: {"kids": [one]})),
        (f"Left | Right, {LEVELS} deep, wrong", Left | Right,
         chain({}, LEVELS, lambda one: {"child": one}),
         chain({"x": "", "y": ""}, LEVELS, lambda one: {"child": one})),
    ]  # fmt: skip


def cpu(call: Callable[[], object], least: float) -> float:
    """CPU seconds of one call: the median of three, each of as many as fill `least` seconds."""
    found: list[float] = []
    for _ in range(3):
        began, count = time.process_time(), 0
        while time.process_time() - began < least:
            call()
            count += 1
        found.append((time.process_time() - began) / count)
    return sorted(found)[1]


def refused(structure: Callable[[Any], Any], value: Any) -> bytes:
    """The bytes that are said of it."""
    try:
        structure(value)
    except Invalid as error:
        return encode_json(list(invalid_data(problems_of(error)).errors))
    raise AssertionError("it was taken")


async def handler(data: dict[str, Any]) -> None:
    """Stands in the table."""


def petal_of(number: int, count: int) -> Petal:
    petal = Petal()
    petal.name = f"petal-{number}"
    for one in range(count):
        petal.add_command(f"do_something_{one}", handler)
    return petal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128 * 1024, help="bytes of data")
    parser.add_argument("--served", type=int, nargs="*", default=[100, 1000, 5000])
    parser.add_argument("--seconds", type=float, default=0.1, help="of each measurement")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    print_environment()

    rows: list[list[str]] = []
    worst = 0.0
    for name, annotation, good, wrong in cases(options.size):
        progress(name)
        structure = types_of(make_converter()).node(annotation).structure
        taken = cpu(lambda do=structure, value=good: do(value), options.seconds)
        cost = cpu(lambda do=structure, value=wrong: refused(do, value), options.seconds)
        # What is said of the wrong has a price of its own: 20 errors, whatever the size.
        if cost > 0.001:
            worst = max(worst, cost / taken)
        rows.append([name, f"{taken * 1e3:.3f}", f"{cost * 1e3:.3f}", f"{cost / taken:.2f}"])
    print_table(["wrong data", "good, ms", "wrong, ms", "ratio"], rows)
    print_aim("wrong data that takes over 1 ms, against good data of its size", worst, AIM_RATIO)
    print()

    rows = []
    slowest = 0.0
    for served in options.served:
        progress(f"{served} commands served")
        table = build_table([petal_of(one, min(served, 500)) for one in range(-(-served // 500))])
        catalog = Catalog("all", table)
        for word in ("petal-0/do_somthing_7", "nobody/knows", "x" * 256):
            cost = cpu(lambda do=catalog, it=word: encode_json(do.details(it)), options.seconds)
            slowest = max(slowest, cost * 1e6)
            length = len(encode_json(catalog.details(word)))
            rows.append([word[:24], str(served), f"{cost * 1e6:.0f}", str(length)])
    print_table(["unknown command", "served", "CPU, us", "bytes said"], rows)
    print_aim("an unknown command", slowest, AIM_UNKNOWN, " us")


if __name__ == "__main__":
    main()
