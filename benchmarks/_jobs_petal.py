"""The petal of the benchmark of long work; run as a program it is served until SIGTERM."""

from __future__ import annotations

import argparse
from collections.abc import AsyncGenerator
from typing import Any

import trio

from _petal import BenchPetal
from petalkit import Job, Petal, Settings, job, run, stream


class LongPetal(Petal):
    name = "long"
    version = "1.0.0"

    @job("work", concurrency=250)
    async def work(self, job: Job, n: int) -> None:
        number, due = 0, trio.current_time()
        while True:
            await job.progress((number % 1000) / 1000, "working", n=n)
            number, due = number + 1, due + 0.1
            await trio.sleep_until(due)


async def values(self: Petal) -> AsyncGenerator[dict[str, Any]]:
    del self
    number = 0
    while True:
        yield {"n": number, "x": number / 7}
        number += 1
        await trio.sleep(0.01)


def with_streams(count: int) -> type[LongPetal]:
    """The petal with so many streams more."""
    names: dict[str, Any] = {}
    for number in range(count):

        async def one(self: Petal) -> AsyncGenerator[dict[str, Any]]:
            async for value in values(self):
                yield value

        names[f"values{number}"] = stream(f"values{number}")(one)
    return type("StreamsPetal", (LongPetal,), names)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--transport", default="native")
    arguments = parser.parse_args()
    import logging

    logging.basicConfig(level=logging.WARNING)
    settings = Settings(
        broker=f"mqtt://127.0.0.1:{arguments.port}",
        organization_id="bench",
        device_id=arguments.device,
        transport=arguments.transport,
        protocol="5" if arguments.transport == "native" else "3.1.1",
        grace=0.5,
    )
    run(BenchPetal(), with_streams(100)(), settings=settings)


if __name__ == "__main__":
    main()
