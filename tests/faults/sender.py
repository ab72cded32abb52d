"""The driver's own connection to the broker, which nothing goes wrong with: sends, and is answered.

All that it sends and gets is an event of the history. It sends again only what it is told to.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from petalkit import Settings, TransportError
from petalkit._values.messages import Message
from petalkit._values.topics import TopicFilter
from petalkit.transports import ConnectOptions, Link, create_transport

from .device import BASE
from .history import ASK, Event, History, Invoked, Response, SecondPhase, Taken, Told

PATIENCE = 25.0  # seconds without any response, after which what is open is given up
PATIENCE_SLOW = 90.0  # the same where the line is slow
ROUND_TRIP = 10.0  # seconds for a message to ourselves

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Client:
    """See the module.

    Attributes:
        history: what it adds its events to.
        sent: what was sent last under each messageId.
        open: messageIds without a response.
        responses: how many came.
        patience: seconds without any, after which what is open is given up.
        latencies: seconds from the first sending to the first response.
    """

    def __init__(self, link: Link, history: History) -> None:
        self._link = link
        self.history = history
        self.sent: dict[str, tuple[Invoked, Message]] = {}
        self.open: dict[str, float] = {}
        self.responses = 0
        self.patience = PATIENCE
        self.latencies: list[float] = []
        self.answers: dict[str, dict[str, Any]] = {}  # of those who wait for one
        self._waited_for: set[str] = set()
        self._taken = 0
        self._progress = trio.Event()
        self._marks: set[str] = set()
        self.jobs: dict[str, str] = {}  # the command that has started each
        self._questions = itertools.count()

    def _add(self, event: Event) -> None:
        self.history.add(event)

    # -- what comes

    async def read(self) -> None:
        """Until cancelled."""
        response, web = f"{BASE}/response", f"{BASE}/command/web"
        while True:
            for delivery in await self._link.receive():
                delivery.ack()
                if delivery.topic == response:
                    self._take(_decode(delivery.payload))
                elif delivery.topic == web:
                    self._take_event(_decode(delivery.payload))
                else:
                    self._marks.add(delivery.payload.decode())
            self._progress.set()
            self._progress = trio.Event()

    def _take(self, fields: dict[str, Any]) -> None:
        now = time.monotonic()
        message_id = str(fields["messageId"])
        if not message_id.startswith(ASK):
            self._add(Response(at=now, message_id=message_id, fields=fields))
            self.responses += 1
            if "job_id" in fields:
                self.jobs[fields["job_id"]] = self.sent[message_id][0].command
        since = self.open.pop(message_id, None)
        if since is not None:
            self.latencies.append(now - since)
        if message_id in self._waited_for:
            self.answers[message_id] = fields

    def _take_event(self, event: dict[str, Any]) -> None:
        now, fields = time.monotonic(), event["data"]
        if "stream_payload" in fields:
            of = fields["stream_payload"]
            self._add(Told(at=now, job_id=of["job_id"], fields=of, to_readers=True))
        else:
            self._add(SecondPhase(at=now, message_id=event["messageId"], fields=fields))

    async def ask(self, command: str, data: dict[str, Any], patience: float) -> dict[str, Any]:
        """Ask something that is not to be in the history; empty where no answer came in time."""
        message_id = f"{ASK}{next(self._questions)}"
        envelope = {
            "command": command, "messageId": message_id, "waitResponse": True, "data": data,
        }  # fmt: skip
        await self._link.publish(Message(f"{BASE}/command", _encode(envelope)))
        self._waited_for.add(message_id)
        with trio.move_on_after(patience):
            await self.wait(lambda: message_id in self.answers)
        return self.answers.pop(message_id, {})

    async def wait(self, condition: Callable[[], object], patience: float | None = None) -> bool:
        """Wait until it is true; False when nothing at all has come for so long before that."""
        while not condition():
            limit = self.patience if patience is None else patience
            with trio.move_on_after(limit) as scope:
                await self._progress.wait()
            if scope.cancelled_caught:
                return bool(condition())
        return True

    # -- what goes

    async def send(
        self, command: str, message_id: str, n: int, sender: str, data: dict[str, Any]
    ) -> None:
        """Send a command for the first time; returns when it is on its way."""
        envelope = {
            "command": command, "messageId": message_id, "waitResponse": True,
            "data": {"n": n, **data},
        }  # fmt: skip
        message = Message(f"{BASE}/command", _encode(envelope))
        self.open[message_id] = time.monotonic()
        invoked = Invoked(at=0.0, message_id=message_id, command=command, n=n, sender=sender)
        self.sent[message_id] = (invoked, message)
        await self.send_again(message_id)

    async def send_again(self, message_id: str) -> None:
        """Send the very same once more."""
        invoked, message = self.sent[message_id]

        def on_done(error: TransportError | None) -> None:
            assert error is None, error  # our own connection does not fail
            self._add(Taken(at=time.monotonic(), message_id=message_id))

        while True:
            try:
                self._link.publish_nowait(message, on_done)
                break
            except trio.WouldBlock:
                await self._link.wait_publishable()
        # It leaves at the next checkpoint, and not earlier.
        self._add(msgspec.structs.replace(invoked, at=time.monotonic()))

    async def send_all_open_again(self) -> int:
        """What is not answered, in the order in which it was sent."""
        names = list(self.open)
        for message_id in names:
            if message_id in self.open:
                await self.send_again(message_id)
        return len(names)

    async def call(self, command: str, message_id: str) -> dict[str, Any] | None:
        """Send one that must be answered soon; None if it is not."""
        self._waited_for.add(message_id)
        await self.send(command, message_id, 0, "calls", {})
        await self.wait(lambda: message_id in self.answers)
        return self.answers.get(message_id)

    async def round_trip(self) -> None:
        """What the broker had for us before this was called is here when this returns."""
        mark = f"mark-{time.monotonic_ns()}"
        await self._link.publish(Message("driver/mark", mark.encode()))
        with trio.fail_after(ROUND_TRIP):
            await self.wait(lambda: mark in self._marks)
        self._marks.discard(mark)


@asynccontextmanager
async def open_client(url: str, history: History) -> AsyncGenerator[Client]:
    """Connect straight to the broker, and read while the block runs."""
    transport = create_transport(Settings(broker=url, transport="native"))
    options = ConnectOptions(
        client_id="driver", clean_start=True, session_expiry=0, receive_maximum=1000,
        publish_maximum=1000,
    )  # fmt: skip
    async with transport.connect(options) as link:
        await link.subscribe(
            [
                TopicFilter(f"{BASE}/response"),
                TopicFilter("driver/mark"),
                TopicFilter(f"{BASE}/command/web"),
            ]
        )
        client = Client(link, history)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.read)
            yield client
            nursery.cancel_scope.cancel()
