"""What is called on petals that are being served: `Harness`, `Runtime`, `Petal`, `Client`."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from petalkit import Petal, Runtime, open_runtime
from petalkit.testing import (
    Harness,
    MemoryBroker,
    MemoryTransport,
    Observer,
    Sink,
    StartedJob,
    StreamValues,
)

from .grounds import (
    CONNECTED,
    LATE,
    SETTINGS,
    WORKERS,
    Served,
    SweptPetal,
    answers,
    served,
    without_identity,
)
from .table import case

served_case = functools.partial(case, again=answers, lasting=WORKERS)


# -- Harness


@served_case(Harness.call, ground=served)
async def harness_call(ground: Served) -> None:
    assert (await ground.harness.call("swept/slow")).success


@served_case(Harness.advance, ground=served)
async def harness_advance(ground: Served) -> None:
    before = trio.current_time()
    await ground.harness.advance(5)
    assert trio.current_time() >= before + 5


@served_case(Harness.wait_connected, ground=served, others=4)
async def harness_wait_connected(ground: Served) -> None:
    ground.harness.drop_link()
    await ground.harness.wait_connected()
    assert ground.harness.is_connected


@served_case(
    Harness.set_organization,
    ground=served,
    others=6,
    lasting=(*WORKERS, "grace of an old identity"),
)
async def harness_set_organization(ground: Served) -> None:
    await ground.harness.set_organization("other")
    await ground.harness.wait_connected()
    assert ground.harness.runtime.serving.organization_id == "other"


@served_case(Sink.wait, Observer.wait, ground=served)
async def sink_wait(ground: Served) -> None:
    with ground.harness.events() as sink:
        ground.soon(lambda: ground.petal.publish_message({"n": 1}))
        assert await sink.wait(1) == [{"n": 1}]


@served_case(Observer.receive, ground=served)
async def observer_receive(ground: Served) -> None:
    with ground.broker.observe("x") as observer:
        ground.soon(lambda: ground.broker.publish_nowait("x", b"1"))
        assert (await observer.receive()).payload == b"1"


# -- long work

long_case = functools.partial(
    case, ground=served, again=answers, lasting=(*WORKERS, "job swept/", "stream swept/")
)


@long_case(Harness.start_job, StartedJob.wait)
async def harness_start_job(ground: Served) -> None:
    async with ground.harness.start_job("swept/count") as job:
        assert (await job.wait())["state"] == "succeeded"


@long_case(StartedJob.cancel)
async def started_job_cancel(ground: Served) -> None:
    async with ground.harness.start_job("swept/count") as job:
        assert (await job.cancel()).success


@long_case(Harness.expire_lease)
async def harness_expire_lease(ground: Served) -> None:
    async with ground.harness.start_job("swept/leased") as job:
        await ground.harness.expire_lease(job)
        assert (await job.wait())["state"] == "timed_out"


@long_case(Harness.stream, StreamValues.wait)
async def harness_stream(ground: Served) -> None:
    async with ground.harness.stream("swept/values") as values:
        assert len(await values.wait(2)) == 2


# -- Petal


@attrs.frozen
class Publishing:
    """Events with numbers, and what became of them."""

    served: Served
    publish: Callable[..., Awaitable[None]]
    observer: Observer
    done: list[int]


@asynccontextmanager
async def publishing(method: str, topic: str) -> AsyncGenerator[Publishing]:
    async with served() as ground:
        with ground.broker.observe(f"org/acme/device/Instance-1/{topic}") as observer:
            yield Publishing(ground, getattr(ground.petal, method), observer, [])


async def events_are_whole(ground: Publishing) -> None:
    """Each whose publishing returned is out, and of the others at most the one that was cut."""
    for last in (b"98", b"99"):  # there is room as before
        await ground.publish({"n": int(last)})
    await answers(ground.served)
    seen = [message.payload for message in ground.observer]
    expected = [b'{"n":%d}' % n for n in ground.done]
    assert seen[: len(expected)] == expected
    assert seen[-2:] == [b'{"n":98}', b'{"n":99}']
    assert len(seen) <= len(expected) + 3


@case(
    Petal.publish_message,
    ground=functools.partial(publishing, "publish_message", "command/web"),
    again=events_are_whole,
    lasting=WORKERS,
)
async def petal_publish_message(ground: Publishing) -> None:
    for n in range(4):
        await ground.publish({"n": n})
        ground.done.append(n)


@case(
    Petal.publish_debug,
    ground=functools.partial(publishing, "publish_debug", "debug"),
    again=events_are_whole,
    lasting=WORKERS,
)
async def petal_publish_debug(ground: Publishing) -> None:
    for n in range(3):
        await ground.publish({"n": n}, expiry=60)
        ground.done.append(n)


async def becomes_known(ground: Served) -> None:
    await ground.harness.set_organization("acme")
    await answers(ground)


@served_case(
    Petal.wait_identity,
    ground=without_identity,
    again=becomes_known,
    lasting=(*WORKERS, *CONNECTED),
)
async def petal_wait_identity(ground: Served) -> None:
    ground.soon(lambda: ground.harness.set_organization("acme"))
    assert (await ground.petal.wait_identity()).organization_id == "acme"


@served_case(Petal.lifespan, ground=served)
async def petal_lifespan(ground: Served) -> None:
    class Plain(Petal):
        name = "plain"

    async with Plain().lifespan():
        await trio.lowlevel.checkpoint()


# -- Runtime


@served_case(
    Runtime.wait_identity,
    ground=without_identity,
    again=becomes_known,
    lasting=(*WORKERS, *CONNECTED),
)
async def runtime_wait_identity(ground: Served) -> None:
    ground.soon(lambda: ground.harness.set_organization("acme"))
    assert (await ground.harness.runtime.wait_identity()).organization_id == "acme"


@served_case(
    Runtime.wait_connected,
    ground=without_identity,
    again=becomes_known,
    lasting=(*WORKERS, *CONNECTED),
)
async def runtime_wait_connected(ground: Served) -> None:
    ground.soon(lambda: ground.harness.set_organization("acme"))
    await ground.harness.runtime.wait_connected()
    assert ground.harness.is_connected


@asynccontextmanager
async def asking() -> AsyncGenerator[Runtime]:
    """The organization ID comes from somewhere slow."""

    async def source() -> str:
        await trio.sleep(LATE)
        return "acme"

    settings = attrs.evolve(SETTINGS, organization_source=source, device_id="d", watchdog=0.0)
    transport = MemoryTransport(MemoryBroker())
    async with open_runtime([SweptPetal()], settings, transport=transport) as runtime:
        await runtime.wait_connected()
        yield runtime


@case(Runtime.ask_identity, ground=asking)
async def runtime_ask_identity(runtime: Runtime) -> None:
    await runtime.ask_identity()
    assert runtime.identity is not None


async def is_stopped(ground: Served) -> None:
    ground.harness.runtime.stop()
    await ground.harness.runtime.wait_stopped()
    with pytest.raises(RuntimeError, match="not served"):
        await ground.petal.publish_message({})


@served_case(Runtime.wait_stopped, ground=served, again=is_stopped, others=3)
async def runtime_wait_stopped(ground: Served) -> None:
    ground.harness.send("swept/slow")
    ground.harness.runtime.stop()
    await ground.harness.runtime.wait_stopped()
    assert ground.petal.lives[-1] == "left"


async def is_unavailable(ground: Served) -> None:
    await ground.harness.runtime.wait_all_failed()
    response = await ground.harness.call("swept/hello")
    assert response.error_code == "UNAVAILABLE"


@served_case(
    Runtime.wait_all_failed,
    ground=served,
    again=is_unavailable,
    errors=("petal 'swept' is out of service",),
)
async def runtime_wait_all_failed(ground: Served) -> None:
    async def fail() -> None:
        await trio.sleep(LATE)
        raise LookupError

    ground.petal.nursery.start_soon(fail)
    await ground.harness.runtime.wait_all_failed()
    assert ground.harness.runtime.all_failed
