"""The table of commands: what it calls them, and what it refuses, in words that find the place."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Annotated, Any

import annotated_types as at
import attrs
import cattrs
import pytest
import trio

from petalkit import Command, CommandContext, Petal, RegistrationError, command
from petalkit._authoring import registry
from petalkit._authoring.registry import MAX_LISTED, build_table
from petalkit._serving.dispatch.catalog import Catalog
from petalkit.testing import open_harness


class Opaque:
    """Nothing that JSON could say."""


@attrs.frozen
class Model:
    inner: list[Opaque]


async def anything(data: dict[str, Any]) -> None:
    pass


def petal_of(handler: Callable[..., Any], **options: Any) -> Petal:
    """A petal named `p` that serves one handler as `p/do`."""
    petal = Petal()
    petal.name = "p"
    petal.add_command("do", handler, **options)
    return petal


def refusal(*petals: Petal) -> RegistrationError:
    with pytest.raises(RegistrationError) as caught:
        build_table(petals)
    return caught.value


def names(*petals: Petal) -> list[str]:
    return [spec.name for spec in build_table(petals)]


# -- names


class Named(Petal):
    name = "flight-log-petal"

    @command("start")
    async def start(self) -> None: ...

    @command("other/start")
    async def elsewhere(self) -> None: ...


def test_a_name_without_a_slash_gets_the_petals_name_in_front() -> None:
    assert names(Named()) == ["flight-log-petal/start", "other/start"]


def test_a_prefix_takes_the_place_of_the_name_and_may_have_slashes() -> None:
    petal = Named()
    petal.prefix = "flight/log"
    assert names(petal) == ["flight/log/start", "other/start"]


def test_the_name_of_an_instance_may_differ_from_its_class() -> None:
    second = Named()
    second.name = "second"
    assert names(second)[0] == "second/start"


BAD_SEGMENTS = ["", "a b", "a+", "#", "é", "-a", ".a", "a\n", "x" * 65]
BAD_NAMES = ["/a", "a/", "a//b", "a/ b", "/".join(["x" * 50] * 5), *BAD_SEGMENTS]


@pytest.mark.parametrize("name", [*BAD_SEGMENTS, "a/b", 5, None], ids=repr)
def test_a_petals_name_is_checked(name: Any) -> None:
    petal = Named()
    petal.name = name
    error = refusal(petal)
    assert error.petal == (name if isinstance(name, str) and name else "Named")
    assert "name" in error.reason


@pytest.mark.parametrize("prefix", [*BAD_NAMES, 5], ids=repr)
def test_a_prefix_is_checked(prefix: Any) -> None:
    petal = Named()
    petal.prefix = prefix
    error = refusal(petal)
    assert error.petal == "flight-log-petal"
    assert f"the prefix {prefix!r}" in str(error) or "the prefix must be a string" in str(error)


@pytest.mark.parametrize("name", [*BAD_NAMES, 5, None], ids=repr)
def test_a_commands_name_is_checked(name: Any) -> None:
    petal = Petal()
    petal.name = "p"
    petal.add_command(name, anything)
    error = refusal(petal)
    assert (error.petal, error.method) == ("p", "anything")
    assert "command name" in error.reason


def test_the_version_is_a_string() -> None:
    petal = Named()
    petal.version = 1  # type: ignore[assignment]
    assert str(refusal(petal)) == "petal 'flight-log-petal': version must be a string"


class Nameless(Petal):
    pass


def test_a_petal_without_a_name_is_told_what_to_write() -> None:
    assert 'class Nameless has no name: write name = "my-petal"' in str(refusal(Nameless()))


@pytest.mark.parametrize("name", ["petalkit", "petalkit/x"])
def test_the_prefix_petalkit_is_reserved(name: str) -> None:
    petal = Named()
    petal.prefix = name
    assert "'petalkit' is reserved" in str(refusal(petal))


def test_the_name_petalkit_is_reserved() -> None:
    petal = Named()
    petal.name = "petalkit"
    assert str(refusal(petal)) == "petal 'petalkit': 'petalkit' is reserved"


def test_a_command_cannot_step_into_what_is_reserved() -> None:
    petal = Petal()
    petal.name = "p"
    petal.add_command("petalkit/ping", anything)
    assert str(refusal(petal)) == (
        "petal 'p', anything(): the command names under 'petalkit/' are reserved"
    )


def test_a_name_that_only_starts_like_it_is_free() -> None:
    petal = Named()
    petal.prefix = "petalkit-like"
    assert "petalkit-like/start" in names(petal)


# -- twice


def test_two_petals_of_one_name_are_refused() -> None:
    error = refusal(Named(), Named())
    assert error.petal == "flight-log-petal"
    assert "two petals have this name" in error.reason


def test_one_command_twice_in_a_petal_is_refused_with_both_methods() -> None:
    class Twice(Petal):
        name = "p"

        @command("go")
        async def first(self) -> None: ...

        @command("p/go")
        async def second(self) -> None: ...

    error = refusal(Twice())
    assert error.petal == "p"
    assert error.method is not None
    assert error.method.endswith("Twice.second")
    assert re.search(r"'p/go' is already served by petal 'p', .*Twice\.first\(\)", error.reason)


def test_one_command_in_two_petals_is_refused_with_both_petals() -> None:
    class Intruder(Petal):
        name = "intruder"

        @command("flight-log-petal/start")
        async def take(self) -> None: ...

    error = refusal(Named(), Intruder())
    assert error.petal == "intruder"
    assert "by petal 'flight-log-petal', Named.start()" in error.reason


# -- handlers


async def stream() -> AsyncIterator[int]:
    yield 1


def count() -> Generator[int]:
    yield 1


def plain() -> None: ...


@pytest.mark.parametrize(
    ("handler", "options", "reason"),
    [
        (plain, {}, "is not async: write async def, or thread=True if it blocks"),
        (anything, {"thread": True}, "is async, so it needs no thread"),
        (stream, {}, "is a generator; a command has one answer: return it"),
        (count, {"thread": True}, "is a generator; a command has one answer: return it"),
    ],
    ids=["plain", "async-in-thread", "async-generator", "generator"],
)
def test_what_a_handler_is_must_fit(
    handler: Callable[..., Any], options: dict[str, Any], reason: str
) -> None:
    error = refusal(petal_of(handler, **options))
    assert (error.petal, error.method) == ("p", handler.__qualname__)
    assert reason in error.reason


def test_what_cannot_be_called_is_refused() -> None:
    error = refusal(petal_of("anything"))  # type: ignore[arg-type]
    assert str(error) == "petal 'p', str(): is not callable"


def test_a_method_without_self_is_refused() -> None:
    class Forgetful(Petal):
        name = "p"

        @command("do")
        async def handle() -> None:  # type: ignore[misc]
            ...

    error = refusal(Forgetful())
    assert error.method is not None
    assert error.method.endswith("Forgetful.handle")
    assert "has no self: write async def handle(self, ...)" in error.reason


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"timeout": 0}, "timeout must be seconds above 0 or math.inf, not 0"),
        ({"timeout": -1.0}, "timeout must be"),
        ({"timeout": math.nan}, "timeout must be"),
        ({"timeout": True}, "timeout must be"),
        ({"timeout": None}, "timeout must be"),
        ({"timeout": "60"}, "timeout must be"),
        ({"concurrency": 0}, "concurrency must be a whole number above 0, not 0"),
        ({"concurrency": 1.0}, "concurrency must be"),
        ({"concurrency": True}, "concurrency must be"),
        ({"exclusive": ""}, "exclusive must be the name of a group, not ''"),
        ({"exclusive": True}, "exclusive must be"),
        ({"unknown_keys": "drop"}, "unknown_keys must be 'ignore' or 'refuse', not 'drop'"),
        ({"urgent": True, "exclusive": "motor"}, "urgent passes every limit"),
        ({"urgent": True, "concurrency": 1}, "urgent passes every limit"),
    ],
    ids=repr,
)
def test_options_are_checked(options: dict[str, Any], reason: str) -> None:
    error = refusal(petal_of(anything, **options))
    assert (error.petal, error.method) == ("p", "anything")
    assert reason in error.reason


def test_options_reach_the_table() -> None:
    petal = petal_of(
        plain, timeout=math.inf, concurrency=2, exclusive="motor", idempotent=True, thread=True
    )
    (spec,) = build_table([petal])
    assert (spec.timeout, spec.concurrency, spec.exclusive) == (math.inf, 2, "motor")
    assert (spec.idempotent, spec.thread, spec.urgent) == (True, True, False)


# -- parameters


async def positional(first: int, /) -> None: ...
async def rest(*args: int) -> None: ...
async def keywords(**options: int) -> None: ...
async def opaque(tool: Opaque) -> None: ...
async def listed(tools: list[Opaque]) -> None: ...
async def modelled(data: Model) -> None: ...
async def optional(tool: Opaque | None = None) -> None: ...
async def missing(tool: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
async def nested(tool: list[Nowhere]) -> None: ...  # type: ignore[name-defined]  # noqa: F821
async def late(tool: list[Opaque | None]) -> None: ...
async def bounded(name: Annotated[str, at.Ge(5)]) -> None: ...
async def mixed(tool: dict[str, Annotated[Opaque, "x"]]) -> None: ...
async def contexts(one: CommandContext, two: CommandContext) -> None: ...
async def commands(one: Command, two: Command) -> None: ...
async def maybe(context: CommandContext | None = None) -> None: ...
async def raws(raw: list[Command]) -> None: ...


@pytest.mark.parametrize(
    ("handler", "parameter", "reason"),
    [
        (positional, "first", "is positional-only; arguments are passed by name"),
        (rest, "args", "take the whole of the arguments as `data: dict`"),
        (keywords, "options", "take the whole of the arguments as `data: dict`"),
        (opaque, "tool", "cannot be made from JSON"),
        (listed, "tools", "cannot be made from JSON"),
        (modelled, "data", "cannot be made from JSON"),
        (optional, "tool", "cannot be made from JSON"),
        (missing, "tool", "the annotation 'Nowhere' cannot be resolved"),
        (nested, "tool", "cannot be resolved"),
        (late, "tool", "at list[Opaque | None][]: the type Opaque cannot be made from JSON"),
        (mixed, "tool", "at dict[str, Opaque][...]: the type Opaque"),
        (modelled, "data", "at Model.inner[]: the type Opaque cannot be made from JSON; register"),
        (contexts, "two", "is a second CommandContext"),
        (commands, "two", "is a second Command"),
        (maybe, "context", "write that alone"),
        (raws, "raw", "write that alone"),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_a_parameter_that_cannot_be_bound_is_named(
    handler: Callable[..., Any], parameter: str, reason: str
) -> None:
    error = refusal(petal_of(handler))
    assert (error.petal, error.method, error.parameter) == ("p", handler.__name__, parameter)
    assert reason in error.reason
    assert str(error).startswith(f"petal 'p', {handler.__name__}(), parameter {parameter!r}: ")


def test_a_condition_that_can_never_hold_is_refused() -> None:
    error = refusal(petal_of(bounded))
    assert error.parameter == "name"
    assert "'must be at least 5' does not fit str" in error.reason


def test_a_converter_that_is_not_strict_is_refused() -> None:
    petal = Named()
    petal.converter = cattrs.Converter()
    assert "has to be one of petalkit.make_converter()" in str(refusal(petal))


def test_the_rule_of_a_petal_for_unknown_keys_is_checked() -> None:
    petal = Named()
    petal.unknown_keys = "no"  # type: ignore[assignment]
    assert "unknown_keys must be 'ignore' or 'refuse', not 'no'" in str(refusal(petal))


# -- lifespans


def test_a_lifespan_without_its_decorator_is_refused() -> None:
    class Bare(Petal):
        name = "p"

        async def lifespan(self) -> AsyncGenerator[None]:  # type: ignore[override]
            yield

    class Coroutine(Petal):
        name = "p"

        async def lifespan(self) -> None:  # type: ignore[override]
            pass

    for petal in (Bare(), Coroutine()):
        assert str(refusal(petal)) == (
            "petal 'p', lifespan(): write @contextlib.asynccontextmanager over it"
        )


def made(lifespan: Any) -> Petal:
    return type("Made", (Petal,), {"name": "p", "lifespan": lifespan})()  # type: ignore[no-any-return]


@contextlib.contextmanager
def sync_lifespan(self: Any) -> Iterator[None]:
    yield


@contextlib.asynccontextmanager
async def needs_more(self: Any, x: int) -> AsyncIterator[None]:
    yield


@contextlib.asynccontextmanager  # type: ignore[arg-type]
async def has_no_yield(self: Any) -> None:
    pass


@contextlib.asynccontextmanager  # type: ignore[arg-type]
def over_a_plain_one(self: Any) -> Iterator[None]:
    yield


@contextlib.asynccontextmanager
async def has_no_self() -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize(
    ("lifespan", "words"),
    [
        (sync_lifespan, "is a plain generator, which cannot await: write @contextlib.async"),
        (over_a_plain_one, "is a plain generator"),
        (needs_more, "is called without arguments (missing a required argument: 'x'): write"),
        (has_no_yield, "has no yield: write"),
        (has_no_self, "has no self: write"),
    ],
)
def test_a_lifespan_that_cannot_be_entered_is_refused_with_what_to_write(
    lifespan: Any, words: str
) -> None:
    assert f"petal 'p', lifespan(): {words}" in str(refusal(made(lifespan)))


@contextlib.asynccontextmanager
async def with_default(self: Any, x: int = 1) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize(
    "lifespan",
    [
        with_default,
        staticmethod(contextlib.asynccontextmanager(has_no_self.__wrapped__)),  # type: ignore[attr-defined]
        lambda self: contextlib.nullcontext(),
        functools.partial(contextlib.nullcontext),
    ],
)
def test_a_lifespan_of_another_form_is_not_taken_for_a_mistake(lifespan: Any) -> None:
    build_table([made(lifespan)])


# -- attributes that have no effect


@pytest.mark.parametrize(
    ("attribute", "value", "meant"),
    [
        ("unknown_key", "refuse", "unknown_keys"),
        ("unkown_keys", "refuse", "unknown_keys"),
        ("on_unknown", "ignore", "unknown_keys"),
        ("unknown_keyz", True, "unknown_keys"),
        ("restart", "never", "restart_policy"),
        ("restart_polizy", 3, "restart_policy"),
        ("verison", "1.0", "version"),
        ("perfix", "x", "prefix"),
        ("nmae", "x", "name"),
    ],
)
def test_a_misspelt_attribute_of_a_petal_is_refused(attribute: str, value: Any, meant: str) -> None:
    fields = {attribute: value} if meant == "name" else {"name": "p", attribute: value}
    told = str(refusal(type("Made", (Petal,), fields)()))
    assert f"the attribute {attribute!r} has no effect: did you mean {meant!r}?" in told


def test_attributes_of_a_petals_own_are_its_own() -> None:
    fields = {
        "name": "p", "names": "x", "named": "x", "fname": "x", "VERSION": "1", "Version_": 1,
        "revision": "1", "restart_count": 3, "mode": "never", "on_error": "ignore",
        "unknown": 0, "keys": "x", "_unknown_key": "refuse", "versions": ("1",), "fix": "x",
    }  # fmt: skip
    build_table([type("Made", (Petal,), fields)()])


# -- the table


def test_a_misspelt_name_finds_its_neighbour() -> None:
    table = build_table([Named()])
    assert table.near("flight-log-petal/strat") == "flight-log-petal/start"
    assert table.near("x" * 100_000) is None


class Many(Petal):
    """Learns its commands from a table, as some do."""

    def __init__(self, name: str, count: int) -> None:
        self.name = name
        for number in range(count):
            self.add_command(f"do_something_{number}", anything)


def test_what_an_answer_names_is_bounded_in_bytes_and_begins_with_the_prefix_that_was_asked() -> (
    None
):
    """With 5000 commands served it was 33 kB, and 85 ms went into the near name."""
    table = build_table([Many(f"petal{number}", 500) for number in range(10)])
    details = Catalog("all", table).details("petal7/do_somthing_499")
    listed = details["available_commands"]
    assert details["did_you_mean"] == "petal7/do_something_499"
    assert len(json.dumps(listed, separators=(",", ":"))) <= MAX_LISTED + 2
    assert len(listed) > 100
    assert all(name.startswith("petal7/") for name in listed)
    assert len(listed) + details["available_commands_left_out"] == 5000
    other = Catalog("all", table).details("nobody/x")["available_commands"]
    assert all(name.startswith("petal0/") for name in other)


def test_few_names_are_all_listed() -> None:
    details = Catalog("all", build_table([Many("p", 3)])).details("x")
    assert details == {"available_commands": [f"p/do_something_{number}" for number in range(3)]}


def test_names_are_made_ready_once_for_each_change_of_the_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[object] = []

    class Counting(registry._Names):
        def __init__(self, *arguments: Any) -> None:
            made.append(self)
            super().__init__(*arguments)

    monkeypatch.setattr(registry, "_Names", Counting)
    table = build_table([Many("p", 100)])
    catalog = Catalog("own", table)
    for number in range(50):
        assert catalog.are_answered(f"p/x{number}")
        assert not catalog.are_answered(f"q/x{number}")
        catalog.details(f"p/do_somethin_{number}")
    assert len(made) == 1
    table.remove("p/do_something_7")
    assert "p/do_something_7" not in table.public_names()
    assert table.near("p/do_something_7") != "p/do_something_7"
    assert len(made) == 2


class Learning:
    """A resolver that learns a name while it is asked."""

    name = "learning"

    def __init__(self) -> None:
        self.known = ["host/a"]

    def resolve(self, name: str) -> None:
        return None

    def names(self) -> list[str]:
        return self.known

    def prefixes(self) -> list[str]:
        return ["host"]


def test_what_a_resolver_learns_is_named_from_then_on() -> None:
    table = build_table([Many("p", 1)])
    resolver = Learning()
    table.resolvers.append(resolver)
    assert table.public_names() == ["host/a", "p/do_something_0"]
    resolver.known = ["host/a", "host/land"]
    assert table.near("host/lnd") == "host/land"
    assert table.is_under_prefix("host/sub/x")
    assert table.prefixes() == {"host", "p"}


def test_two_commands_of_one_name_over_one_method_are_told_as_what_they_are() -> None:
    class Twice(Petal):
        name = "p"

        @command("a", urgent=True)
        @command("a")
        async def go(self) -> None: ...

    assert str(refusal(Twice())).endswith(
        "Twice.go(): has two @command or @job for the name 'p/a'; leave one"
    )


def test_a_class_in_place_of_an_instance_is_told_so() -> None:
    assert str(refusal(Named)) == "petal 'Named': is a class; give an instance: Named()"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "petal", [Named, Nameless(), petal_of(plain)], ids=["class", "name", "def"]
)
@pytest.mark.trio
async def test_a_runtime_refuses_in_the_same_words(petal: Any, autojump_clock: object) -> None:
    expected = str(refusal(petal))
    with trio.fail_after(5), pytest.raises(RegistrationError) as caught:
        async with open_harness(petal):
            pytest.fail("it was served")
    assert str(caught.value) == expected


@pytest.mark.parametrize("attribute", ["name", "version", "prefix", "converter", "unknown_keys"])
def test_an_attribute_that_raises_is_its_petals_mistake_alone(attribute: str) -> None:
    """It ended `petalkit list` of a whole folder with a traceback."""

    def raising(_: object) -> Any:
        raise RuntimeError("no camera")

    cls = type("Camera", (Petal,), {"name": "camera", attribute: property(raising)})
    assert str(refusal(cls())) == (
        f"petal 'Camera': reading its {attribute!r} raises RuntimeError; make it a plain attribute"
    )
