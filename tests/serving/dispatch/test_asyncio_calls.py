"""asyncio in a native petal: what does not work says what to write, and that works."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest
import trio

from petalkit import Petal, command
from petalkit.testing import open_harness

from ..recorder import Recorder, settle

pytestmark = pytest.mark.trio


async def sleeps() -> None:
    await asyncio.sleep(1)


async def yields() -> None:
    await asyncio.sleep(0)


async def makes_a_task() -> None:
    coroutine = asyncio.sleep(1)
    try:
        asyncio.create_task(coroutine)  # noqa: RUF006 - there is none
    finally:
        coroutine.close()


async def in_a_nursery() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleeps)
        nursery.start_soon(sleeps)


CALLS = [sleeps, yields, makes_a_task, in_a_nursery]
Call = Callable[[], Awaitable[Any]]


@pytest.mark.parametrize("call", CALLS)
async def test_a_handler_that_calls_asyncio_is_told_what_to_write(
    call: Call, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    petal = Recorder()
    petal.add_command("do", call)
    async with open_harness(petal) as harness:
        assert (await harness.call("rec/do")).error_code == "HANDLER_ERROR"
    [record] = [one for one in caplog.records if "handler failed" in one.getMessage()]
    assert "Native petals run on Trio" in record.getMessage()
    assert "write trio.sleep for asyncio.sleep" in record.getMessage()
    assert "trio_asyncio.aio_as_trio" in record.getMessage()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("where", ["lifespan", "background"])
async def test_a_lifespan_and_a_background_task_too(
    where: str, call: Call, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    class Ble(Petal):
        name = "ble"

        @contextlib.asynccontextmanager
        async def lifespan(self) -> AsyncGenerator[None]:
            if where == "lifespan":
                await call()
            self.nursery.start_soon(call)
            yield

        @command("ping")
        async def ping(self) -> None: ...

    async with open_harness(Ble(), Recorder()):
        await settle()
    [record] = [one for one in caplog.records if "out of service" in one.getMessage()]
    assert "Native petals run on Trio" in record.getMessage()


async def test_other_errors_have_no_such_hint(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async def do() -> None:
        raise RuntimeError("no camera")

    petal = Recorder()
    petal.add_command("do", do)
    async with open_harness(petal) as harness:
        await harness.call("rec/do")
    assert "Trio" not in "".join(
        one.getMessage() for one in caplog.records if "handler failed" in one.getMessage()
    )
