"""The caller's side: CPU per call of `petalkit.client`, beside a bare client on the same codec.

One device in a process of its own, one mosquitto, and here the two clients in turns, round by
round: each makes all its calls at once, a task for each, over one connection. See README.md.
"""

from __future__ import annotations

import argparse
import itertools
import secrets
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import mqtt5
import msgspec
import trio

from _common import (
    ROOT,
    TEXT,
    Measured,
    identity,
    print_aim,
    print_environment,
    print_table,
    progress,
    settled,
    spread,
    stopwatch,
)
from _programs import Broker, mosquitto, mosquitto_version, program
from petalkit import Settings
from petalkit._values.codec import Timestamps
from petalkit.client import open_client

AIM = 1.3  # CPU per call, over the bare client's
DEVICE = "called"
DATA = {"name": "Developer", "count": 3}
ROUND_LIMIT = 120.0  # seconds for all calls of a round, each of which has as long
IN_FLIGHT = 1000  # calls that wait for their answers at once, of either
CHUNK = 65_536
Call = Callable[[], Awaitable[None]]


# -- the peer


class BareClient:
    """As somebody who knows Trio writes it for one program, on the codec that `native` has.

    It has what no caller can do without: a limit of time for each call, an ID and a time stamp,
    until when the command is wanted, and the server's Receive Maximum, since MQTT 5 demands it.
    What it has not: reconnecting, errors, any look at what comes but its ID, and a topic of its
    own. It sends in one `send_all` what one wake-up has made.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.outgoing: list[bytes] = []
        self.flush = trio.Event()
        self.credit = 0
        self.waiting: deque[bytes] = deque()
        self.packet_id = 0
        self.token, self.numbers = secrets.token_hex(8), itertools.count()
        self.calls: dict[str, tuple[trio.Event, list[Any]]] = {}
        self.turns = trio.Semaphore(IN_FLIGHT)
        self.timestamp, self.expiry = Timestamps(), Timestamps()
        self.ready = trio.Event()
        base = identity(DEVICE).base_topic
        self.command, self.response = f"{base}/command", f"{base}/response"

    async def call(self, command: str, data: dict[str, Any]) -> dict[str, Any]:
        with trio.fail_after(ROUND_LIMIT):
            async with self.turns:
                message_id = f"{self.token}-{next(self.numbers)}"
                now = self.timestamp.now()
                payload = msgspec.json.encode(
                    {
                        "command": command,
                        "messageId": message_id,
                        "waitResponse": True,
                        "deviceId": DEVICE,
                        "data": data,
                        "timestamp": self.timestamp.text(now),
                        "expiresAt": self.expiry.text(now + ROUND_LIMIT),
                    }
                )
                call = self.calls[message_id] = (trio.Event(), [])
                try:
                    self.publish(payload)
                    await call[0].wait()
                finally:
                    del self.calls[message_id]
                response: dict[str, Any] = call[1][0]
                return response

    def publish(self, payload: bytes) -> None:
        self.packet_id = self.packet_id % 65_535 + 1
        packet = mqtt5.PublishPacket(
            self.command, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=self.packet_id
        ).write()
        if self.credit:
            self.credit -= 1
            self.outgoing.append(packet)
            self.flush.set()
        else:
            self.waiting.append(packet)

    async def write(self) -> None:
        while True:
            await self.flush.wait()
            self.flush = trio.Event()
            data = b"".join(self.outgoing)
            self.outgoing.clear()
            await self.stream.send_all(data)

    async def read(self) -> None:
        rest = b""
        while data := await self.stream.receive_some(CHUNK):
            view = memoryview(rest + data)
            at = 0
            while at < len(view):
                try:
                    packet, size = mqtt5.read(view[at:])
                except IndexError:  # not whole yet
                    break
                at += size
                self.take(packet)
            rest = bytes(view[at:])

    def take(self, packet: Any) -> None:
        if isinstance(packet, mqtt5.PublishPacket):
            if packet.packet_id is not None:
                self.outgoing.append(mqtt5.PubAckPacket(packet.packet_id).write())
                self.flush.set()
            response = msgspec.json.decode(packet.payload)
            call = self.calls.get(response["messageId"])
            if call is not None:
                call[1].append(response)
                call[0].set()
        elif isinstance(packet, mqtt5.PubAckPacket):
            self.credit += 1
            if self.waiting:
                self.credit -= 1
                self.outgoing.append(self.waiting.popleft())
                self.flush.set()
        elif isinstance(packet, mqtt5.ConnAckPacket):
            self.credit = packet.receive_max
            topic = mqtt5.TopicFilter(self.response, max_qos=mqtt5.QoS.AT_LEAST_ONCE)
            self.outgoing.append(mqtt5.SubscribePacket(1, [topic]).write())
            self.flush.set()
        elif isinstance(packet, mqtt5.SubAckPacket):
            self.ready.set()


@asynccontextmanager
async def bare(broker: Broker) -> Any:
    stream = await trio.open_tcp_stream("127.0.0.1", broker.port)
    async with stream, trio.open_nursery() as nursery:
        client = BareClient(stream)
        connect = mqtt5.ConnectPacket("bare-caller", clean_start=True, receive_max=100)
        await stream.send_all(connect.write())
        nursery.start_soon(client.write)
        nursery.start_soon(client.read)
        await client.ready.wait()

        async def call() -> None:
            check(await client.call("bench/greet", DATA))

        yield call
        nursery.cancel_scope.cancel()


# -- petalkit


@asynccontextmanager
async def petalkit(broker: Broker, transport: str, protocol: Any) -> Any:
    settings = Settings(
        broker=f"mqtt://127.0.0.1:{broker.port}",
        organization_id=identity(DEVICE).organization_id,
        device_id=DEVICE,
        transport=transport,
        protocol=protocol,
        call_concurrency=IN_FLIGHT,
    )
    async with open_client(settings) as client:

        async def call() -> None:
            check(await client.call("bench/greet", DATA, timeout=ROUND_LIMIT))

        yield call
        found = client.statistics()
        if found.late or found.unreadable or found.misdirected or found.links_lost:
            raise SystemExit(f"petalkit: {found}")


def check(response: Any) -> None:
    if response["success"] is not True or response["message"] != TEXT:
        raise SystemExit(f"a wrong response: {response}")


# -- rounds


@attrs.frozen
class Row:
    name: str
    open: Callable[[], AbstractAsyncContextManager[Call]]
    rounds: list[Measured] = attrs.field(factory=list)


async def one_round(call: Call, count: int) -> Measured:
    """All at once; every one has to be answered."""
    answered = 0

    async def one() -> None:
        nonlocal answered
        await call()
        answered += 1

    with settled(), stopwatch() as elapsed:
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(one)
        measured = elapsed()
    if answered != count:
        raise SystemExit(f"{count - answered} of {count} calls were lost")
    return measured


async def measure(rows: list[Row], count: int, rounds: int) -> None:
    for number in range(rounds + 1):
        progress(f"round {number} of {rounds}" if number else "warming up")
        for row in rows:
            async with row.open() as call:
                await one_round(call, 20)  # what is learned once: where a device answers
                measured = await one_round(call, count)
            if number:
                row.rounds.append(measured)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000, help="at once")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--all", action="store_true", help="the asyncio-mqtt transport too")
    arguments = parser.parse_args()
    count: int = arguments.calls
    with mosquitto() as broker:
        rows = [
            Row("bare client on the mqtt5 codec", lambda: bare(broker)),
            Row("petalkit.client, native", lambda: petalkit(broker, "native", "5")),
        ]
        if arguments.all:
            rows.append(
                Row(
                    "petalkit.client, asyncio-mqtt 3.1.1",
                    lambda: petalkit(broker, "asyncio-mqtt", "3.1.1"),
                )
            )
        path = str(ROOT / "benchmarks" / "_petal.py")
        device = [sys.executable, path, "--transport", "native", "--protocol", "5"]
        with program(broker, DEVICE, device):
            trio.run(measure, rows, count, arguments.rounds)
    print_environment(mosquitto=mosquitto_version(), mqtt5="the codec of `native`")
    print(
        f"{count} calls at once over one client and one device, none lost; {IN_FLIGHT} in flight\n"
    )
    peer = rows[0]
    table: list[list[str]] = []
    for row in rows:
        cpu = [one.cpu / count * 1e6 for one in row.rounds]
        ratios = [one.cpu / other.cpu for one, other in zip(row.rounds, peer.rounds, strict=True)]
        rate = [count / one.wall for one in row.rounds]
        table.append([row.name, spread(cpu), spread(ratios, 2), spread(rate, 0)])
    print_table(["", "CPU us/call", "over bare", "calls/s"], table)
    ratios = sorted(
        one.cpu / other.cpu for one, other in zip(rows[1].rounds, peer.rounds, strict=True)
    )
    print_aim("CPU per call over the bare client's", ratios[len(ratios) // 2], AIM)


if __name__ == "__main__":
    main()
