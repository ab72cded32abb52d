"""The greeting answers what the guide says that it answers."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from petalkit.testing import open_harness

from ..guide import TEST_COMMAND, TEST_RESPONSE
from .conftest import Load

pytestmark = pytest.mark.trio


async def test_the_guides_exchange(load_example: Load, autojump_clock: MockClock) -> None:
    async with open_harness(load_example("greeting").ExamplePetal()) as harness:
        with harness.responses() as responses:
            harness.send_raw(TEST_COMMAND)
            (response,) = await responses.wait(1)
    assert response == TEST_RESPONSE


async def test_nobody_in_particular(load_example: Load, autojump_clock: MockClock) -> None:
    async with open_harness(load_example("greeting").ExamplePetal()) as harness:
        response = await harness.call("example-petal/hello")
        assert response["message"] == "Hello, World!"


async def test_the_handler_alone(load_example: Load) -> None:
    greeting = load_example("greeting")
    result = await greeting.ExamplePetal().hello(greeting.Greeting("Ada"))
    assert result == {"message": "Hello, Ada!"}
