"""What the stories are told with: a started program, a client that sees everything, a proxy.

The rule: nothing here sleeps in the hope that something has happened. Every wait polls for, or is
woken by, what it waits for, and ends with an error that shows what there was instead.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest
import trio

from petalkit import Settings
from petalkit._values.messages import Message
from petalkit._values.topics import TopicFilter
from petalkit.transports import ConnectOptions, Link, create_transport

LIMIT = 30.0  # seconds for anything; only a test that fails gets near it
POLL = 0.02
BASE = "org/acme/device/Instance-1"
SESSION = "petalkit-acme-Instance-1"  # the client ID of that device
WHO = ("--organization-id", "acme", "--device-id", "Instance-1")
# The same stories over each transport and protocol, as arguments of the command line.
Wire: TypeAlias = tuple[str, str]
WIRES = pytest.mark.parametrize(
    "wire",
    [("--protocol", "3.1.1"), ("--protocol", "5"), ("--transport", "native")],
    ids=["3.1.1", "5", "native"],
)
PETALKIT = Path(sys.executable).with_name("petalkit")  # the console script


async def until(condition: Callable[[], object], shown: Callable[[], str], limit: float) -> None:
    """Wait until `condition` holds; else fail with what `shown` gives."""
    with trio.move_on_after(limit):
        while not condition():
            await trio.sleep(POLL)
        return
    raise AssertionError(f"not within {limit:g} s; there was:\n{shown()}")


class Program:
    """A started `petalkit`, its output in a file."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._output = folder / f"output-{len(list(folder.glob('output-*')))}"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [PETALKIT, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={
                    **os.environ,
                    "PYTHONUNBUFFERED": "1",
                    "XDG_STATE_HOME": str(folder / "state"),  # where the journal is
                },
            )

    @property
    def text(self) -> str:
        """What it has said so far."""
        return self._output.read_text(encoding="utf-8")

    def count(self, pattern: str) -> int:
        return len(re.findall(pattern, self.text))

    async def said(self, pattern: str, times: int = 1, limit: float = LIMIT) -> None:
        """Wait until it has said something, so often at least."""

        def seen() -> bool:
            count = self.count(pattern)
            assert count >= times or self.process.poll() is None, f"it ended:\n{self.text}"
            return count >= times

        await until(seen, lambda: f"no {pattern!r} x {times} in\n{self.text}", limit)

    async def connected(self, times: int = 1) -> None:
        """Wait until it serves, for the so-many-th time."""
        await self.said("connected as client", times)

    async def ended(self, limit: float = LIMIT) -> int:
        """Wait until it has ended, and return its exit code."""
        await until(lambda: self.process.poll() is not None, lambda: self.text, limit)
        code = self.process.returncode
        assert code is not None
        return code

    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def close(self) -> None:
        """Kill it, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(LIMIT)


@attrs.frozen
class Seen:
    """One message as it was delivered to the observer."""

    topic: str
    payload: bytes
    retain: bool

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.payload)
        return found


class Observer:
    """Another client of the broker: keeps all it is sent, and sends commands."""

    def __init__(self, link: Link, base: str) -> None:
        self.link = link
        self.base = base
        self.seen: list[Seen] = []
        self._more = trio.Event()

    async def read(self) -> None:
        while True:
            for delivery in await self.link.receive():
                delivery.ack()
                self.seen.append(Seen(delivery.topic, delivery.payload, delivery.retain))
            self._more.set()
            self._more = trio.Event()

    # -- what came

    def on(self, topic: str, base: str | None = None) -> list[Seen]:
        wanted = f"{base or self.base}/{topic}"
        return [each for each in self.seen if each.topic == wanted]

    def answers(self, base: str | None = None) -> dict[str, list[dict[str, Any]]]:
        """All responses, by messageId."""
        found: dict[str, list[dict[str, Any]]] = {}
        for each in self.on("response", base):
            found.setdefault(each.json["messageId"], []).append(each.json)
        return found

    def statuses(self, base: str | None = None) -> list[str]:
        return [each.json["status"] for each in self.on("status", base)]

    async def wait(self, condition: Callable[[], object], limit: float = LIMIT) -> None:
        """Wait until something is true of what came."""
        with trio.move_on_after(limit):
            while not condition():
                await self._more.wait()
            return
        shown = "\n".join(f"{each.topic} {each.payload[:200]!r}" for each in self.seen[-30:])
        raise AssertionError(f"not within {limit:g} s; the last of {len(self.seen)}:\n{shown}")

    async def answer(self, message_id: str, limit: float = LIMIT) -> dict[str, Any]:
        """Wait for a response, which has to be the only one so far."""
        await self.wait(lambda: message_id in self.answers(), limit)
        (found,) = self.answers()[message_id]
        return found

    # -- what goes

    def command(
        self, name: str, message_id: str, data: dict[str, Any], topic: str = "command"
    ) -> Message:
        envelope = {"command": name, "messageId": message_id, "waitResponse": True, "data": data}
        return Message(f"{self.base}/{topic}", json.dumps(envelope).encode())

    async def send(
        self, name: str, message_id: str, topic: str = "command", /, **data: Any
    ) -> None:
        """Send one command; returns at the broker's PUBACK."""
        with trio.fail_after(LIMIT):
            await self.link.publish(self.command(name, message_id, data, topic))

    async def call(self, name: str, message_id: str, /, **data: Any) -> dict[str, Any]:
        await self.send(name, message_id, **data)
        return await self.answer(message_id)

    async def flood(self, name: str, message_ids: list[str], **data: Any) -> None:
        """Send a command many times, as fast as the broker takes them; returns at the last PUBACK.

        Every command gets its place in `message_ids` as `n`.
        """
        owed = len(message_ids)
        done = trio.Event()
        refused: list[Exception] = []

        def on_done(error: Exception | None) -> None:
            nonlocal owed
            owed -= 1
            if error is not None:
                refused.append(error)
            if owed == 0:
                done.set()

        with trio.fail_after(2 * LIMIT):
            for n, message_id in enumerate(message_ids):
                message = self.command(name, message_id, {**data, "n": n})
                while True:
                    try:
                        self.link.publish_nowait(message, on_done)
                        break
                    except trio.WouldBlock:
                        await self.link.wait_publishable()
            await done.wait()
        assert not refused


@asynccontextmanager
async def observe(
    url: str, *filters: str, name: str = "observer", base: str = BASE, **settings: Any
) -> AsyncGenerator[Observer]:
    """Subscribe, to `base` and all under it unless told else, while the block runs."""
    transport = create_transport(Settings(broker=url, **settings))
    options = ConnectOptions(client_id=name, clean_start=True, session_expiry=0)
    async with transport.connect(options) as link:
        await link.subscribe([TopicFilter(each) for each in filters or (f"{base}/#",)])
        observer = Observer(link, base)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(observer.read)
            try:
                yield observer
            finally:
                nursery.cancel_scope.cancel()


class Proxy:
    """TCP over loopback to a broker: the network between it and the device, which can be away."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._scopes: set[trio.CancelScope] = set()
        self._away = False
        self.refused = 0  # connections that came meanwhile
        self.port = 0

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            serve = functools.partial(trio.serve_tcp, self._serve, 0, host="127.0.0.1")
            listeners: list[trio.SocketListener] = await nursery.start(serve)
            self.port = listeners[0].socket.getsockname()[1]
            task_status.started()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    async def _serve(self, device: trio.SocketStream) -> None:
        if self._away:
            self.refused += 1
            return
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                broker = await trio.open_tcp_stream("127.0.0.1", self._target)
                async with broker, trio.open_nursery() as nursery:
                    nursery.start_soon(self._pass_on, device, broker, nursery.cancel_scope)
                    nursery.start_soon(self._pass_on, broker, device, nursery.cancel_scope)
            finally:
                self._scopes.discard(scope)

    async def _pass_on(
        self, source: trio.SocketStream, target: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        try:
            async for data in source:
                await target.send_all(data)
        except trio.BrokenResourceError:
            pass
        scope.cancel()

    def go_away(self) -> None:
        """Cut what is connected, and let nothing new through."""
        self._away = True
        for scope in self._scopes:
            scope.cancel()

    def come_back(self) -> None:
        self._away = False


async def at_once(*calls: Callable[[], Awaitable[Any]]) -> None:
    """Run them side by side, and wait for all."""
    async with trio.open_nursery() as nursery:
        for each in calls:
            nursery.start_soon(each)
