"""Dispatch: CPU per command from bytes in to response bytes out, without a network.

petalkit serves a typed command over the memory transport, in a closed loop with so many commands
under way; beside it, in the same rounds, a loop of a memory channel and msgspec on Trio, with no
framework. What the generator and the in-process broker cost by themselves is measured with a
consumer on the same transport that answers without looking. See README.md.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import msgspec
import trio

from _common import (
    TEXT,
    Measured,
    check_response,
    identity,
    make_commands,
    print_aim,
    print_environment,
    print_table,
    progress,
    settled,
    spread,
    stopwatch,
)
from _petal import BenchPetal, Greeting
from petalkit import Settings, open_runtime
from petalkit._serving.process.logs import configure_logging
from petalkit._values.messages import Message
from petalkit._values.topics import TopicFilter
from petalkit.compat import Petal as GuidePetal
from petalkit.compat import adapt
from petalkit.transports import ConnectOptions, Link
from petalkit.transports.memory import MemoryBroker, MemoryTransport

ROUND_LIMIT = 60.0  # seconds; a round that takes so long does not work
AIM = 25.0  # CPU us per command

DEVICE = identity("dispatch")
Commands = list[tuple[str, bytes]]
Round = Callable[[Commands, int], Awaitable[Measured]]


def make_broker() -> MemoryBroker:
    return MemoryBroker(window=64, max_queued=10_000)


async def generate(broker: MemoryBroker, commands: Commands, window: int) -> Measured:
    """Send commands, `window` of them under way, until all are answered; then check them."""
    topic = DEVICE.topic("command")
    responses: list[bytes] = []
    async with MemoryTransport(broker).connect(ConnectOptions(client_id="generator")) as link:
        await link.subscribe([TopicFilter(DEVICE.topic("response"))])
        with settled(), stopwatch() as elapsed:
            for _, payload in commands[:window]:
                broker.publish_nowait(topic, payload)
            sent = window
            while len(responses) < len(commands):
                for delivery in await link.receive():
                    responses.append(delivery.payload)
                    delivery.ack()
                    if sent < len(commands):
                        broker.publish_nowait(topic, commands[sent][1])
                        sent += 1
            measured = elapsed()
    check_all(commands, responses)
    return measured


def check_all(commands: Commands, responses: list[bytes]) -> None:
    answered = [check_response(response) for response in responses]
    if sorted(answered) != sorted(message_id for message_id, _ in commands):
        raise SystemExit("not every command was answered exactly once")


# -- the rows


async def petalkit(commands: Commands, window: int) -> Measured:
    """The whole framework with its defaults, duplicates window and deadlines among them."""
    settings = Settings(organization_id=DEVICE.organization_id, device_id=DEVICE.device_id)
    broker = make_broker()
    async with open_runtime([BenchPetal()], settings, transport=MemoryTransport(broker)) as runtime:
        await runtime.wait_connected()
        return await generate(broker, commands, window)


async def petalkit_with_journal(commands: Commands, window: int) -> Measured:
    """The same, with each command on disk before it is acknowledged, called and answered."""
    with tempfile.TemporaryDirectory(prefix="petalkit-benchmark-") as folder:
        settings = Settings(
            organization_id=DEVICE.organization_id,
            device_id=DEVICE.device_id,
            journal=Path(folder, "journal"),
        )
        broker = make_broker()
        transport = MemoryTransport(broker)
        async with open_runtime([BenchPetal()], settings, transport=transport) as runtime:
            await runtime.wait_connected()
            measured = await generate(broker, commands, window)
            statistics = runtime.statistics()
            BATCHES.append(statistics.journal_operations / statistics.journal_batches)
            return measured


BATCHES: list[float] = []


class GuideBenchPetal(GuidePetal):
    """The same in the guide's form: a table of handlers, and a master handler that routes."""

    name = "bench"
    version = "1.0.0"
    use_mqtt_proxy = True

    async def _setup_mqtt_topics(self) -> None:
        self._command_handlers = {"bench/greet": self._greet}
        self._proxies["mqtt"].register_handler(self._master)

    async def _master(self, topic: str, message: dict[str, Any]) -> None:
        await self._command_handlers[message["command"]](topic, message)

    async def _greet(self, topic: str, message: dict[str, Any]) -> None:
        data = message["data"]
        text = f"Hello, {data['name']}! ({data['count']})"
        response = {"success": True, "message": text}
        await self._proxies["mqtt"].send_command_response(message["messageId"], response)


async def petal_of_the_guide(commands: Commands, window: int) -> Measured:
    """The framework again, and behind it asyncio in a loop on Trio."""
    settings = Settings(organization_id=DEVICE.organization_id, device_id=DEVICE.device_id)
    broker = make_broker()
    petals = adapt(GuideBenchPetal())
    async with open_runtime(petals, settings, transport=MemoryTransport(broker)) as runtime:
        await runtime.wait_connected()
        return await generate(broker, commands, window)


async def generator_alone(commands: Commands, window: int) -> Measured:
    """The same generator, broker and transport with nothing behind: responses made before."""
    broker = make_broker()
    canned = iter([canned_response(message_id) for message_id, _ in commands])
    topic = DEVICE.topic("response")

    async def consume(link: Link) -> None:
        while True:
            for delivery in await link.receive():
                delivery.ack()
                link.publish_nowait(Message(topic, next(canned)), ignore)

    options = ConnectOptions(client_id="consumer")
    async with (
        MemoryTransport(broker).connect(options) as link,
        trio.open_nursery() as nursery,
    ):
        await link.subscribe([TopicFilter(DEVICE.topic("command"))])
        nursery.start_soon(consume, link)
        measured = await generate(broker, commands, window)
        nursery.cancel_scope.cancel()
    return measured


def canned_response(message_id: str) -> bytes:
    return msgspec.json.encode(
        {
            "messageId": message_id,
            "timestamp": "2026-01-01T00:00:00.000Z",
            "success": True,
            "message": TEXT,
        }
    )


def ignore(error: Exception | None) -> None:
    """Somebody has to be told that a response was delivered."""


@attrs.frozen
class Envelope:
    command: str
    messageId: str  # noqa: N815 - the wire's name
    waitResponse: bool  # noqa: N815
    data: Greeting
    timestamp: str


async def bare(commands: Commands, window: int) -> Measured:
    """A memory channel, msgspec with a typed decoder, the handler, a set of message IDs.

    Its generator is the loop that sends into the channel, which is bounded by the window; nothing
    is taken off for it.
    """
    decode = msgspec.json.Decoder(Envelope).decode
    encode = msgspec.json.Encoder().encode
    handlers = {"bench/greet": BenchPetal().greet}
    seen: set[str] = set()
    responses: list[bytes] = []
    send, receive = trio.open_memory_channel[bytes](window - 1)

    async def work() -> None:
        async for payload in receive:
            envelope = decode(payload)
            assert envelope.messageId not in seen
            seen.add(envelope.messageId)
            result = await handlers[envelope.command](envelope.data)
            response = {
                "messageId": envelope.messageId,
                "timestamp": envelope.timestamp,
                "success": True,
                **result,
            }
            responses.append(encode(response))

    with settled(), stopwatch() as elapsed:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            for _, payload in commands:
                await send.send(payload)
            send.close()
        measured = elapsed()
    check_all(commands, responses)
    return measured


ROWS: dict[str, Round] = {
    "petalkit": petalkit,
    "petalkit with a journal": petalkit_with_journal,
    "a petal of the guide": petal_of_the_guide,
    "generator and broker alone": generator_alone,
    "bare loop": bare,
}


async def limited(row: Round, commands: Commands, window: int) -> Measured:
    with trio.fail_after(ROUND_LIMIT):
        return await row(commands, window)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=5000, help="per round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--log", action="store_true", help="with the INFO lines of every command, to /dev/null"
    )
    parser.add_argument(
        "--only",
        choices=tuple(ROWS),
        help="for a profiler",
    )
    arguments = parser.parse_args()
    rows = {name: row for name, row in ROWS.items() if arguments.only in (None, name)}
    print_environment()
    with Path("/dev/null").open("w") as nowhere:
        if arguments.log:
            configure_logging("info", stream=nowhere)
        else:
            logging.getLogger().setLevel(logging.WARNING)
        for window in (64, 1):
            measure(rows, window, arguments.commands, arguments.rounds, aims=not arguments.log)
    print("One process does it all, so commands/s counts the generator too. Read: README.md.")


def measure(rows: dict[str, Round], window: int, count: int, rounds: int, *, aims: bool) -> None:
    took: dict[str, list[Measured]] = {name: [] for name in rows}
    for number in range(-1, rounds):  # the first is the warm-up
        for name, row in rows.items():
            measured = trio.run(limited, row, make_commands(count), window)
            if number >= 0:
                took[name].append(measured)
        progress(f"window {window}: round {number + 1} of {rounds}")
    cpu = {name: [1e6 * one.cpu / count for one in found] for name, found in took.items()}
    net: list[float] = []
    if {"petalkit", "generator and broker alone"} <= cpu.keys():
        net = [
            whole - generator
            for whole, generator in zip(
                cpu["petalkit"], cpu["generator and broker alone"], strict=True
            )
        ]
    print(f"window {window}: {rounds} rounds of {count} commands")
    table = [
        [name, spread(cpu[name]), spread((count / one.wall for one in took[name]), 0)]
        for name in rows
    ]
    if net:
        table.insert(3, ["petalkit without them", spread(net), ""])
    print_table(["", "CPU us/command", "commands/s"], table)
    if {"petalkit", "a petal of the guide"} <= cpu.keys():
        ratio = statistics.median(cpu["a petal of the guide"]) / statistics.median(cpu["petalkit"])
        print(f"a petal of the guide / petalkit: {ratio:.2f}")
    if net and "bare loop" in cpu:
        ratio = statistics.median(net) / statistics.median(cpu["bare loop"])
        print(f"petalkit without them / bare loop: {ratio:.2f}")
    if aims and window == 64 and "petalkit" in cpu:
        print_aim("petalkit, all in", statistics.median(cpu["petalkit"]), AIM, " us")
        if net:
            print_aim("petalkit without generator and broker", statistics.median(net), AIM, " us")
    print()


if __name__ == "__main__":
    main()
