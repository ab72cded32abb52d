"""A stand-in for the external MQTT client of the guide: HTTP on one side, a broker on the other.

It keeps the facts of that client's API, and does on demand what a client may do wrong. It is a
program of its own, so that it can be killed:

    python -P tests/sidecar_client.py --port 3004 --broker mqtt://127.0.0.1:1883

`GET /health`, `POST /subscribe`, `/unsubscribe`, `/publish`; and `POST /_faults`, which is ours: a
JSON object that changes some of `Faults`, and is answered with what has been counted.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import attrs
import h11
import msgspec
import trio

from petalkit import Settings
from petalkit._values.errors import TransportError
from petalkit._values.messages import Message
from petalkit._values.topics import TopicFilter
from petalkit.transports import ConnectOptions, Delivery, Link, create_transport

CONNECTIONS = 16  # callbacks under way at once
START_LIMIT = 15.0  # seconds


@attrs.define
class Faults:
    """What it does wrong, if anything.

    Attributes:
        age: whose answers it gives: "0.2" says success, "0.1" only says errors.
        health: status that `/health` answers.
        no_broker: how it is without a broker: "" for well; "silent" accepts everything and does
            nothing; "says" answers that it could not.
        slow: seconds before every answer.
        hang: answer nothing but `/health`.
        status: of every answer but to `/health`.
        times: how often each message is delivered.
        tries: how often a delivery is tried that is not answered with success.
        keep_alive: seconds after which an idle connection is closed.
        token: "" does not care; else what requests have to bring.
    """

    age: str = "0.2"
    health: int = 200
    no_broker: str = ""
    slow: float = 0.0
    hang: bool = False
    status: int = 200
    times: int = 1
    tries: int = 1
    keep_alive: float = 3600.0
    token: str = ""


class StandIn:
    """The program."""

    def __init__(self, broker: str, faults: Faults, connections: int) -> None:
        self._broker = broker
        self._port = 0
        self.faults = faults
        self._callbacks: dict[str, str] = {}  # topic -> URL
        self._link: Link | None = None
        self._connections = connections
        self.counted: Counter[str] = Counter()
        self._to_deliver, self._deliveries = trio.open_memory_channel[Delivery](100_000)

    # -- the broker

    async def run(self, port: int) -> None:
        self._port = port
        async with trio.open_nursery() as nursery:
            for _ in range(self._connections):
                nursery.start_soon(self._deliver)
            listen = functools.partial(trio.serve_tcp, self._serve, port, host="127.0.0.1")
            await nursery.start(listen)
            while True:
                try:
                    await self._hold_link()
                except TransportError as error:
                    logging.warning("no broker: %s", error)
                self._link = None
                await trio.sleep(0.1)

    async def _hold_link(self) -> None:
        settings = Settings(broker=self._broker, transport="native")
        options = ConnectOptions(
            client_id=f"sidecar-{self._port}", clean_start=True, session_expiry=0
        )
        async with create_transport(settings).connect(options) as link:
            for topic in self._callbacks:
                await link.subscribe([TopicFilter(topic)])
            self._link = link
            while True:
                for delivery in await link.receive():
                    delivery.ack()
                    self._to_deliver.send_nowait(delivery)

    async def _deliver(self) -> None:
        poster = Poster()
        async for delivery in self._deliveries.clone():
            url = self._callback(delivery.topic)
            if url is None:
                continue
            try:
                payload = msgspec.json.decode(delivery.payload)
            except msgspec.DecodeError:
                continue
            body = msgspec.json.encode(
                {"topic": delivery.topic, "payload": payload, "qos": delivery.qos}
            )
            for _ in range(self.faults.times):
                for number in range(self.faults.tries):
                    if number:
                        await trio.sleep(0.2)
                    status = await poster.post(url, body)
                    self.counted[f"delivered {status}"] += 1
                    if status == 200:
                        break

    def _callback(self, topic: str) -> str | None:
        for text, url in self._callbacks.items():
            if TopicFilter(text).matches(topic):
                return url
        return None

    # -- HTTP

    async def _serve(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        while True:
            request: h11.Request | None = None
            body = b""
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    data = b""
                    with trio.move_on_after(self.faults.keep_alive):
                        try:
                            data = bytes(await stream.receive_some(65_536))
                        except trio.BrokenResourceError:
                            return
                    connection.receive_data(data)
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    break
                else:
                    return
            assert request is not None
            path = request.target.decode()
            headers = dict(request.headers)
            status, fields = await self._answer(path, body, headers)
            answer = msgspec.json.encode(fields)
            data = connection.send(
                h11.Response(
                    status_code=status,
                    headers=[
                        ("content-type", "application/json"),
                        ("content-length", str(len(answer))),
                    ],
                )
            )
            data += connection.send(h11.Data(data=answer)) or b""
            data += connection.send(h11.EndOfMessage()) or b""
            try:
                await stream.send_all(data)
            except trio.BrokenResourceError:
                return
            if connection.our_state is not h11.DONE:
                return
            connection.start_next_cycle()

    async def _answer(
        self, path: str, body: bytes, headers: dict[bytes, bytes]
    ) -> tuple[int, dict[str, Any]]:
        faults = self.faults
        if path == "/_faults":
            self.faults = attrs.evolve(faults, **msgspec.json.decode(body))
            return 200, {**self.counted, "subscriptions": dict(self._callbacks)}
        self.counted[path] += 1
        if path == "/health":
            return faults.health, {"status": "ok"}
        if faults.token and headers.get(b"authorization") != f"Bearer {faults.token}".encode():
            return 401, {"error": "who are you?"}
        await trio.sleep(faults.slow)
        if faults.hang:
            await trio.sleep_forever()
        if faults.status != 200:
            return faults.status, {"error": f"on demand: {faults.status}"}
        if faults.no_broker == "silent":
            return 200, self._success()
        if faults.no_broker == "says" or self._link is None:
            return 200, {"success": False, "error": "no broker"}
        fields = msgspec.json.decode(body)
        try:
            await self._act(path, fields, self._link)
        except TransportError as error:
            return 500, {"error": str(error)}
        return 200, self._success()

    def _success(self) -> dict[str, Any]:
        return {"success": True} if self.faults.age == "0.2" else {"status": "ok"}

    async def _act(self, path: str, fields: dict[str, Any], link: Link) -> None:
        topic = fields["topic"]
        match path:
            case "/publish":
                assert isinstance(fields["payload"], dict)
                payload = json.dumps(fields["payload"]).encode()
                await link.publish(Message(topic, payload, fields["qos"]))
            case "/subscribe":
                self._callbacks[topic] = fields["callbackUrl"]
                await link.subscribe([TopicFilter(topic)])
            case "/unsubscribe":
                self._callbacks.pop(topic, None)
                await link.unsubscribe([TopicFilter(topic)])


class Poster:
    """One kept connection to wherever messages are to be sent."""

    def __init__(self) -> None:
        self._stream: trio.SocketStream | None = None
        self._state = h11.Connection(h11.CLIENT)

    async def post(self, url: str, body: bytes) -> int:
        """The status of the answer; 0 without one."""
        kept = self._stream is not None
        try:
            return await self._post(url, body)
        except (OSError, trio.BrokenResourceError, h11.ProtocolError):
            await self._drop()
        if not kept:
            return 0
        try:  # it was closed while it was idle
            return await self._post(url, body)
        except (OSError, trio.BrokenResourceError, h11.ProtocolError):
            await self._drop()
            return 0

    async def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await trio.aclose_forcefully(stream)

    async def _post(self, url: str, body: bytes) -> int:
        to = urlsplit(url)
        if self._stream is None:
            self._stream = await trio.open_tcp_stream(to.hostname or "", to.port or 80)
            self._state = h11.Connection(h11.CLIENT)
        send = self._state.send
        headers = [
            ("host", to.netloc),
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
        ]
        target = to.path + (f"?{to.query}" if to.query else "")
        data = send(h11.Request(method="POST", target=target, headers=headers)) or b""
        data += send(h11.Data(data=body)) or b""
        data += send(h11.EndOfMessage()) or b""
        await self._stream.send_all(data)
        status = 0
        while True:
            event = self._state.next_event()
            if event is h11.NEED_DATA:
                self._state.receive_data(await self._stream.receive_some(65_536))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.EndOfMessage):
                break
            elif isinstance(event, h11.ConnectionClosed):
                raise trio.BrokenResourceError
        if self._state.our_state is self._state.their_state is h11.DONE:
            self._state.start_next_cycle()
        else:
            await self._drop()
        return status


class SidecarProcess:
    """The program, started; can be killed and started again on the same port.

    Args:
        port: a free one.
        broker: its address.
        faults: some of `Faults`, from the start.
        log: a file for its output.
        connections: callbacks under way at once.
    """

    def __init__(
        self,
        port: int,
        broker: str,
        log: Path,
        *,
        connections: int = CONNECTIONS,
        **faults: Any,
    ) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._log = log
        self._command = [
            *(sys.executable, "-P", __file__),  # its folder has a `typing` of its own
            *("--port", str(port), "--broker", broker, "--connections", str(connections)),
            *("--faults", json.dumps(faults)),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert self._process is None
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    async def ready(self) -> None:
        """Wait until it has a broker."""
        with trio.fail_after(START_LIMIT):
            while True:
                assert self._process is not None
                assert self._process.poll() is None, self._log.read_text()
                try:
                    await self.faults()
                    return
                except OSError:
                    await trio.sleep(0.02)

    def kill(self) -> None:
        """As a crash would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(START_LIMIT)

    async def faults(self, **changes: Any) -> dict[str, Any]:
        """Change what it does wrong; what it has counted so far."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with stream:
            body = json.dumps(changes).encode()
            head = "POST /_faults HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            await stream.send_all(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            answer = b""
            with trio.fail_after(START_LIMIT):
                async for part in stream:
                    answer += part
        found: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
        return found

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--faults", type=json.loads, default={})
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    stand_in = StandIn(arguments.broker, Faults(**arguments.faults), arguments.connections)
    run: Callable[[int], Awaitable[None]] = stand_in.run
    with contextlib.suppress(KeyboardInterrupt):
        trio.run(run, arguments.port)


if __name__ == "__main__":
    main()
