"""`Petal` and `@command`: what a class of commands is, with a runtime and without one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import trio

from petalkit import CommandError, Petal, RegistrationError, command, job, stream
from petalkit._authoring.declared import CommandOptions
from petalkit._authoring.jobs.options import JobOptions
from petalkit._authoring.jobs.stream import StreamOptions
from petalkit._authoring.registry import build_table
from petalkit.testing import open_harness


def names(petal: Petal) -> list[str]:
    return [spec.name for spec in build_table([petal])]


class Base(Petal):
    name = "base"

    @command("hello")
    async def hello(self, name: str = "World") -> dict[str, str]:
        """Greet."""
        return {"message": f"Hello, {name}!"}

    @command("bye")
    async def bye(self) -> str:
        return "bye"


# -- the decorator


@pytest.mark.trio
async def test_a_handler_can_be_called_directly() -> None:
    assert await Base().hello("Ada") == {"message": "Hello, Ada!"}


def test_the_decorator_returns_the_very_function() -> None:
    async def handler(self: Petal) -> None: ...

    assert command("do")(handler) is handler


def test_without_parentheses_it_says_what_to_write() -> None:
    with pytest.raises(TypeError, match=r'write @command\("name"\) over <function .*hello'):

        class Wrong(Petal):
            @command  # type: ignore[arg-type]
            async def hello(self) -> None: ...  # type: ignore[misc]


def test_two_decorators_make_two_commands_of_one_method() -> None:
    class Two(Petal):
        name = "two"

        @command("long")
        @command("short", timeout=1.0)
        async def handle(self) -> None: ...

    table = build_table([Two()])
    short, long = table.lookup("two/short"), table.lookup("two/long")
    assert short is not None
    assert long is not None
    assert short.handler == long.handler
    assert (short.timeout, long.timeout) == (1.0, 60.0)


def test_static_and_class_methods_are_commands_with_the_decorator_inside_or_outside() -> None:
    class Static(Petal):
        name = "s"

        @command("outside-static")
        @staticmethod
        async def one(n: int) -> None: ...

        @staticmethod
        @command("inside-static")
        async def two(n: int) -> None: ...

        @command("outside-class")
        @classmethod
        async def three(cls, n: int) -> None: ...

        @classmethod
        @command("inside-class")
        async def four(cls, n: int) -> None: ...

    table = build_table([Static()])
    assert [spec.name for spec in table] == [
        "s/outside-static",
        "s/inside-static",
        "s/outside-class",
        "s/inside-class",
    ]
    assert all([one.name for one in spec.parameters] == ["n"] for spec in table)


def test_properties_are_not_called_to_find_commands() -> None:
    class Careful(Base):
        @property
        def motor(self) -> Any:
            raise AssertionError("the motor ran")

    assert names(Careful()) == ["base/hello", "base/bye"]


def test_the_docstring_reaches_the_table() -> None:
    spec = build_table([Base()]).lookup("base/hello")
    assert spec is not None
    assert spec.doc == "Greet."
    assert spec.method == "Base.hello"


# -- inheritance


@pytest.mark.trio
async def test_commands_are_inherited_and_an_override_with_its_own_decorator_takes_over(
    autojump_clock: object,
) -> None:
    class Child(Base):
        name = "child"

        @command("hello")
        async def hello(self, name: str = "Child") -> dict[str, str]:
            return await super().hello(name)

        @command("more")
        async def more(self) -> None: ...

    assert names(Child()) == ["child/hello", "child/bye", "child/more"]
    async with open_harness(Child()) as harness:
        assert (await harness.call("child/hello"))["message"] == "Hello, Child!"
        assert (await harness.call("child/bye"))["result"] == "bye"


@pytest.mark.trio
async def test_an_override_without_a_decorator_is_served_under_the_options_of_its_base(
    autojump_clock: object,
) -> None:
    class Quiet(Base):
        async def bye(self) -> str:
            return "quiet"

    assert names(Quiet()) == ["base/hello", "base/bye"]
    async with open_harness(Quiet()) as harness:
        assert (await harness.call("base/bye"))["result"] == "quiet"


def test_an_attribute_of_none_takes_a_command_away() -> None:
    class Less(Base):
        bye = None  # type: ignore[assignment]

    assert names(Less()) == ["base/hello"]


def test_a_mixin_brings_its_commands() -> None:
    class Ping:
        @command("ping")
        async def ping(self) -> None: ...

    class Mixed(Ping, Base):
        pass

    assert sorted(names(Mixed())) == ["base/bye", "base/hello", "base/ping"]


@pytest.mark.trio
async def test_a_petal_may_forget_to_call_its_base_class(autojump_clock: object) -> None:
    class Forgetful(Base):
        def __init__(self) -> None:
            self.add_command("early", self.bye)

    petal = Forgetful()
    assert petal.identity is None
    async with open_harness(petal) as harness:
        assert petal.identity == harness.runtime.identity
        assert (await harness.call("base/early"))["result"] == "bye"


# -- outside a runtime


@pytest.mark.trio
async def test_outside_a_runtime_a_petal_says_what_is_missing(autojump_clock: object) -> None:
    petal = Base()
    helpful = r"petal 'base' is not served by a runtime; .*petalkit\.testing\.open_harness\(\)"
    for _ in range(2):  # before serving, and again after it
        assert petal.identity is None
        with pytest.raises(RuntimeError, match=helpful):
            _ = petal.nursery
        with pytest.raises(RuntimeError, match=helpful):
            await petal.wait_identity()
        with pytest.raises(RuntimeError, match=helpful):
            await petal.publish_message({"n": 1})
        with pytest.raises(RuntimeError, match=helpful):
            await petal.publish_debug({"n": 1})
        async with open_harness(petal) as harness:
            assert petal.identity == harness.runtime.identity
            assert isinstance(petal.nursery, trio.Nursery)


@pytest.mark.trio
async def test_a_petal_without_a_name_is_called_by_its_class() -> None:
    class Nameless(Petal):
        pass

    with pytest.raises(RuntimeError, match=r"petal '.*Nameless' is not served"):
        await Nameless().publish_message({})


# -- commands added and removed before serving


def test_an_added_command_has_the_decorators_options_and_refusals() -> None:
    petal = Base()
    petal.add_command("again", petal.bye, timeout=5.0, exclusive="motor")
    spec = build_table([petal]).lookup("base/again")
    assert spec is not None
    assert (spec.timeout, spec.exclusive, spec.method) == (5.0, "motor", "Base.bye")
    petal.add_command("hello", petal.bye)
    with pytest.raises(RegistrationError, match="'base/hello' is already served"):
        build_table([petal])


@pytest.mark.parametrize("name", ["again", "base/again"])
def test_a_command_removed_before_serving_is_not_served(name: str) -> None:
    petal, other = Base(), Base()
    petal.add_command("again", petal.bye)
    petal.remove_command(name)
    assert names(petal) == names(other) == ["base/hello", "base/bye"]
    with pytest.raises(KeyError):
        petal.remove_command(name)


# -- and during it


@pytest.mark.trio
async def test_a_command_added_and_removed_while_serving_takes_effect_at_once(
    autojump_clock: object,
) -> None:
    petal = Base()
    async with open_harness(petal) as harness:
        assert (await harness.call("base/again")).error_code == "UNKNOWN_COMMAND"

        async def again(n: int) -> int:
            return n + 1

        petal.add_command("again", again)
        assert (await harness.call("base/again", {"n": 1}))["result"] == 2
        petal.remove_command("again")
        answer = await harness.call("base/again", {"n": 1})
        assert answer.error_code == "UNKNOWN_COMMAND"
        assert answer["available_commands"] == ["base/bye", "base/hello"]
        with pytest.raises(KeyError):
            petal.remove_command("again")


@pytest.mark.trio
async def test_what_is_refused_while_serving_leaves_everything_as_it_was(
    autojump_clock: object,
) -> None:
    petal = Base()
    async with open_harness(petal) as harness:

        async def other() -> str:
            return "other"

        with pytest.raises(RegistrationError, match="'base/bye' is already served"):
            petal.add_command("bye", other)
        with pytest.raises(RegistrationError, match="urgent passes every limit"):
            petal.add_command("stop", other, urgent=True, concurrency=1)
        assert (await harness.call("base/bye"))["result"] == "bye"
        assert (await harness.call("base/stop")).error_code == "UNKNOWN_COMMAND"
    assert names(petal) == ["base/hello", "base/bye"]


@pytest.mark.trio
async def test_a_petal_cannot_remove_the_command_of_another(autojump_clock: object) -> None:
    class Other(Petal):
        name = "other"

    other = Other()
    async with open_harness(Base(), other) as harness:
        for name in ("base/bye", "petalkit/ping"):
            with pytest.raises(KeyError):
                other.remove_command(name)
        assert (await harness.call("base/bye")).success


@pytest.mark.trio
async def test_changes_made_while_serving_end_with_it(autojump_clock: object) -> None:
    petal = Base()
    petal.add_command("early", petal.bye)
    async with open_harness(petal):
        petal.add_command("again", petal.bye)
        petal.remove_command("base/early")
        petal.remove_command("hello")
    assert names(petal) == ["base/hello", "base/bye", "base/early"]
    async with open_harness(petal) as harness:
        petal.add_command("again", petal.bye)
        for name in ("hello", "early", "again"):
            assert (await harness.call(f"base/{name}")).success


@pytest.mark.trio
async def test_a_handler_may_add_a_command_and_take_itself_away(autojump_clock: object) -> None:
    class Setup(Petal):
        name = "setup"

        @command("arm")
        async def arm(self) -> None:
            self.add_command("fire", self.fire)

        async def fire(self) -> str:
            self.remove_command("fire")
            raise CommandError("EMPTY", "no more")

    async with open_harness(Setup()) as harness:
        await harness.call("setup/arm")
        assert (await harness.call("setup/fire")).error_code == "EMPTY"
        assert (await harness.call("setup/fire")).error_code == "UNKNOWN_COMMAND"


def keywords_of(function: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Each keyword with its annotation and its default."""
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    keywords = (one for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY)
    return {one.name: (one.annotation, one.default) for one in keywords}


@pytest.mark.parametrize(
    ("function", "options", "others"),
    [
        (command, CommandOptions, set[str]()),
        (Petal.add_command, CommandOptions, set[str]()),
        (job, JobOptions, {"when_busy"}),
        (stream, StreamOptions, set[str]()),
    ],
)
def test_a_decorator_takes_what_its_options_hold_and_nothing_else(
    function: Callable[..., Any], options: type, others: set[str]
) -> None:
    """They are written out, so that help() and editors show them; here is why that is safe."""
    held = keywords_of(options)
    assert held.pop("name")
    assert keywords_of(function) == {name: one for name, one in held.items() if name not in others}
