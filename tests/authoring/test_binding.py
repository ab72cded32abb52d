"""From `data` to arguments: what a handler's parameters take, and what the sender is told."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar

import attrs
import msgspec
import pydantic
import pytest
import trio

from petalkit import (
    Command,
    CommandContext,
    CommandError,
    ErrorCode,
    Identity,
    PayloadError,
    Petal,
    RegistrationError,
    Settings,
    command,
    forbid_extra_keys,
    make_converter,
)
from petalkit._authoring.registry import CommandSpec, build_table
from petalkit.testing import open_harness


@attrs.frozen
class Greeting:
    name: str = "World"
    times: int = 1


@dataclasses.dataclass(frozen=True)
class Waypoint:
    altitude: float
    hold: bool = False


class Pair(NamedTuple):
    x: int
    y: int


class Filter(TypedDict):
    level: int


@forbid_extra_keys
@attrs.frozen
class Closed:
    speed: float


def spec_of(handler: Callable[..., Any], converter: Any = None, **options: Any) -> CommandSpec:
    petal = Petal()
    petal.name = "p"
    petal.converter = converter
    petal.add_command("do", handler, **options)
    (spec,) = build_table([petal])
    return spec


def bind(handler: Callable[..., Any], data: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """The arguments that a handler would be called with."""
    request = Command(command="p/do", data=data)
    context = CommandContext(request, Identity("acme", "one"), "p", math.inf)
    return spec_of(handler, **options).bind(request, lambda: context)


def errors(handler: Callable[..., Any], data: Mapping[str, Any], **options: Any) -> dict[str, str]:
    with pytest.raises(PayloadError) as caught:
        bind(handler, data, **options)
    assert caught.value.code is ErrorCode.INVALID_DATA
    found = {error["path"]: error["message"] for error in caught.value.errors}
    assert len(found) == len(caught.value.errors)
    for path, message in found.items():
        assert f"{path} {message}" in caught.value.message
    return found


# -- the whole of data


async def whole_model(data: Greeting) -> None: ...
async def whole_dataclass(data: Waypoint) -> None: ...
async def whole_typed_dict(data: Filter) -> None: ...
async def whole_dict(data: dict) -> None: ...  # type: ignore[type-arg]
async def whole_mapping(data: Mapping[str, Any]) -> None: ...
async def whole_plain(data) -> None: ...  # type: ignore[no-untyped-def]
async def whole_values(data: dict[str, int]) -> None: ...


@pytest.mark.parametrize(
    ("handler", "data", "expected"),
    [
        (whole_model, {}, Greeting()),
        (whole_model, {"name": "Ada", "new": 1}, Greeting("Ada")),
        (whole_dataclass, {"altitude": 3}, Waypoint(3.0)),
        (whole_typed_dict, {"level": 2}, {"level": 2}),
        (whole_dict, {"any": [1, {"thing": None}]}, {"any": [1, {"thing": None}]}),
        (whole_mapping, {"any": 1.5}, {"any": 1.5}),
        (whole_plain, {"any": "thing"}, {"any": "thing"}),
        (whole_plain, {}, {}),
        (whole_values, {"a": 1}, {"a": 1}),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_data_takes_the_whole(handler: Any, data: dict[str, Any], expected: Any) -> None:
    arguments = bind(handler, data)
    assert arguments == {"data": expected}
    assert type(arguments["data"]) is type(expected)


# -- keys


async def keys(name: str, times: int = 3, mood: str | None = None, anything: Any = ()) -> None: ...


def test_every_other_parameter_is_a_key() -> None:
    assert bind(keys, {"name": "Ada", "times": 2, "mood": "good", "anything": [{}]}) == {
        "name": "Ada",
        "times": 2,
        "mood": "good",
        "anything": [{}],
    }


def test_an_absent_key_leaves_the_default_to_python_and_an_unknown_one_is_ignored() -> None:
    assert bind(keys, {"name": "Ada", "unknown": 1}) == {"name": "Ada"}


def test_null_is_a_value_and_not_an_absence() -> None:
    assert bind(keys, {"name": "Ada", "mood": None}) == {"name": "Ada", "mood": None}
    assert errors(keys, {"name": "Ada", "times": None}) == {
        "data.times": "expected a whole number, got null"
    }


def test_a_key_without_an_annotation_takes_what_comes() -> None:
    async def bare(value, other=1) -> None:  # type: ignore[no-untyped-def]
        ...

    assert bind(bare, {"value": [1, "two"]}) == {"value": [1, "two"]}


async def model_key(greeting: Greeting, points: list[Waypoint]) -> None: ...


def test_keys_may_be_models_and_lists_of_them() -> None:
    data = {"greeting": {"name": "Ada"}, "points": [{"altitude": 1}, {"altitude": 2.5}]}
    assert bind(model_key, data) == {
        "greeting": Greeting("Ada"),
        "points": [Waypoint(1.0), Waypoint(2.5)],
    }


def test_the_whole_and_keys_go_together() -> None:
    async def both(data: dict[str, Any], times: int) -> None: ...

    assert bind(both, {"times": 2}) == {"data": {"times": 2}, "times": 2}


def test_keyword_only_parameters_are_bound_like_others() -> None:
    async def only(*, times: int) -> None: ...

    assert bind(only, {"times": 2}) == {"times": 2}


def test_a_partial_leaves_what_it_has_given_to_a_default() -> None:
    async def move(axis: str, steps: int) -> None: ...

    handler = functools.partial(move, axis="x")
    assert bind(handler, {"steps": 2}) == {"steps": 2}


def test_a_wrapped_handler_is_bound_by_what_it_wraps() -> None:
    @functools.wraps(model_key)
    async def wrapper(*args: Any, **kwargs: Any) -> None: ...

    assert bind(wrapper, {"greeting": {}, "points": []}) == {"greeting": Greeting(), "points": []}


# -- strictness, and what the sender is told


async def typed(
    flag: bool = False,
    whole: int = 0,
    number: float = 0.0,
    text: str = "",
    many: Sequence[int] = (),
) -> None: ...


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("flag", "false", "expected true or false, got a string"),
        ("flag", 0, "expected true or false, got a number"),
        ("whole", 1.9, "expected a whole number"),
        ("whole", True, "expected a whole number, got a boolean"),
        ("whole", "1", "expected a whole number, got a string"),
        ("number", True, "expected a number, got a boolean"),
        ("number", "1.5", "expected a number, got a string"),
        ("text", 5, "expected a string, got a number"),
        ("many", "123", "expected an array, got a string"),
        ("many", {"0": 1}, "expected an array, got an object"),
    ],
)
def test_a_value_of_another_type_is_not_bent(key: str, value: Any, message: str) -> None:
    assert errors(typed, {key: value}) == {f"data.{key}": message}


def test_the_one_widening_is_from_whole_numbers_to_numbers() -> None:
    arguments = bind(typed, {"number": 3})
    assert arguments == {"number": 3.0}
    assert type(arguments["number"]) is float


def test_all_errors_are_told_at_once_with_their_paths() -> None:
    data = {
        "greeting": {"name": 1, "times": "x"},
        "points": [{"altitude": 1}, {"hold": 1}, 5],
    }
    assert errors(model_key, data) == {
        "data.greeting.name": "expected a string, got a number",
        "data.greeting.times": "expected a whole number, got a string",
        "data.points[1].altitude": "is required",
        "data.points[1].hold": "expected true or false, got a number",
        "data.points[2]": "expected an object, got a number",
    }


def test_every_missing_key_is_named() -> None:
    assert errors(model_key, {}) == {
        "data.greeting": "is required",
        "data.points": "is required",
    }
    assert errors(whole_dataclass, {}) == {"data.altitude": "is required"}


def test_a_closed_model_refuses_keys_that_it_does_not_know() -> None:
    async def closed(data: Closed) -> None: ...

    assert errors(closed, {"speed": 1, "b": 2, "a": 3}) == {
        "data.a": "is not a known field",
        "data.b": "is not a known field",
    }


# -- a petal's own types


class Angle:
    def __init__(self, degrees: float) -> None:
        self.degrees = degrees


async def turn(angle: Angle, times: int = 1) -> None: ...


async def maybe_turn(angle: Angle | None = None) -> None: ...


def angle(value: Any, _: Any) -> Angle:
    if not isinstance(value, str) or not value.endswith("deg"):
        raise ValueError("expected an angle such as '90deg'")
    return Angle(float(value.removesuffix("deg")))


def test_a_petals_own_converter_makes_its_own_types_and_stays_strict() -> None:
    converter = make_converter()
    converter.register_structure_hook(Angle, angle)
    assert bind(turn, {"angle": "90deg"}, converter=converter)["angle"].degrees == 90.0
    assert bind(maybe_turn, {"angle": "1deg"}, converter=converter)["angle"].degrees == 1.0
    assert bind(maybe_turn, {"angle": None}, converter=converter) == {"angle": None}
    assert errors(turn, {"angle": 90, "times": "1"}, converter=converter) == {
        "data.angle": "expected an angle such as '90deg'",
        "data.times": "expected a whole number, got a string",
    }


# -- context and raw command, through a runtime


class Asker(Petal):
    name = "asker"

    def __init__(self) -> None:
        self.seen: list[Any] = []

    @command("context", timeout=7.0)
    async def context(self, ctx: CommandContext, n: int = 0) -> None:
        self.seen.append((ctx.message_id, ctx.petal, ctx.identity, ctx.remaining, n))

    @command("raw")
    async def raw(self, data: dict[str, Any], request: Command) -> None:
        self.seen.append((data, request))

    @command("both")
    async def both(self, data: Command, context: CommandContext) -> bool:
        return context.command is data

    @command("move")
    async def move(self, steps: int, ctx: CommandContext) -> None:
        self.seen.append(steps)


@pytest.mark.trio
async def test_the_context_says_whose_command_it_is_and_how_long_it_may_take(
    autojump_clock: object,
) -> None:
    petal = Asker()
    async with open_harness(petal) as harness:
        assert (await harness.call("asker/context", {"n": 5}, message_id="m-1")).success
    assert petal.seen == [("m-1", "asker", Identity("acme", "Instance-1"), 7.0, 5)]


@pytest.mark.trio
async def test_the_raw_command_holds_the_whole_envelope(autojump_clock: object) -> None:
    petal = Asker()
    async with open_harness(petal) as harness:
        await harness.call("asker/raw", {"a": 1}, message_id="m-2", timestamp="t", deviceId="d")
    ((data, request),) = petal.seen
    assert data == request.data == {"a": 1}
    assert request.command == "asker/raw"
    assert request.message_id == "m-2"
    assert request.wait_response is True
    assert request.timestamp == "t"
    assert request.topic == "org/acme/device/Instance-1/command"
    assert request.extra == {"deviceId": "d"}


@pytest.mark.trio
async def test_an_annotation_goes_before_the_name_data(autojump_clock: object) -> None:
    async with open_harness(Asker()) as harness:
        assert (await harness.call("asker/both"))["result"] is True


@pytest.mark.trio
async def test_the_sender_is_told_what_is_wrong_and_the_handler_is_not_called(
    autojump_clock: object,
) -> None:
    petal = Asker()
    async with open_harness(petal) as harness:
        with trio.fail_after(5):
            response = await harness.call("asker/move", {"steps": "secret"})
    assert response.error_code == "INVALID_DATA"
    assert not response.retryable
    assert response["errors"] == [
        {"path": "data.steps", "message": "expected a whole number, got a string"}
    ]
    assert response.error is not None
    assert "data.steps" in response.error
    assert "secret" not in response.error
    assert petal.seen == []


# -- what the table tells about parameters


def test_the_table_describes_the_parameters() -> None:
    first, *others = spec_of(keys).parameters
    assert (first.name, first.annotation, first.required) == ("name", str, True)
    assert [(one.name, one.required, one.default) for one in others] == [
        ("times", False, 3),
        ("mood", False, None),
        ("anything", False, ()),
    ]
    (whole,) = spec_of(whole_model).parameters
    assert (whole.name, whole.annotation, whole.whole) == ("data", Greeting, True)


# -- a generic base petal, and methods whose annotations are text


T = TypeVar("T")


class Keeper(Petal, Generic[T]):
    name = "keeper"

    @command("keep")
    async def keep(self, data: T | dict[str, T]) -> None: ...

    @command("many")
    async def many(self, items: list[T], first: T | None = None) -> None: ...


class IntKeeper(Keeper[int], Generic[T]):
    pass


class GreetingKeeper(Keeper[Greeting]):
    pass


def bound_by(petal: Petal, name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    spec = build_table([petal]).lookup(name)
    assert spec is not None
    return spec.bind(Command(command=name, data=data), lambda: None)  # type: ignore[arg-type,return-value]


def test_a_generic_base_petal_has_the_types_of_its_subclass() -> None:
    assert bound_by(GreetingKeeper(), "keeper/keep", {"name": "Ada"}) == {"data": Greeting("Ada")}
    assert bound_by(IntKeeper(), "keeper/many", {"items": [1.0], "first": 2}) == {
        "items": [1],
        "first": 2,
    }
    with pytest.raises(PayloadError) as caught:
        bound_by(IntKeeper(), "keeper/many", {"items": ["1"]})
    assert caught.value.message == "data.items[0] expected a whole number, got a string"


# -- ranges of parameters


async def fly(
    up: Annotated[float, msgspec.Meta(ge=-10, le=10)],
    times: Annotated[int, msgspec.Meta(ge=1)] = 1,
) -> None: ...


def test_ranges_of_parameters_are_enforced_all_at_once() -> None:
    assert bind(fly, {"up": 10}) == {"up": 10.0}
    assert errors(fly, {"up": 10.5, "times": 0}) == {
        "data.up": "must be at most 10",
        "data.times": "must be at least 1",
    }


# -- unknown keys


async def zoom(factor: float, smooth: bool = False) -> None: ...
async def nothing() -> None: ...
async def raw(command: Command, factor: float = 1.0) -> None: ...


@pytest.mark.parametrize(
    ("handler", "data"),
    [(whole_plain, {"x": 1}), (whole_mapping, {"x": 1}), (raw, {"x": 1}), (zoom, {"factor": 1})],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_no_key_is_unknown_to_what_takes_all(
    handler: Any, data: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    bind(handler, data, unknown_keys="refuse")
    assert not caplog.records


@pytest.mark.parametrize(
    ("handler", "data", "expected"),
    [
        (zoom, {"factor": 1, "smoth": True, "x": 1},
         {"data.smoth": "is not a known field; did you mean 'smooth'?",
          "data.x": "is not a known field"}),
        (nothing, {"x": 1}, {"data.x": "is not a known field"}),
        (whole_model, {"nam": 1}, {"data.nam": "is not a known field; did you mean 'name'?"}),
        (whole_typed_dict, {"level": 1, "x": 1}, {"data.x": "is not a known field"}),
        (zoom, {"smoth": True},
         {"data.factor": "is required",
          "data.smoth": "is not a known field; did you mean 'smooth'?"}),
    ],
)  # fmt: skip
def test_unknown_keys_are_refused_where_that_is_wanted(
    handler: Any, data: dict[str, Any], expected: dict[str, str]
) -> None:
    assert errors(handler, data, unknown_keys="refuse") == expected


async def also_closed(data: Closed) -> None: ...


def test_a_closed_model_tells_of_an_unknown_key_once() -> None:
    assert errors(also_closed, {"speed": 1, "b": 1}, unknown_keys="refuse") == {
        "data.b": "is not a known field"
    }


def test_an_unknown_key_is_named_in_the_log_once(caplog: pytest.LogCaptureFixture) -> None:
    spec = spec_of(zoom)
    for _ in range(3):
        request = Command(
            command="p/do", message_id="m", data={"factor": 1, "smoth": True, "a\nb": 1}
        )
        assert spec.bind(request, lambda: None) == {"factor": 1.0}  # type: ignore[arg-type,return-value]
    assert [record.getMessage() for record in caplog.records] == [
        "ignored data.smoth, data.a\\nb, which the command does not know; "
        "did the sender mean 'smooth'?",
    ]
    first = caplog.records[0]
    assert (first.levelname, first.__dict__["petal"], first.__dict__["command"]) == (
        "WARNING",
        "p",
        "p/do",
    )


def test_the_keys_that_are_named_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    spec = spec_of(zoom)
    for number in range(200):
        data = {"factor": 1, f"key-{number}" + "x" * 100_000: 1}
        spec.bind(Command(command="p/do", data=data), lambda: None)  # type: ignore[arg-type,return-value]
    assert len(caplog.records) == 32
    assert all(len(record.getMessage()) < 200 for record in caplog.records)
    assert "no more of this command are named" in caplog.records[-1].getMessage()


@pytest.mark.trio
async def test_the_nearest_rule_for_unknown_keys_wins(autojump_clock: object) -> None:
    class Zoomer(Petal):
        name = "zoomer"

        @command("zoom")
        async def zoom(self, factor: float = 1.0) -> None: ...

        @command("lenient", unknown_keys="ignore")
        async def lenient(self, factor: float = 1.0) -> None: ...

    class Strict(Zoomer):
        name = "strict"
        unknown_keys = "refuse"

    async def codes(petal: Petal, **settings: Any) -> list[str | None]:
        async with open_harness(petal, settings=Settings(**settings)) as harness:
            return [
                (await harness.call(f"{petal.name}/{name}", {"factr": 1})).error_code
                for name in ("zoom", "lenient")
            ]

    assert await codes(Zoomer()) == [None, None]
    assert await codes(Strict()) == ["INVALID_DATA", None]
    assert await codes(Zoomer(), unknown_keys="refuse") == ["INVALID_DATA", None]


class Zoomed(Petal):
    name = "zoomed"

    @command("zoom")
    async def zoom(self, factor: float = 1.0, smooth: bool = False) -> dict[str, Any]:
        if factor == 0:
            raise CommandError("NO_ZOOM", "there is none", details={"factor": 0})
        if factor == 13:
            raise RuntimeError
        return {"unknown_keys": "mine"} if factor == 2 else {"factor": factor}


IGNORED = [{"path": "data.smoth", "message": "is not a known field; did you mean 'smooth'?"}]


@pytest.mark.trio
@pytest.mark.parametrize("dialect", ["guide", "host-0.2"])
@pytest.mark.parametrize(
    ("factor", "code", "beside"),
    [
        (1.5, None, {"factor": 1.5}),
        (0, "NO_ZOOM", {"factor": 0}),
        (13, "HANDLER_ERROR", {}),
        ("x", "INVALID_DATA", {}),
    ],
)
async def test_every_response_tells_the_sender_of_ignored_keys(
    factor: Any, code: str | None, beside: dict[str, Any], dialect: Any, autojump_clock: object
) -> None:
    async with open_harness(Zoomed(), settings=Settings(dialect=dialect)) as harness:
        for _ in range(2):  # not only once, as in the log
            response = await harness.call("zoomed/zoom", {"factor": factor, "smoth": True})
            assert response.error_code == code
            assert response.get("unknown_keys") == IGNORED
            assert beside.items() <= response.items()
        assert "unknown_keys" not in await harness.call("zoomed/zoom", {"factor": factor})


@pytest.mark.trio
async def test_what_was_ignored_takes_nothing_from_a_result(autojump_clock: object) -> None:
    async with open_harness(Zoomed(), settings=Settings(payload_max=150)) as harness:
        own = await harness.call("zoomed/zoom", {"factor": 2, "smoth": 1})
        assert own["unknown_keys"] == "mine"
        long = await harness.call("zoomed/zoom", {"smoth": 1})
        assert (long.success, "unknown_keys" in long) == (True, False)


@pytest.mark.trio
async def test_ignored_keys_that_are_told_are_bounded(autojump_clock: object) -> None:
    async with open_harness(Zoomed()) as harness:
        response = await harness.call("zoomed/zoom", {f"{n}" + "x" * 1000: 1 for n in range(50)})
    told = response["unknown_keys"]
    assert len(told) == 20
    assert max(len(one["path"]) for one in told) < 80


@attrs.frozen
class Bag:
    items: list[int] = []  # noqa: RUF008 - attrs lets it be


class Collects(Petal):
    name = "collects"

    @command("add")
    async def add(
        self,
        items: list[int] = [],  # noqa: B006 - as people write it
        table: dict[str, list[int]] = {"a": []},  # noqa: B006
    ) -> dict[str, Any]:
        items.append(1)
        table["a"].append(2)
        return {"items": items, "table": table}

    @command("pack")
    async def pack(self, bag: Bag, data: Bag) -> dict[str, Any]:
        bag.items.append(1)
        data.items.append(2)
        return {"bag": bag.items, "data": data.items}


@pytest.mark.trio
async def test_what_one_command_puts_into_a_default_is_not_there_for_the_next(
    autojump_clock: object,
) -> None:
    async with open_harness(Collects()) as harness:
        for _ in range(2):
            response = await harness.call("collects/add")
            assert (response["items"], response["table"]) == ([1], {"a": [2]})
            response = await harness.call("collects/pack", {"bag": {}})
            assert (response["bag"], response["data"]) == ([1], [2])


# -- a model's own code, through a runtime


@dataclasses.dataclass
class Buggy:
    what: str

    def __post_init__(self) -> None:
        match self.what:
            case "bug":
                self.missing()  # type: ignore[attr-defined]
            case "no":
                raise CommandError("NOT_NOW", "the motors run", retryable=True)
            case "secret":
                raise ValueError(f"{self.what} is not allowed")
            case _:
                pass


class Maker(Petal):
    name = "maker"

    @command("make")
    async def make(self, data: Buggy) -> None: ...

    @command("take")
    async def take(self, altitude: float) -> None: ...


@pytest.mark.trio
async def test_a_bug_of_a_model_is_the_petals_and_its_no_is_the_answer(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with open_harness(Maker()) as harness:
        bug = await harness.call("maker/make", {"what": "bug"})
        no = await harness.call("maker/make", {"what": "no"})
    assert bug.error_code == "HANDLER_ERROR"
    (record,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert record.exc_info is not None
    assert record.exc_info[0] is AttributeError
    assert bug["error_id"] in record.getMessage()
    assert (no.error_code, no.error, no.retryable) == ("NOT_NOW", "the motors run", True)


@pytest.mark.trio
async def test_the_log_tells_path_and_reason_and_nothing_that_was_sent(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with open_harness(Maker()) as harness:
        await harness.call("maker/take", {"altitude": "hunter2"})
        secret = await harness.call("maker/make", {"what": "secret"})
    assert secret.error == "data secret is not allowed"
    lines = [one for one in caplog.records if hasattr(one, "error_code")]
    assert [one.getMessage() for one in lines] == [
        "answered: data.altitude expected a number, got a string",
        "answered: data is refused by the petal's own check",
    ]
    assert {one.__dict__["error_code"] for one in lines} == {"INVALID_DATA"}
    assert "hunter2" not in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "annotation",
    [
        int,
        str,
        None,
        list[int],
        list[int] | None,
        tuple[int, ...],
        Annotated[list[int], msgspec.Meta(min_length=1)],
        Literal["a"],
        Pair,
        pydantic.RootModel[list[int]],
        pydantic.RootModel[list[int] | int],
    ],
)
def test_the_whole_of_data_cannot_be_declared_as_what_is_no_object(annotation: Any) -> None:
    async def do(data: Any) -> None: ...

    do.__annotations__["data"] = annotation
    with pytest.raises(RegistrationError, match="takes the whole of the arguments") as caught:
        spec_of(do)
    assert caught.value.parameter == "data"


@pytest.mark.parametrize(
    "annotation",
    [dict[str, int], list[int] | dict[str, Any], Waypoint | None, Any, Filter,
     pydantic.RootModel[dict[str, int]], pydantic.RootModel[dict[str, int] | int]],
)  # fmt: skip
def test_the_whole_of_data_may_be_whatever_an_object_can_be(annotation: Any) -> None:
    async def do(data: Any) -> None: ...

    do.__annotations__["data"] = annotation
    spec_of(do)


# -- keys of models within data


class Leg(TypedDict, total=False):
    speed: float


class Struct(msgspec.Struct):
    speed: float = 1.0


class OfPydantic(pydantic.BaseModel):
    speed: float = 1.0


@attrs.frozen
class Route:
    legs: list[Waypoint] = attrs.field(factory=list)
    by_name: dict[str, Struct] = attrs.field(factory=dict)
    either: Waypoint | Struct | None = None
    pair: tuple[Leg, OfPydantic] | None = None


async def along(route: Route, speed: float = 1.0) -> None: ...


async def whole_route(data: Route) -> None: ...


async def named_routes(data: dict[str, Route]) -> None: ...


async def raw_too(route: Route, command: Command) -> None: ...


async def dict_too(route: Route, data: dict[str, Any]) -> None: ...


MISSPELT = {
    "legs": [{"altitude": 1}, {"altitude": 1, "hodl": True}],
    "by_name": {"a": {"spede": 1}},
    "either": {"speed": 2, "hold": True},
    "pair": [{"sped": 1}, {"speeed": 1}],
}
TOLD = {
    ".legs[1].hodl": "is not a known field; did you mean 'hold'?",
    ".by_name['a'].spede": "is not a known field; did you mean 'speed'?",
    ".either.hold": "is not a known field",
    ".pair[0].sped": "is not a known field; did you mean 'speed'?",
    ".pair[1].speeed": "is not a known field; did you mean 'speed'?",
}


class Caller:
    ignored: tuple[Any, ...] = ()


def ignored(handler: Any, data: Any) -> dict[str, str]:
    caller = Caller()
    spec_of(handler).bind(Command(command="p/do", data=data), lambda: None, caller)  # type: ignore[arg-type,return-value]
    return {path: message for path, message, _ in caller.ignored}


@pytest.mark.parametrize(
    ("handler", "data", "path"),
    [
        (along, {"route": MISSPELT}, ".route"),
        (whole_route, MISSPELT, ""),
        (named_routes, {"x": MISSPELT}, "['x']"),
    ],
)
def test_keys_of_models_within_are_told_or_refused_with_their_path(
    handler: Any, data: Any, path: str
) -> None:
    assert ignored(handler, data) == {path + one: text for one, text in TOLD.items()}
    assert errors(handler, data, unknown_keys="refuse") == {
        f"data{path}{one}": text for one, text in TOLD.items()
    }


def test_keys_of_data_and_of_a_model_within_are_told_together() -> None:
    data = {"route": {"either": {"altitude": 1, "x": 1}}, "sped": 1}
    assert set(ignored(along, data)) == {".sped", ".route.either.x"}
    assert set(ignored(whole_route, {"legz": [], "either": {"speed": 1, "x": 1}})) == {
        ".legz",
        ".either.x",
    }


@pytest.mark.parametrize("handler", [raw_too, dict_too])
def test_none_is_unknown_to_a_handler_that_may_read_them_itself(handler: Any) -> None:
    assert ignored(handler, {"route": MISSPELT}) == {}
    bind(handler, {"route": MISSPELT}, unknown_keys="refuse")


def test_a_key_of_each_element_is_named_in_the_log_once(caplog: pytest.LogCaptureFixture) -> None:
    data = {"route": {"legs": [{"altitude": 1, "hodl": True}] * 3}}
    spec = spec_of(along)
    for _ in range(2):
        spec.bind(Command(command="p/do", data=data), lambda: None)  # type: ignore[arg-type,return-value]
    assert [one.getMessage() for one in caplog.records] == [
        "ignored data.route.legs[].hodl, which the command does not know; "
        "did the sender mean 'hold'?"
    ]


def test_a_model_that_was_tried_and_not_taken_has_nothing_told_of_it() -> None:
    async def either(value: Closed | Waypoint | dict[str, int]) -> None: ...

    assert ignored(either, {"value": {"a": 1}}) == {}
    assert ignored(either, {"value": {"altitude": 1}}) == {}
