"""What @job and @stream refuse before anything is served, and what a subclass inherits of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator

import pytest
import trio

from petalkit import Job, Petal, RegistrationError, command, job, stream
from petalkit._serving.jobs.commands.declared import declared_table
from petalkit.testing import open_harness

pytestmark = pytest.mark.trio


def two_jobs() -> type[Petal]:
    class P(Petal):
        name = "p"

        @job("a")
        async def one(self) -> None: ...

        @job("a")
        async def two(self) -> None: ...

    return P


def two_streams() -> type[Petal]:
    class P(Petal):
        name = "p"

        @stream("a")
        def one(self) -> int:
            return 1

        @stream("a")
        def two(self) -> int:
            return 2

    return P


def a_command_of_the_name_of_one_that_belongs_to_a_job() -> type[Petal]:
    class P(Petal):
        name = "p"

        @job("a")
        async def one(self) -> None: ...

        @command("cancel_a")
        async def two(self) -> None: ...

    return P


def a_job_and_a_stream() -> type[Petal]:
    class P(Petal):
        name = "p"

        @job("a")
        async def one(self) -> None: ...

        @stream("a")
        def two(self) -> int:
            return 2

    return P


def a_stream_named_all() -> type[Petal]:
    class P(Petal):
        name = "p"

        @stream("all")
        def one(self) -> int:
            return 1

    return P


def a_plain_def() -> type[Petal]:
    class P(Petal):
        name = "p"

        @job("a")
        def one(self) -> None: ...

    return P


def an_async_generator() -> type[Petal]:
    class P(Petal):
        name = "p"

        @job("a")
        async def one(self) -> AsyncGenerator[int]:
            yield 1

    return P


def a_generator_in_a_thread() -> type[Petal]:
    class P(Petal):
        name = "p"

        @job("a", thread=True)
        def one(self) -> Iterator[int]:
            yield 1

    return P


def a_thread_that_is_async() -> type[Petal]:
    class P(Petal):
        name = "p"

        @job("a", thread=True)
        async def one(self) -> None: ...

    return P


def a_stream_that_is_no_generator() -> type[Petal]:
    class P(Petal):
        name = "p"

        @stream("a")
        async def one(self) -> int:
            return 1

    return P


def a_job_without_its_type() -> type[Petal]:
    class P(Petal):
        name = "p"

        @job("a")
        async def one(self, job) -> None: ...  # type: ignore[no-untyped-def]

    return P


def a_job_in_a_command() -> type[Petal]:
    class P(Petal):
        name = "p"

        @command("a")
        async def one(self, job: Job) -> None: ...

    return P


REFUSED = {
    two_jobs: ("two(): the job 'p/a' is already served by petal 'p'", "P.one()"),
    two_streams: ("two(): the stream 'p/a' is already served by petal 'p'", "P.one()"),
    a_command_of_the_name_of_one_that_belongs_to_a_job: ("cancel_a of the job", "'p/cancel_a'"),
    a_job_and_a_stream: ("subscribe_a of the job", "subscribe_a of the stream"),
    a_stream_named_all: ("cannot be named 'all'", ""),
    a_plain_def: ("write async def, or thread=True if it blocks", ""),
    an_async_generator: ("a job has one result: return it", "values under @stream"),
    a_generator_in_a_thread: ("a job has one result: return it", ""),
    a_thread_that_is_async: ("drop thread=True", ""),
    a_stream_that_is_no_generator: ("has to be an async generator", ""),
    a_job_without_its_type: ("parameter 'job': has no type: write job: Job", ""),
    a_job_in_a_command: ("is for methods under @job only", ""),
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda one: one.__name__)
async def test_what_cannot_be_served_is_refused_and_seen_before_it_runs(
    make: Callable[[], type[Petal]],
) -> None:
    petal = make()()
    with pytest.raises(RegistrationError) as served:
        async with open_harness(petal):
            pass
    with pytest.raises(RegistrationError) as looked_at:
        declared_table([petal])
    for text in REFUSED[make]:
        assert text in str(served.value)
    assert str(looked_at.value) == str(served.value)


class Base(Petal):
    name = "p"

    @job("sync", queue=1)
    async def sync(self, job: Job, n: int) -> int:
        return n

    @stream("position", max_rate=5)
    async def position(self) -> AsyncGenerator[dict[str, int]]:
        yield {"of": 1}


class Child(Base):
    async def sync(self, job: Job, n: int) -> int:
        await trio.sleep(1)
        return n + 1

    async def position(self) -> AsyncGenerator[dict[str, int]]:
        yield {"of": 2}
        await trio.sleep_forever()


async def test_an_override_is_the_job_or_stream_of_its_base(autojump_clock: object) -> None:
    async with open_harness(Child()) as harness:
        first = await harness.call("p/sync", {"n": 1})
        second = await harness.call("p/sync", {"n": 2})
        assert (first["state"], second["state"], second["position"]) == ("running", "accepted", 1)
        assert (await harness.call("p/sync", {"n": 3})).error_code == "BUSY"
        await trio.sleep(3)
        assert (await harness.call("p/result_sync"))["result"] == {"result": 3}
        subscribed = await harness.call(
            "p/subscribe_position", {"subscribed_stream_id": "s", "data_rate_hz": 50}
        )
        assert subscribed["data_rate_hz"] == 5
        async with harness.stream("p/position") as seen:
            assert await seen.wait(1) == [{"of": 2}]


async def test_a_subclass_takes_a_job_away(autojump_clock: object) -> None:
    class Without(Base):
        sync = None  # type: ignore[assignment]

    async with open_harness(Without()) as harness:
        answer = await harness.call("p/sync", {"n": 1})
        assert answer.error_code == "UNKNOWN_COMMAND"
        assert answer["available_commands"] == [
            "p/subscribe_position",
            "p/unsubscribe_all",
            "p/unsubscribe_position",
        ]


async def test_one_method_may_be_a_command_and_a_job(autojump_clock: object) -> None:
    class Both(Petal):
        name = "p"

        @command("quick")
        @job("slow")
        async def work(self) -> int:
            return 5

    async with open_harness(Both()) as harness:
        assert (await harness.call("p/quick"))["result"] == 5
        assert (await harness.call("p/slow"))["job_id"]
        await trio.sleep(0.1)
        assert (await harness.call("p/result_slow"))["result"] == {"result": 5}
