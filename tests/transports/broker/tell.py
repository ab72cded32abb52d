"""`scripts/broker-stories`: many stories, told to our broker and to mosquitto."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import trio

from petalkit.transports._broker.serving.server import open_broker

from ...brokers import Mosquitto
from .stories import Teller, differences

AGAIN = 3  # times that a story is told which differs: a closed socket may be noticed late


async def main(count: int, first: int, theirs: int) -> int:
    """Tell them; how many differ."""
    found = 0
    async with open_broker("127.0.0.1", 0) as (_, ours):
        for seed in range(first, first + count):
            for _ in range(AGAIN):
                mine = await trio.to_thread.run_sync(Teller(ours).tell, seed)
                other = await trio.to_thread.run_sync(Teller(theirs).tell, seed)
                lines = differences(mine, other)
                if not lines:
                    break
            else:
                found += 1
                print(f"seed {seed} differs:", *lines, sep="\n")  # noqa: T201
            if (seed - first + 1) % 100 == 0:
                print(f"{seed - first + 1} told, {found} differ", flush=True)  # noqa: T201
    print(f"{count} stories from seed {first}: {found} differ")  # noqa: T201
    return found


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    count, first = [*numbers, *(2000, 0)[len(numbers) :]]
    with tempfile.TemporaryDirectory() as folder, Mosquitto(Path(folder)) as mosquitto:
        sys.exit(bool(trio.run(main, count, first, mosquitto.port)))
