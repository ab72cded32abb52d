"""The steps of docs/migration.md: each runs, and gives the same answers as the one before."""

from __future__ import annotations

import asyncio
import fnmatch
import importlib
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

import petalkit
from petalkit import Settings, compat
from petalkit.compat import _install, adapt, install
from petalkit.testing import open_harness

from .conftest import EXAMPLES, ROOT

FOLDER = EXAMPLES / "migration"
PAGE = ROOT / "docs" / "migration.md"

GUIDE = "step_1_guide.plugin"
UNDER_COMPAT = [GUIDE, "step_2_imports", "step_3_mqtt_action"]
NATIVE = ["step_4_native", "step_5_arguments", "step_6_ten_lines"]
STEPS = [*UNDER_COMPAT, *NATIVE]

Serve = Callable[[str], Sequence[petalkit.Petal]]

pytestmark = pytest.mark.trio


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """`serve("step_2_imports")` is its petal, to be served; only step 1 has the host's names."""
    monkeypatch.syspath_prepend(FOLDER)

    def load(step: str) -> Sequence[petalkit.Petal]:
        if step == GUIDE:
            install()
        petal = importlib.import_module(step).ExamplePetal()
        return [petal] if isinstance(petal, petalkit.Petal) else adapt(petal)

    yield load
    _install._uninstall()
    for name in [name for name in sys.modules if name.startswith("step_")]:
        del sys.modules[name]


# -- what stays the same


async def test_these_are_all_the_steps_and_the_page_shows_each() -> None:
    there = {path.stem for path in FOLDER.iterdir() if path.stem.startswith("step_")}
    assert there == {step.partition(".")[0] for step in STEPS}
    text = PAGE.read_text()
    for step in STEPS:
        assert f"../examples/migration/{step.replace('.', '/')}.py" in text
    assert "../examples/migration/step_1_guide/__init__.py" in text


@pytest.mark.parametrize("step", STEPS)
async def test_the_same_command_has_the_same_answer(
    step: str, serve: Serve, autojump_clock: Any
) -> None:
    settings = Settings(dialect="guide")  # as the page says, from step 3 on
    async with open_harness(*serve(step), settings=settings) as harness:
        exchanges = [
            ("hello", {"name": "Ada"}, {"message": "Hello, Ada!"}),
            ("hello", {}, {"message": "Hello, World!"}),
            ("process", {"text": "Petal"}, {"result": "PETAL"}),
            ("process", {"text": "Petal", "mode": "lower"}, {"result": "petal"}),
        ]
        for number, (name, data, fields) in enumerate(exchanges):
            message_id = f"test-{number}"
            response = await harness.call(f"example-petal/{name}", data, message_id=message_id)
            more = {"deviceId": "Instance-1"} if step in UNDER_COMPAT else {}
            assert dict(response) == {
                "messageId": message_id,
                "timestamp": response["timestamp"],
                "success": True,
                **fields,
                **more,
            }


@pytest.mark.parametrize("step", STEPS)
async def test_an_unknown_command_is_answered_in_the_same_words(
    step: str, serve: Serve, autojump_clock: Any
) -> None:
    async with open_harness(*serve(step)) as harness:
        response = await harness.call("example-petal/nosuch")
    assert response.success is False
    assert response.error == "Unknown command: example-petal/nosuch"
    assert response.error_code == "UNKNOWN_COMMAND"


@pytest.mark.parametrize("step", STEPS)
async def test_who_wants_no_answer_gets_none(step: str, serve: Serve, autojump_clock: Any) -> None:
    async with open_harness(*serve(step)) as harness:
        with harness.responses() as responses:
            harness.send("example-petal/hello", {"name": "Ada"}, waitResponse=False)
            await harness.call("example-petal/hello", {"name": "Bea"})
        assert [response["message"] for response in responses] == ["Hello, Bea!"]


@pytest.mark.parametrize("step", STEPS)
async def test_the_birth_says_the_same_name_and_version(
    step: str, serve: Serve, autojump_clock: Any
) -> None:
    async with open_harness(*serve(step)) as harness:
        status = harness.status()
    assert status is not None
    assert status["petals"] == [{"name": "example-petal", "version": "1.0.0"}]


# -- what changes: the text of an exception


async def answer_to_a_wrong_mode(petals: Sequence[petalkit.Petal]) -> petalkit.Response:
    async with open_harness(*petals) as harness:
        data = {"text": "Petal", "mode": "sideways"}
        response = await harness.call("example-petal/process", data)
    assert response.success is False
    return response


@pytest.mark.parametrize("step", UNDER_COMPAT)
async def test_a_petal_of_the_guide_sends_the_text_of_its_exception(
    step: str, serve: Serve, autojump_clock: Any
) -> None:
    response = await answer_to_a_wrong_mode(serve(step))
    assert response.error == "'sideways'"


async def test_step_4_keeps_the_text_of_an_exception_on_the_device(
    serve: Serve, autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    response = await answer_to_a_wrong_mode(serve("step_4_native"))
    assert response.error_code == "HANDLER_ERROR"
    assert "sideways" not in str(dict(response))
    assert response["error_id"] in caplog.text
    assert "KeyError: 'sideways'" in caplog.text


async def test_step_5_says_no_in_words_of_its_own(serve: Serve, autojump_clock: Any) -> None:
    response = await answer_to_a_wrong_mode(serve("step_5_arguments"))
    assert response.error_code == "UNKNOWN_MODE"
    assert response.error == "mode must be upper or lower"


async def test_step_6_says_no_by_the_type(serve: Serve, autojump_clock: Any) -> None:
    response = await answer_to_a_wrong_mode(serve("step_6_ten_lines"))
    assert response.error_code == "INVALID_DATA"
    assert [error["path"] for error in response["errors"]] == ["data.mode"]


# -- what changes: types


@pytest.mark.parametrize("step", [*UNDER_COMPAT, "step_4_native"])
async def test_without_types_anything_is_a_name(
    step: str, serve: Serve, autojump_clock: Any
) -> None:
    async with open_harness(*serve(step)) as harness:
        response = await harness.call("example-petal/hello", {"name": 42})
    assert response["message"] == "Hello, 42!"


@pytest.mark.parametrize("step", ["step_5_arguments", "step_6_ten_lines"])
async def test_with_types_a_number_is_no_name(step: str, serve: Serve, autojump_clock: Any) -> None:
    async with open_harness(*serve(step)) as harness:
        response = await harness.call("example-petal/hello", {"name": 42})
    assert response.error_code == "INVALID_DATA"
    assert response.error == "data.name expected a string, got a number"


# -- what changes: the envelope


@pytest.mark.parametrize("step", [GUIDE, "step_6_ten_lines"])
@pytest.mark.parametrize(
    "wrong",
    [b'"waitResponse":"yes","messageId":"1"', b'"messageId":1', b'"messageId":"1","data":"x"'],
)
async def test_the_envelope_is_read_strictly(
    step: str, wrong: bytes, serve: Serve, autojump_clock: Any
) -> None:
    async with open_harness(*serve(step)) as harness:
        harness.send_raw(b'{"command":"example-petal/hello",' + wrong + b"}")
        assert (await harness.call("example-petal/hello")).success
        statistics = harness.statistics()
    assert statistics.refused == {"INVALID_COMMAND": 1}
    assert statistics.started == 1


# -- what changes: order and limits


async def test_hooks_of_step_1_run_in_the_hosts_order(
    serve: Serve, autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_harness(*serve(GUIDE)) as harness:
        await harness.call("example-petal/hello")
    said = [record.getMessage() for record in caplog.records if record.name == "step_1_guide"]
    assert said == ["example-petal is there, organization acme", "example-petal is gone"]


@pytest.mark.parametrize("step", ["step_3_mqtt_action", "step_4_native"])
async def test_start_and_end_are_still_said(
    step: str, serve: Serve, autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_harness(*serve(step)) as harness:
        await harness.call("example-petal/hello")
    said = [record.getMessage() for record in caplog.records if record.name == step]
    assert said == ["example-petal is there", "example-petal is gone"]


async def test_a_native_petal_starts_before_the_organization_is_known(
    serve: Serve, autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_harness(*serve("step_4_native"), organization_id=None):
        assert "example-petal is there" in caplog.text


async def test_the_last_step_is_the_ten_lines_that_it_says() -> None:
    text = (FOLDER / "step_6_ten_lines.py").read_text()
    lines = [line for line in text[text.index("class ") :].splitlines() if line.strip()]
    assert len(lines) == 10


# -- the old pattern


class OldPetal(compat.Petal):
    """As the guide's migration chapter finds it: it subscribes to a topic of its own."""

    name = "old-petal"
    version = "0.9.0"

    async def async_startup(self) -> None:
        proxy = self._proxies["mqtt"]
        await proxy.subscribe_to_topic("old-petal/orders", self._on_order)

    async def _on_order(self, topic: str, message: dict[str, Any]) -> None:
        raise AssertionError("nothing is delivered")


async def test_step_0_is_told_that_its_method_was_removed(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_harness(*adapt(OldPetal())) as harness:
        response = await harness.call("old-petal/anything")
    assert response.error_code == "UNKNOWN_COMMAND"
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == (
        "petal 'old-petal' goes on without it: async_startup() raised MethodRemoved: "
        "MQTTProxy.subscribe_to_topic() was removed by the integration guide: use "
        "register_handler(handler), and route by the command in the message; other topics than "
        "those of commands are not subscribed to"
    )
    assert record.getMessage() in re.sub(r"\s+", " ", PAGE.read_text())


# -- petal by petal


async def test_steps_run_side_by_side(serve: Serve, autojump_clock: Any) -> None:
    """One petal under compat, another native: each has its commands."""

    class Moved(petalkit.Petal):
        name = "moved-petal"

        @petalkit.command("hello")
        async def hello(self) -> dict[str, str]:
            return {"message": "native"}

    async with open_harness(*serve(GUIDE), Moved()) as harness:
        assert (await harness.call("moved-petal/hello"))["message"] == "native"
        assert (await harness.call("example-petal/hello"))["message"] == "Hello, World!"


async def test_beside_the_old_host_its_commands_are_left_to_it(
    serve: Serve, autojump_clock: Any
) -> None:
    """Which is the default with a petal under compat, and a setting without one."""
    for step, settings in [
        (GUIDE, Settings()),
        ("step_6_ten_lines", Settings(answer_unknown="own")),
    ]:
        async with open_harness(*serve(step), settings=settings) as harness:
            with harness.responses() as responses:
                harness.send("still-on-the-host/hello")
                await harness.call("example-petal/hello")
            assert len(responses) == 1


async def test_a_task_of_a_petal_ends_with_it(autojump_clock: Any) -> None:
    """What `asyncio.create_task` starts under compat has an owner, as a nursery's tasks have."""
    ended: list[str] = []

    class Busy(compat.Petal):
        name = "busy-petal"
        version = "1"

        def startup(self) -> None:
            self.task = asyncio.create_task(self._work())

        async def _work(self) -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                ended.append("work")

    async with open_harness(*adapt(Busy())):
        assert ended == []
    assert ended == ["work"]


# -- the host's variables


async def test_each_variable_of_the_host_has_its_line_on_the_page() -> None:
    install()
    try:
        config = importlib.import_module("petal_app_manager._config")
    finally:
        _install._uninstall()
    values = [
        *config._GENERAL,
        *(one for group in config._NESTED.values() for one in group.values()),
    ]
    variables = {f"PETAL_{value.variable or value.flat}" for value in values}
    text = PAGE.read_text()
    table = text[text.index("### The host's variables") : text.index("## Petal by petal")]
    named = set(re.findall(r"`(PETAL_[A-Z0-9_*]+)`", table)) - {"PETAL_*"}
    for variable in variables:
        assert any(fnmatch.fnmatchcase(variable, name) for name in named), variable
    known = {*variables, "PETAL_LOG_LEVEL", "PETAL_DEBUG_SQUARE_TEST"}
    for name in named:
        assert fnmatch.filter(known, name), name
