"""A mark is never lost silently, and a petal's own names break nothing."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from petalkit import Petal, RegistrationError, command
from petalkit._authoring.registry import build_table
from petalkit.testing import open_harness


def names(petal: Petal) -> list[str]:
    return [spec.name for spec in build_table([petal])]


def refusal(petal: Petal) -> RegistrationError:
    with pytest.raises(RegistrationError) as caught:
        build_table([petal])
    return caught.value


class Base(Petal):
    name = "p"

    @command("go", timeout=7.0)
    async def go(self) -> str:
        return "base"


# -- overriding


def test_an_override_has_the_options_of_its_base() -> None:
    class Child(Base):
        async def go(self) -> str:
            return "child"

    class Grandchild(Child):
        async def go(self, n: int = 0) -> str:
            return "grandchild"

    (spec,) = build_table([Grandchild()])
    assert (spec.name, spec.timeout) == ("p/go", 7.0)
    assert [one.name for one in spec.parameters] == ["n"]


def test_an_override_with_a_mark_has_its_own_options_only() -> None:
    class Child(Base):
        @command("walk")
        async def go(self) -> str:
            return "child"

    assert names(Child()) == ["p/walk"]


def test_what_fills_in_an_abstract_command_is_served() -> None:
    class Abstract(Petal, abc.ABC):
        name = "p"

        @command("go", timeout=7.0)
        @abc.abstractmethod
        async def go(self) -> str: ...

    class Concrete(Abstract):
        async def go(self) -> str:
            return "concrete"

    (spec,) = build_table([Concrete()])
    assert spec.timeout == 7.0


def test_an_override_of_the_wrong_kind_is_refused_like_any_handler() -> None:
    class Plain(Base):
        def go(self) -> str:  # type: ignore[override]
            return "plain"

    class Number(Base):
        go = 3  # type: ignore[assignment]

    assert "is not async: write async def" in refusal(Plain()).reason
    assert "is not callable" in refusal(Number()).reason


def test_two_bases_that_mark_differently_have_to_be_decided_between() -> None:
    class Other:
        @command("walk")
        async def go(self) -> str:
            return "other"

    class Both(Base, Other):
        async def go(self) -> str:
            return "both"

    error = refusal(Both())
    assert "write @command over it" in error.reason
    assert error.method is not None
    assert error.method.endswith("Both.go")


# -- what hides a mark


def plain_decorator(function: Callable[..., Any]) -> Callable[..., Any]:
    async def inner(self: Any) -> Any:
        return await function(self)

    return inner


def sync_decorator(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


class Wrapper:
    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    async def __call__(self) -> None: ...


def good_decorator(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def inner(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return inner


@pytest.mark.parametrize(
    ("outer", "reason"),
    [
        (plain_decorator, "write @command on top of the others, or functools.wraps"),
        (Wrapper, "write @command on top of the others, or functools.wraps"),
        (lambda f: plain_decorator(functools.partial(f)), None),
        (property, "is a property, which is not called with arguments: remove @property"),
        (functools.partial, "write @command on top"),
        (functools.partialmethod, "write @command on top"),
        (sync_decorator, "hides that it is async: inside it, write async def, and await"),
    ],
    ids=["closure", "object", "two", "property", "partial", "partialmethod", "sync"],
)
def test_what_hides_a_mark_is_refused_with_what_to_write(outer: Any, reason: str | None) -> None:
    async def go(self: Any) -> None: ...

    cls = type("P", (Petal,), {"name": "p", "go": outer(command("go")(go))})
    if reason is not None:
        assert reason in refusal(cls()).reason


@pytest.mark.parametrize("order", ["above", "below"])
def test_a_decorator_that_wraps_well_is_served(order: str) -> None:
    async def go(self: Any, n: int) -> None: ...

    mark = command("go")
    decorated = good_decorator(mark(go)) if order == "above" else mark(good_decorator(go))
    cls = type("P", (Petal,), {"name": "p", "go": decorated})
    (spec,) = build_table([cls()])
    assert [one.name for one in spec.parameters] == ["n"]


def test_the_mark_over_what_cannot_hold_it_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="has to stand over a function, not over property"):
        command("go")(property(lambda self: None))  # type: ignore[type-var]


@pytest.mark.parametrize("signature", ["data", "data: dict", "name='x'", "cls"])
def test_a_method_without_self_is_refused(signature: str) -> None:
    scope: dict[str, Any] = {}
    exec(f"async def go({signature}): ...", scope)
    cls = type("P", (Petal,), {"name": "p", "go": command("go")(scope["go"])})
    error = refusal(cls())
    assert "has no self: write async def go(self, " in error.reason


# -- names


class OwnNames(Petal):
    """Uses every name that petalkit once used for itself."""

    name = "own"

    def __init__(self) -> None:
        self._host = "mqtt.local"
        self._served = 3
        self._added = None
        self.resolver = object()
        self.builtin = True
        self.ready_at_once = False
        self.beside_others = "yes"
        self.declared_commands = 5

    @command("get")
    async def get(self) -> dict[str, Any]:
        assert self.identity is not None
        return {"host": self._host, "served": self._served}


@pytest.mark.trio
async def test_a_petal_may_use_any_private_name(autojump_clock: object) -> None:
    async with open_harness(OwnNames()) as harness:
        response = await harness.call("own/get")
        assert (response["host"], response["served"]) == ("mqtt.local", 3)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("nursery", None),
        ("identity", "camera 1"),
        ("lifespan", 80.0),
        ("publish_message", 3),
        ("add_command", "x"),
        ("converter", object()),
    ],
)
def test_a_public_name_of_petalkit_is_refused(attribute: str, value: object) -> None:
    cls = type("P", (Base,), {attribute: value})
    error = refusal(cls())
    assert f"'{attribute}' is petalkit's own" in error.reason


@pytest.mark.parametrize("value", [80.0, None, 0])
def test_an_attribute_of_the_instance_is_seen_too(value: object) -> None:
    petal = Base()
    petal.lifespan = value  # type: ignore[method-assign, assignment]
    assert "'lifespan' is petalkit's own" in refusal(petal).reason


@pytest.mark.parametrize("attribute", ["nursery", "identity"])
def test_a_property_of_petalkits_that_is_set_in_init_says_what_to_do(attribute: str) -> None:
    class Camera(Base):
        def __init__(self) -> None:
            setattr(self, attribute, "camera 1")

    with pytest.raises(RegistrationError) as caught:
        Camera()
    assert f"self.{attribute} is petalkit's own, so it cannot be set" in str(caught.value)
    assert "give the attribute another name" in str(caught.value)
    assert "petal 'p'" in str(caught.value)


def test_a_field_of_a_dataclass_with_such_a_name_says_it_too() -> None:
    def made(**options: Any) -> Any:
        fields: list[Any] = [("identity", str)]
        return dataclasses.make_dataclass("Camera", fields, bases=(Base,), **options)

    for cls in (made(), made(frozen=True)):
        with pytest.raises(RegistrationError, match="give the attribute another name"):
            cls("camera 1")


class Proxy:
    """Of a library: it knows nothing before there is a connection."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError("working outside of a connection")


class Opaque:
    """The same, and not even its own attributes."""

    @property
    def __dict__(self) -> dict[str, object]:  # type: ignore[override]
        raise RuntimeError("working outside of a connection")


@pytest.mark.parametrize("value", [Proxy(), Opaque()], ids=["proxy", "opaque"])
def test_what_raises_when_it_is_looked_at_is_no_command(value: object) -> None:
    cls = type("P", (Base,), {"camera": value})
    assert names(cls()) == ["p/go"]


def test_a_command_may_have_a_name_of_petalkits_but_not_its_method() -> None:
    class Taken(Petal):
        name = "p"

        @command("identity")
        async def identity(self) -> None: ...  # type: ignore[override]

    class Free(Petal):
        name = "p"

        @command("identity")
        async def tell_identity(self) -> None: ...

    assert "give the method another name" in refusal(Taken()).reason
    assert names(Free()) == ["p/identity"]


def test_a_method_of_petalkits_may_be_wrapped() -> None:
    class Counting(Base):
        async def publish_message(self, *args: Any, **kwargs: Any) -> None:
            await super().publish_message(*args, **kwargs)

    assert names(Counting()) == ["p/go"]


# -- frozen petals


@attrs.frozen
class FrozenAttrs(Petal):
    name: str = "frozen"

    @command("get")
    async def get(self) -> str:
        assert self.identity is not None
        return "got"


@dataclasses.dataclass(frozen=True)
class FrozenData(Petal):
    name: str = "frozen"

    @command("get")
    async def get(self) -> str:
        return "got"


@attrs.define(slots=True, eq=True)
class Slots(Petal):
    name: str = "frozen"

    @command("get")
    async def get(self) -> str:
        return "got"


class Closed(Petal):
    name = "frozen"

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)

    @command("get")
    async def get(self) -> str:
        return "got"


@pytest.mark.trio
@pytest.mark.parametrize("make", [FrozenAttrs, FrozenData, Slots, Closed])
async def test_a_petal_that_cannot_be_changed_is_served(
    make: Callable[[], Petal], autojump_clock: object
) -> None:
    petal = make()
    petal.add_command("more", petal.get)  # type: ignore[attr-defined]
    async with open_harness(petal) as harness:
        assert (await harness.call("frozen/get"))["result"] == "got"
        assert (await harness.call("frozen/more"))["result"] == "got"
