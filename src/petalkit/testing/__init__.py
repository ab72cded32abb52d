"""petalkit.testing: test a petal without a broker, a clock or a sleep.

    async def test_hello(autojump_clock):
        async with open_harness(ExamplePetal()) as harness:
            response = await harness.call("example-petal/hello", {"name": "Developer"})
            assert response["message"] == "Hello, Developer!"

The petal runs in the real runtime, on an in-process broker that can lose links, hold back
packets and be refused; every wait is on Trio's clock, so a mock clock makes an hour take no time.
With pytest the fixtures `petal_harness` and `memory_broker` are there without an import.

    _threads        holds an autojump clock while a thread is under way
    _sink           what comes out on one topic
    _long_work      jobs and streams, watched as callers do
    _outputs        what comes out of a device under test
    _harness        `Harness`: sending, seeing, and changing the world
    _opening        `open_harness`
    pytest_plugin   the fixtures

It may import all but `compat` and `cli`. Begin with `_opening`.
"""

from __future__ import annotations

from ..transports.memory import MemoryBroker as MemoryBroker
from ..transports.memory import MemoryTransport as MemoryTransport
from ..transports.memory import Observer as Observer
from ._harness import Harness as Harness
from ._long_work import StartedJob as StartedJob
from ._long_work import StreamValues as StreamValues
from ._opening import open_harness as open_harness
from ._sink import Sink as Sink
