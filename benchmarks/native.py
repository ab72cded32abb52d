"""The native path without a kernel: bytes of a PUBLISH in, bytes of the response out.

One process, no socket: the broker is a stream in memory that answers what is written to it, with
MQTT 5 at QoS 1 both ways and a Receive Maximum of 20, as mosquitto has. So what is measured is
petalkit, the codec and Trio alone. The bare Trio loop of broker.py runs over the same stream, if
orjson is installed. To see where the time goes: `py-spy record -- python benchmarks/native.py`.
"""

from __future__ import annotations

import argparse
import collections
import importlib.util
import logging
import sys
import time
from collections.abc import Awaitable, Callable

import mqtt5
import trio
import trio.testing

from _common import identity, make_commands, print_environment, print_table, settled, spread
from _petal import BenchPetal
from petalkit import Settings, open_runtime
from petalkit.transports.native import NativeTransport

DEVICE = "native"
RECEIVE_MAXIMUM = 20
LIMIT = 60.0  # seconds for one measurement
LAST_ID = 60_000

Measured = Callable[[float], None]


class BrokerStream(trio.abc.Stream):
    """The client's end of a stream to a broker that is not there.

    Args:
        commands: PUBLISH packets, each answered by one PUBLISH at QoS 1.
        window: how many of them may be unanswered.
    """

    def __init__(self, commands: list[bytes], window: int) -> None:
        self._commands = commands
        self._window = window
        self._incoming: list[bytes] = []
        self._arrived = trio.Event()
        self._sent = self._answered = 0
        self._running = False
        self.sends = 0
        self.done = trio.Event()

    def begin(self) -> None:
        """Send the first commands."""
        self._running = True
        self.sends = 0
        self._sent = self._window
        self._put(b"".join(self._commands[: self._window]))

    def _put(self, data: bytes) -> None:
        self._incoming.append(data)
        self._arrived.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while not self._incoming:
            self._arrived = trio.Event()
            await self._arrived.wait()
        data = b"".join(self._incoming)
        self._incoming.clear()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.sends += 1
        answer = self._answer_run(bytes(data)) if self._running else self._answer(data)
        if answer:
            self._put(answer)

    def _answer(self, data: bytes | bytearray | memoryview) -> bytes:
        """Of a broker at leisure: connecting, subscribing, the birth."""
        answer = b""
        view = memoryview(data)
        while view:
            packet, size = mqtt5.read(view)
            view = view[size:]
            if isinstance(packet, mqtt5.ConnectPacket):
                answer += mqtt5.ConnAckPacket(receive_max=RECEIVE_MAXIMUM).write()
            elif isinstance(packet, mqtt5.SubscribePacket):
                codes = [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE] * len(
                    packet.topic_filters
                )
                answer += mqtt5.SubAckPacket(packet.packet_id, codes).write()
            elif isinstance(packet, mqtt5.PublishPacket) and packet.packet_id:
                answer += mqtt5.PubAckPacket(packet.packet_id).write()
        return answer

    def _answer_run(self, data: bytes) -> bytes:
        """PUBACK for each response, and the next commands. Only headers are looked at."""
        answer = bytearray()
        at = 0
        while at < len(data):
            size, header = data[at + 1], 2
            if size & 0x80:
                size, header = size & 0x7F | data[at + 2] << 7, 3
            body = at + header
            if data[at] == 0x32:  # PUBLISH, QoS 1
                topic = data[body] << 8 | data[body + 1]
                answer += b"\x40\x02" + data[body + 2 + topic : body + 4 + topic]
                self._answered += 1
            at = body + size
        upto = min(self._answered + self._window, len(self._commands))
        answer += b"".join(self._commands[self._sent : upto])
        self._sent = upto
        if self._answered >= len(self._commands):
            self._running = False
            self.done.set()
        return bytes(answer)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def packets(count: int) -> list[bytes]:
    topic = identity(DEVICE).topic("command")
    return [
        mqtt5.PublishPacket(
            topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=number % LAST_ID + 1
        ).write()
        for number, (_, payload) in enumerate(make_commands(count))
    ]


Program = Callable[[BrokerStream, Measured], Awaitable[None]]


async def run_petalkit(stream: BrokerStream, measured: Measured) -> None:
    who = identity(DEVICE)
    settings = Settings(
        organization_id=who.organization_id, device_id=who.device_id, transport="native"
    )

    async def open_stream() -> trio.abc.Stream:
        return stream

    transport = NativeTransport(settings, open_stream=open_stream)
    async with open_runtime([BenchPetal()], settings, transport=transport) as runtime:
        await runtime.wait_connected()
        await trio.testing.wait_all_tasks_blocked()
        measured(await run_once(stream))


async def run_bare(stream: BrokerStream, measured: Measured) -> None:
    import _bare_trio_mqtt5
    from _bare_work import Place

    arguments, sys.argv = sys.argv, [sys.argv[0], "--port", "1", "--device", DEVICE]
    program = _bare_trio_mqtt5.Program(stream, Place())  # type: ignore[arg-type]
    sys.argv = arguments
    async with trio.open_nursery() as nursery:
        nursery.start_soon(program.run)
        await trio.testing.wait_all_tasks_blocked()
        measured(await run_once(stream))
        nursery.cancel_scope.cancel()


async def run_once(stream: BrokerStream) -> float:
    """CPU seconds from the first command to the last response."""
    with settled(), trio.fail_after(LIMIT):
        before = time.process_time()
        stream.begin()
        await stream.done.wait()
        return time.process_time() - before


def measure(program: Program, commands: list[bytes], window: int) -> float:
    found: list[float] = []
    trio.run(program, BrokerStream(commands, window), found.append)
    return found[0] / len(commands) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--commands", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--window", type=int, action="append", help="again and again: 1, 16, 64")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    print_environment()
    programs: dict[str, Program] = {"petalkit native": run_petalkit}
    if importlib.util.find_spec("orjson") is not None:
        programs["bare Trio loop"] = run_bare
    windows = options.window or [1, 16, 64]
    found: dict[tuple[str, int], list[float]] = collections.defaultdict(list)
    for number in range(options.rounds + 1):
        for window in windows:
            for name, program in programs.items():
                spent = measure(program, packets(options.commands), window)
                if number:  # the first round warms up
                    found[name, window].append(spent)
    head = ["CPU us/command", *(f"{window} under way" for window in windows)]
    print_table(
        head, [[name, *(spread(found[name, window]) for window in windows)] for name in programs]
    )


if __name__ == "__main__":
    main()
