"""Marks that Python drops without a word: refused, with both lines."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from petalkit import Petal, RegistrationError, command
from petalkit._authoring.registry import build_table


def refusal(petal: Petal) -> str:
    with pytest.raises(RegistrationError) as caught:
        build_table([petal])
    return str(caught.value)


def line_of(function: Any) -> int:
    line: int = function.__code__.co_firstlineno
    return line


def test_a_command_whose_method_is_defined_again_is_refused_with_both_lines() -> None:
    class Twice(Petal):
        name = "p"

        @command("c")
        async def c(self) -> None: ...

        first = line_of(c)

        @command("d")
        async def c(self) -> None: ...  # type: ignore[no-redef]

    told = refusal(Twice())
    assert "Twice.c(): the command 'c' at line" in told
    assert told.endswith(
        f"'c' at line {Twice.first} is lost: c() is defined again at line {line_of(Twice.c)}; "
        "give one another name"
    )


def test_one_whose_second_definition_is_not_marked_or_stands_in_a_base_is_refused_too() -> None:
    class Mixin:
        @command("c")
        async def c(self) -> None: ...

        async def c(self) -> None: ...  # type: ignore[no-redef]  # noqa: F811

    class Uses(Mixin, Petal):
        name = "p"

    assert "Mixin.c(): the command 'c'" in refusal(Uses())


def returns_nothing(function: Callable[..., Any]) -> None:
    pass


def ours(function: Callable[..., Any]) -> Callable[..., Any]:
    return command("c")(function)


def test_a_decorator_that_returns_nothing_is_told_of() -> None:
    class Loses(Petal):
        name = "p"

        @returns_nothing
        @command("c")
        async def c(self) -> None: ...

    assert "'c' is something else now; does a decorator return nothing?" in refusal(Loses())


def test_a_mark_is_found_through_a_decorator_of_the_petals_own() -> None:
    class Twice(Petal):
        name = "p"

        @ours
        async def c(self) -> None: ...

        @command("d")
        async def c(self) -> None: ...  # type: ignore[no-redef]  # noqa: F811

    assert "the command 'c'" in refusal(Twice())


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def inner(self: Any, *args: Any, **named: Any) -> Any:
        return await function(self, *args, **named)

    return inner


def test_what_is_kept_is_not_taken_for_lost() -> None:
    class Good(Petal):
        name = "p"

        @command("a")
        @command("b")
        async def ab(self) -> None: ...

        @wrapped
        @command("c")
        async def c(self) -> None: ...

        @staticmethod
        @command("d")
        async def d() -> None: ...

        @command("e")
        @staticmethod
        async def e() -> None: ...

        @command("f")
        async def f(self) -> None: ...

        g = f
        del f

    class Below(Good):
        name = "p"

        @command("g")
        async def c(self) -> None: ...

        d = None  # type: ignore[assignment]

    assert build_table([Good()]).public_names() == [f"p/{one}" for one in "abcdef"]
    assert build_table([Below()]).public_names() == ["p/a", "p/b", "p/e", "p/f", "p/g"]


def test_a_function_that_is_marked_elsewhere_leaves_nothing_behind() -> None:
    @command("c")
    async def c(self: Any) -> None: ...

    petal = type("P", (Petal,), {"name": "p", "c": c})()
    assert build_table([petal]).public_names() == ["p/c"]
