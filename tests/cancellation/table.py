"""The table of operations that are swept: one entry each, made by `case`.

    @case(Client.call, ground=client_ground)
    async def call(client: Client) -> None:
        assert (await client.call("petal/hello")).success

A new public coroutine needs one such entry, in the file of what it belongs to (`cases_*`). It
names what it covers by the functions themselves, and does something that waits.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from .sweep import Case, Operation

CASES: list[Case] = []


def case(
    *covers: Callable[..., Any],
    ground: Callable[[], AbstractAsyncContextManager[Any]],
    name: str | None = None,
    **options: Any,
) -> Callable[[Operation], Operation]:
    """Put an operation into the table.

    Args:
        covers: the public functions that it calls.
        ground: see `Case`.
        name: of the test; None for the function's.
        options: the other attributes of `Case`.
    """

    def register(operation: Operation) -> Operation:
        found = Case(
            name=name or operation.__name__,
            covers=covers,
            ground=ground,
            operation=operation,
            **options,
        )
        assert found.name not in {each.name for each in CASES}, f"{found.name} is there twice"
        CASES.append(found)
        return operation

    return register


def on(kind: type, *names: str) -> tuple[Callable[..., Any], ...]:
    """The methods of these names that an object of that class has: its own, and those behind.

    All of petalkit's in its bases: a call of `NativeLink.receive` covers `Link.receive` too.
    """
    return tuple(
        vars(base)[name]
        for name in names
        for base in kind.__mro__
        if name in vars(base) and base.__module__.startswith("petalkit")
    )
