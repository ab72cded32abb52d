"""The greeting answers what the guide says that it answers."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from petalkit.testing import open_harness

from .conftest import Load

pytestmark = pytest.mark.trio


async def test_the_guides_exchange(load_example: Load, autojump_clock: MockClock) -> None:
    async with open_harness(load_example("greeting").ExamplePetal()) as harness:
        with harness.responses() as responses:
            harness.send_raw(
                b'{"command": "example-petal/hello", "messageId": "test-123",'
                b' "waitResponse": true, "data": {"name": "Developer"},'
                b' "timestamp": "2025-11-05T12:00:00Z"}'
            )
            (response,) = await responses.wait(1)
    assert response == {
        "messageId": "test-123",
        "timestamp": "2026-01-01T00:00:00.000Z",
        "success": True,
        "message": "Hello, Developer!",
    }


async def test_nobody_in_particular(load_example: Load, autojump_clock: MockClock) -> None:
    async with open_harness(load_example("greeting").ExamplePetal()) as harness:
        response = await harness.call("example-petal/hello")
        assert response["message"] == "Hello, World!"


async def test_the_handler_alone(load_example: Load) -> None:
    greeting = load_example("greeting")
    result = await greeting.ExamplePetal().hello(greeting.Greeting("Ada"))
    assert result == {"message": "Hello, Ada!"}
