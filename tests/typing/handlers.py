"""What type checkers must see of petalkit. Never run: `test_typing.py` and pyright read it.

Each `# type: ignore[code]` is a check too: mypy --strict reports one that is not needed.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, assert_type

import attrs
import trio

from petalkit import (
    Client,
    Command,
    CommandContext,
    Identity,
    InterruptedJob,
    Job,
    Petal,
    Response,
    Runtime,
    Settings,
    command,
    forbid_extra_keys,
    job,
    make_converter,
    open_client,
    open_runtime,
    serve,
    stream,
)
from petalkit.testing import Harness, open_harness


@forbid_extra_keys
@attrs.frozen
class Greeting:
    name: str = "World"


class Typed(Petal):
    name = "typed"
    version = "1.0.0"
    prefix = "typed"
    converter = make_converter()

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        self.nursery.start_soon(trio.sleep_forever)
        yield

    @command("hello")
    async def hello(self, data: Greeting) -> dict[str, str]:
        return {"message": f"Hello, {data.name}!"}

    @command("move", timeout=5.0, exclusive="motor", concurrency=None)
    async def move(self, steps: int, *, fast: bool = False) -> int:
        return steps

    @command("upload", thread=True)
    def upload(self, path: str, retries: int = 3) -> bytes:
        return path.encode() * retries

    @command("long")
    @command("short")
    async def asked(self, context: CommandContext, raw: Command) -> None:
        assert_type(context.message_id, str | None)
        assert_type(context.identity, Identity)
        assert_type(raw.command, str)


# -- the decorator keeps signatures


async def handlers_are_called_as_they_are_written(petal: Typed) -> None:
    assert_type(await petal.hello(Greeting()), dict[str, str])
    assert_type(await petal.move(3, fast=True), int)
    assert_type(petal.upload("a", retries=1), bytes)

    await petal.hello("Ada")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await petal.move()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await petal.move(3, quick=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    petal.upload(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def bound_methods_have_their_types(petal: Typed) -> None:
    hello: Callable[[Greeting], Coroutine[Any, Any, dict[str, str]]] = petal.hello
    short: Callable[[str], bytes] = petal.upload
    wrong: Callable[[int], bytes] = petal.upload  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    del hello, short, wrong


async def free(n: int) -> int:
    return n


async def it_keeps_functions_too() -> None:
    assert_type(await command("free")(free)(n=1), int)
    await command("free")(free)(m=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# -- misuse is seen before it runs


def misuse_is_seen() -> None:
    command(free)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    command()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    command("x", timeout="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    command("x", tiemout=5.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# -- a petal


async def a_petal_has_types(petal: Typed) -> None:
    petal.add_command("again", petal.hello, timeout=5.0, urgent=False)
    petal.add_command("blocking", petal.upload, thread=True)
    petal.add_command("lambda", lambda n: n, thread=True)
    petal.remove_command("again")
    petal.add_command("bad", "handler")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    petal.remove_command(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(petal.nursery, trio.Nursery)
    assert_type(petal.identity, Identity | None)
    assert_type(await petal.wait_identity(), Identity)
    await petal.publish_message({"n": 1}, qos=0)
    await petal.publish_debug({"n": 1})
    await petal.publish_message(b"bytes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# -- the ways in


async def a_runtime_has_types(petal: Typed, settings: Settings, nursery: trio.Nursery) -> None:
    async with open_runtime([petal], settings) as runtime:
        assert_type(runtime, Runtime)
        assert_type(runtime.identity, Identity | None)
        runtime.stop()
    started: Runtime = await nursery.start(serve, [petal], settings)
    started.stop()


async def a_harness_has_types(petal: Typed) -> None:
    async with open_harness(petal) as harness:
        assert_type(harness, Harness)
        response = await harness.call("typed/hello", {"name": "Ada"})
        assert_type(response, Response)
        assert_type(response.success, bool)
        assert_type(response.error_code, str | None)


async def a_client_has_types(settings: Settings) -> None:
    async with open_client(settings) as client:
        assert_type(client, Client)
        assert_type(await client.call("typed/hello", {"name": "Ada"}), Response)


def decorated_classes_keep_their_types() -> None:
    assert_type(Greeting(), Greeting)
    Greeting(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class LongWork(Petal):
    name = "long-work"

    @job("copy", timeout=60, queue=2, exclusive="card")
    async def copy(self, job: Job, record_id: str, *, whole: bool = True) -> dict[str, int]:
        async with job.step("download", weight=0.9) as step:
            await step.progress(0.5, "half")
        await job.progress(message="done", bytes=3)
        assert_type(job.fraction, float | None)
        return {"bytes": 3}

    @job("blocks", thread=True)
    def blocks(self, job: Job) -> None:
        job.report(0.5)
        job.check_cancelled()

    @stream("attitude", max_rate=50)
    async def attitude(self) -> AsyncGenerator[dict[str, float]]:
        yield {"roll": 0.0}

    @stream("position")
    def position(self) -> tuple[float, float]:
        return 47.0, 8.0

    async def on_interrupted(self, job: InterruptedJob) -> None:
        assert_type(job.id, str)


async def long_work(petal: LongWork, job: Job, context: CommandContext) -> None:
    assert_type(await petal.copy(job, "a", whole=False), dict[str, int])
    assert_type(petal.position(), tuple[float, float])
    async for value in petal.attitude():
        assert_type(value, dict[str, float])
    await petal.copy(job, 5)  # type: ignore[arg-type]
    job("copy")  # type: ignore[operator]
    await context.accept(message="looking")
    async with open_harness(petal) as harness:
        async with harness.start_job("long-work/copy", {"record_id": "a"}) as started:
            assert_type(started.progress, float | None)
        async with harness.stream("long-work/attitude") as values:
            assert_type(len(values), int)


job(5)  # type: ignore[arg-type]
stream("a", max_rate="fast")  # type: ignore[arg-type]
