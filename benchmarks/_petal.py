"""The petal of the benchmarks; run as a program it is served over a broker until SIGTERM."""

from __future__ import annotations

import argparse
import math

import attrs
import trio

from petalkit import Petal, Settings, command, run


@attrs.frozen
class Greeting:
    name: str
    count: int = 1


class BenchPetal(Petal):
    name = "bench"
    version = "1.0.0"

    @command("greet")
    async def greet(self, data: Greeting) -> dict[str, str]:
        return {"message": f"Hello, {data.name}! ({data.count})"}

    @command("slow")
    async def slow(self, data: Greeting) -> dict[str, str]:
        """The same, after a millisecond of waiting for something."""
        await trio.sleep(0.001)
        return await self.greet(data)

    @command("work")
    async def work(self, seconds: float) -> None:
        """Say on `command/web` that it has begun, then take so long."""
        await self.publish_message({"command": "/bench/begun"}, qos=1)
        await trio.sleep(seconds)

    @command("endless", timeout=math.inf)
    async def endless(self) -> None:
        """The same, and it never ends by itself."""
        await self.publish_message({"command": "/bench/begun"}, qos=1)
        await trio.sleep_forever()


def crowd(petals: int, commands: int) -> list[Petal]:
    """So many petals with so many commands each: `bench-3/greet-17`; each does the same."""

    async def greet(data: Greeting) -> dict[str, str]:
        return {"message": f"Hello, {data.name}! ({data.count})"}

    found: list[Petal] = []
    for number in range(petals):
        petal = type("CrowdPetal", (Petal,), {"name": f"bench-{number}", "version": "1.0.0"})()
        for one in range(commands):
            petal.add_command(f"greet-{one}", greet)
        found.append(petal)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--transport", default="asyncio-mqtt")
    parser.add_argument("--protocol", choices=("3.1.1", "5"), default="3.1.1")
    parser.add_argument("--sidecar-url", default="http://127.0.0.1:3004")
    parser.add_argument("--journal", default="off", help="a file")
    parser.add_argument("--grace", type=float, default=1.0)
    parser.add_argument("--concurrency", type=int, default=64, help="of one petal")
    parser.add_argument("--crowd", type=int, nargs=2, metavar=("PETALS", "COMMANDS"))
    arguments = parser.parse_args()
    import logging

    logging.basicConfig(level=logging.WARNING)  # no line per command: the peer writes none
    settings = Settings(
        broker=f"mqtt://127.0.0.1:{arguments.port}",
        organization_id="bench",
        device_id=arguments.device,
        transport=arguments.transport,
        journal=arguments.journal,
        protocol=arguments.protocol,
        sidecar_url=arguments.sidecar_url,
        callback_listen="127.0.0.1:0",
        petal_concurrency=arguments.concurrency,
        grace=arguments.grace,
    )
    petals = crowd(*arguments.crowd) if arguments.crowd else [BenchPetal()]
    run(*petals, settings=settings)


if __name__ == "__main__":
    main()
