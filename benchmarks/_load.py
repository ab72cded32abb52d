"""The load generator of the broker benchmarks: MQTT 3.1.1 over one socket, and closed loops.

A library in its place would cost more than the programs under test and be the bottleneck, so this
writes its few packets itself: QoS 0 and 1, one `send` and one `recv` per wake-up. It is in the
benchmark's own process, so it is in no program's CPU time.
"""

from __future__ import annotations

import itertools
import select
import socket
import struct
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import attrs
import msgspec

from _common import check_response

CONNECT_LIMIT = 10.0  # seconds
QUIET_LIMIT = 10.0  # seconds without a packet after which what is missing counts as lost
LOOP_LIMIT = 60.0  # seconds for a closed loop

_CONNACK, _PUBLISH, _PUBACK, _SUBACK = 0x20, 0x30, 0x40, 0x90


class BenchmarkError(Exception):
    """The benchmark cannot say anything: what it needs does not work."""


class Client:
    """A client of one broker on loopback, for one thread.

    Args:
        port: of the broker.
        name: for its client ID, which a number makes unique; its session is not kept.
    """

    _numbers = itertools.count()

    def __init__(self, port: int, name: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), CONNECT_LIMIT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._packet_id = 0
        self.unacknowledged = 0
        client_id = f"{name}-{next(self._numbers)}".encode()
        head = b"\x00\x04MQTT\x04\x02\x00\x00"  # 3.1.1, a clean session, no keep alive
        self._packet(0x10, head + struct.pack(">H", len(client_id)) + client_id)
        self._answers: list[tuple[int, bytes]] = []
        self._early: list[tuple[str, bytes]] = []
        self._await_answer(_CONNACK)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def subscribe(self, *topics: str) -> None:
        """At QoS 1; waits for the SUBACK."""
        body = struct.pack(">H", self._next_id())
        for topic in topics:
            body += struct.pack(">H", len(topic)) + topic.encode() + b"\x01"
        self._packet(0x82, body)
        if 0x80 in self._await_answer(_SUBACK)[2:]:
            raise BenchmarkError(f"the broker refuses {topics}")

    def publish(self, topic: str, payload: bytes, qos: int = 1) -> None:
        """Into the buffer; `poll` sends it."""
        body = struct.pack(">H", len(topic)) + topic.encode()
        if qos:
            body += struct.pack(">H", self._next_id())
            self.unacknowledged += 1
        self._packet(_PUBLISH | qos << 1, body + payload)

    def poll(self, limit: float) -> list[tuple[str, bytes]]:
        """Send what is buffered and return what has come: nothing when `limit` s have passed.

        The PUBACKs that are owed for it are in the buffer then.
        """
        if self._early:
            early, self._early = self._early, []
            return early
        return self._exchange(limit)

    def _exchange(self, limit: float) -> list[tuple[str, bytes]]:
        self.send()
        ways = select.select([self._socket], [self._socket] if self._outgoing else [], [], limit)
        if not ways[0]:
            return []
        data = self._socket.recv(1 << 18)
        if not data:
            raise BenchmarkError("the broker has closed the connection")
        self._incoming += data
        return self._parse()

    def _next_id(self) -> int:
        self._packet_id = self._packet_id % 65_535 + 1
        return self._packet_id

    def _packet(self, kind: int, body: bytes) -> None:
        self._outgoing.append(kind)
        size = len(body)
        while size > 127:
            self._outgoing.append(size & 127 | 128)
            size >>= 7
        self._outgoing.append(size)
        self._outgoing += body

    def send(self) -> None:
        """What the socket takes now of what is buffered."""
        while self._outgoing:
            try:
                del self._outgoing[: self._socket.send(self._outgoing)]
            except BlockingIOError:
                return

    def _parse(self) -> list[tuple[str, bytes]]:
        data = self._incoming
        messages: list[tuple[str, bytes]] = []
        start = 0
        while (found := _body(data, start)) is not None:
            begin, end = found
            kind = data[start]
            if kind & 0xF0 == _PUBLISH:
                topic_end = begin + 2 + int.from_bytes(data[begin : begin + 2])
                topic = data[begin + 2 : topic_end].decode()
                if kind & 6:
                    self._outgoing += b"\x40\x02" + data[topic_end : topic_end + 2]
                    topic_end += 2
                messages.append((topic, bytes(data[topic_end:end])))
            elif kind == _PUBACK:
                self.unacknowledged -= 1
            else:
                self._answers.append((kind, bytes(data[begin:end])))
            start = end
        del data[:start]
        return messages

    def _await_answer(self, kind: int) -> bytes:
        limit = time.monotonic() + CONNECT_LIMIT
        while time.monotonic() < limit:
            self._early += self._exchange(0.1)  # a retained message can come before the SUBACK
            for answer in self._answers:
                if answer[0] == kind:
                    self._answers.remove(answer)
                    return answer[1]
        raise BenchmarkError(f"no packet {kind:#x} from the broker")


def _body(data: bytearray, start: int) -> tuple[int, int] | None:
    """Where a packet's body begins and ends; None while it has not come whole."""
    size = shift = 0
    at = start + 1
    while at < len(data):
        size |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return (at, at + size) if at + size <= len(data) else None
    return None


@attrs.frozen
class Loop:
    """What a closed loop saw: seconds for all, its own CPU, and seconds of each round trip."""

    wall: float
    cpu: float
    round_trips: list[float]


def closed_loop(
    client: Client, base: str, commands: Sequence[tuple[str, bytes]], window: int
) -> Loop:
    """Send commands at QoS 1, `window` of them under way; every response is checked.

    Raises:
        BenchmarkError: an answer is missing, or came twice, or all of it takes too long.
    """
    topic = f"{base}/command"
    clock = time.perf_counter
    sent_at: dict[str, float] = {}
    round_trips: list[float] = []
    waiting = iter(commands)
    began, cpu = clock(), time.process_time()

    def send() -> None:
        message_id, payload = next(waiting, ("", b""))
        if payload:
            client.publish(topic, payload)
            sent_at[message_id] = clock()

    for _ in range(window):
        send()
    while len(round_trips) < len(commands):
        messages = client.poll(QUIET_LIMIT)
        if not messages and len(sent_at) and clock() - max(sent_at.values()) > QUIET_LIMIT:
            raise BenchmarkError(f"{len(sent_at)} commands were not answered")
        if clock() - began > LOOP_LIMIT:
            raise BenchmarkError(f"only {len(round_trips)} answers within {LOOP_LIMIT:g} s")
        for _, payload in messages:
            try:
                round_trips.append(clock() - sent_at.pop(check_response(payload)))
            except KeyError:
                raise BenchmarkError(f"answered twice: {payload!r}") from None
            send()
    return Loop(clock() - began, time.process_time() - cpu, round_trips)


@attrs.frozen
class Flood:
    """What became of many commands sent at once."""

    wall: float
    answered: int
    twice: int
    refused: int


def flood(
    client: Client,
    base: str,
    commands: Sequence[tuple[str, bytes]],
    qos: int,
    *,
    limit: float = 60.0,
    ahead: int | None = None,
) -> Flood:
    """Send everything without waiting, then count what is answered until it is quiet.

    It ends when everything is answered, after 10 s of quiet, and after `limit` seconds in any case.
    With `ahead` no more than so many are unanswered at once.
    """
    topic = f"{base}/command"
    waiting = iter(commands)
    missing = {message_id for message_id, _ in commands}
    answered = twice = refused = 0
    began = last = time.perf_counter()
    for number, (_, payload) in enumerate(itertools.islice(waiting, ahead)):
        client.publish(topic, payload, qos)
        if number % 100 == 99:
            client.send()
    while missing and time.perf_counter() - last < QUIET_LIMIT and last - began < limit:
        for _, payload in client.poll(1.0):
            response = msgspec.json.decode(payload)
            last = time.perf_counter()
            if response["messageId"] not in missing:
                twice += 1
                continue
            missing.discard(response["messageId"])
            for _, following in itertools.islice(waiting, 1):
                client.publish(topic, following, qos)
            if response["success"]:
                answered += 1
            else:
                refused += 1
    return Flood(last - began, answered, twice, refused)
