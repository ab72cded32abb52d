"""Whatever a handler raises is answered at once: nobody waits for a timeout that says nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import attrs
import pytest
import trio

from petalkit import CommandError, Petal
from petalkit.testing import open_harness

from ..recorder import Recorder

pytestmark = pytest.mark.trio


class Forgetful(CommandError):
    def __init__(self, what: str) -> None:
        self.what = what


class OwnFields(CommandError):
    def __init__(self) -> None:
        self.code = "NO_MAP"
        self.message = "there is no map"


@dataclasses.dataclass
class Plain(CommandError):
    code: str = "NO_MAP"
    message: str = "there is no map"


@dataclasses.dataclass(frozen=True)
class Frozen(CommandError):
    code: str = "NO_MAP"
    message: str = "there is no map"


@attrs.frozen
class WithAttrs(CommandError):
    code: str
    message: str
    retryable: bool = True


class OnTheClass(CommandError):
    code = "NO_MAP"
    message = "there is no map"
    retryable = True
    details = {"maps": 0}  # noqa: RUF012 - as a user writes it


class Codes(str, enum.Enum):  # noqa: UP042 - not a StrEnum
    NO_MAP = "NO_MAP"


class Raising(CommandError):
    code = "NO_MAP"

    def __init__(self) -> None:
        pass

    @property
    def message(self) -> str:  # type: ignore[override]
        raise asyncio.CancelledError


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class NoAttributes(Exception):
    def __getattribute__(self, name: str) -> NoReturn:
        raise ValueError(name)


class NoNotes(Exception):
    @property
    def __notes__(self) -> list[str]:
        raise ValueError("no notes")


class NoSplit(BaseExceptionGroup[BaseException]):
    def derive(self, excs: Any) -> NoReturn:
        raise ValueError("no derive")


class RaisingMapping(Mapping[str, Any]):
    def __getitem__(self, key: str) -> NoReturn:
        raise asyncio.CancelledError

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


class Broken:
    def __repr__(self) -> str:
        raise KeyError("secret")


async def kept_cancellation() -> None:
    kept: BaseException | None = None
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as cancelled:
            kept = cancelled
            raise
    assert kept is not None
    raise kept


def petal_that(*, raises: BaseException | None = None, returns: Any = None) -> Petal:
    petal = Recorder()

    async def do() -> Any:
        if raises is not None:
            raise raises
        return returns

    petal.add_command("do", do)
    petal.add_command("urgent", do, urgent=True)
    return petal


async def answered_at_once(petal: Petal, name: str) -> Any:
    async with open_harness(petal) as harness:
        before = trio.current_time()
        response = await harness.call(f"rec/{name}", message_id="m")
        assert trio.current_time() == before
        assert response.message_id == "m"
        assert (await harness.call("rec/note")).success
        assert harness.statistics().running == 0
        return response


@pytest.mark.parametrize("name", ["do", "urgent"])
@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (OwnFields(), "NO_MAP", False),
        (Plain(), "NO_MAP", False),
        (Frozen(), "NO_MAP", False),
        (WithAttrs("NO_MAP", "there is no map"), "NO_MAP", True),
        (OnTheClass(), "NO_MAP", True),
        (OnTheClass("there is no map"), "NO_MAP", True),
        (CommandError(Codes.NO_MAP, "there is no map"), "NO_MAP", False),
        (Plain(Codes.NO_MAP, "there is no map"), "NO_MAP", False),
        (Plain(404, "there is no map"), "404", False),  # type: ignore[arg-type]
        (ExceptionGroup("one", [Plain()]), "NO_MAP", False),
        (
            ExceptionGroup("two", [ExceptionGroup("one", [Plain()]), CommandError("NO", "no")]),
            "NO_MAP",
            False,
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
async def test_a_command_error_is_the_answer_however_its_class_is_made(
    error: Exception, code: str, retryable: bool, name: str, autojump_clock: object
) -> None:
    response = await answered_at_once(petal_that(raises=error), name)
    assert response.error_code == code
    assert response.error == "there is no map"
    assert response.retryable is retryable


async def test_a_no_beside_another_error_is_a_failure(autojump_clock: object) -> None:
    mixed = ExceptionGroup("mixed", [Plain(), ValueError("secret")])
    response = await answered_at_once(petal_that(raises=mixed), "do")
    assert response.error_code == "HANDLER_ERROR"


async def test_details_of_the_class_are_fields_of_the_response(autojump_clock: object) -> None:
    response = await answered_at_once(petal_that(raises=OnTheClass()), "do")
    assert response["maps"] == 0


async def test_a_command_error_without_code_or_message_says_what_to_write() -> None:
    with pytest.raises(TypeError, match=r'has no message: write CommandError\("CODE", "message"\)'):
        CommandError("NO_MAP")


@pytest.mark.parametrize("name", ["do", "urgent"])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: Forgetful("map"), id="forgetful"),
        pytest.param(lambda: Plain("", "no code"), id="empty code"),
        pytest.param(lambda: Plain(None, "no code"), id="no code"),  # type: ignore[arg-type]
        pytest.param(lambda: Plain("NO_MAP", NoText()), id="no text"),  # type: ignore[arg-type]
        pytest.param(Raising, id="raising property"),
        pytest.param(lambda: NoText("secret"), id="text"),
        pytest.param(lambda: NoAttributes("secret"), id="attributes"),
        pytest.param(lambda: NoNotes("secret"), id="notes"),
        pytest.param(lambda: NoSplit("secret", [ValueError()]), id="group"),
        pytest.param(
            lambda: BaseExceptionGroup("secret", [NoText(), asyncio.CancelledError()]), id="two"
        ),
    ],
)
async def test_what_cannot_be_read_is_a_handler_error_at_once(
    make: Callable[[], BaseException],
    name: str,
    autojump_clock: object,
    caplog: pytest.LogCaptureFixture,
) -> None:
    response = await answered_at_once(petal_that(raises=make()), name)
    assert response.error_code == "HANDLER_ERROR"
    assert response["error_id"] in caplog.text
    assert "Traceback" in caplog.text
    assert "secret" not in str(dict(response))


async def test_the_log_says_what_a_command_error_lacks(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    await answered_at_once(petal_that(raises=Forgetful("map")), "do")
    assert "Forgetful has no code or message that can be read" in caplog.text
    assert "super().__init__(code, message)" in caplog.text


@pytest.mark.parametrize("result", [RaisingMapping(), {"a": RaisingMapping()}, {"a": Broken()}])
async def test_a_result_that_raises_when_it_is_encoded_is_a_handler_error_at_once(
    result: Any, autojump_clock: object
) -> None:
    response = await answered_at_once(petal_that(returns=result), "do")
    assert response.error_code == "HANDLER_ERROR"


async def test_details_that_raise_are_left_out(autojump_clock: object) -> None:
    error = CommandError("NO_MAP", "there is no map", details={"what": RaisingMapping()})
    response = await answered_at_once(petal_that(raises=error), "do")
    assert response.error_code in ("NO_MAP", "HANDLER_ERROR")


async def test_a_cancellation_that_was_kept_and_raised_again_is_an_error(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    petal.add_command("do", kept_cancellation)
    petal.add_command("urgent", kept_cancellation, urgent=True)
    for name in ("do", "urgent"):
        assert (await answered_at_once(petal, name)).error_code == "HANDLER_ERROR"


@pytest.mark.parametrize("error", [Plain(), NoText(), asyncio.CancelledError(), SystemExit()])
async def test_whatever_a_model_raises_while_it_is_made_is_answered(
    error: BaseException, autojump_clock: object
) -> None:
    @attrs.frozen
    class Model:
        x: int = 0

        def __attrs_post_init__(self) -> None:
            raise error

    petal = Recorder()

    async def take(data: Model) -> None: ...

    take.__annotations__["data"] = Model
    petal.add_command("do", take)
    assert not (await answered_at_once(petal, "do")).success
