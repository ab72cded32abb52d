"""MQTT over WebSockets in front of a broker that has none: Debian's mosquitto is built without.

The WebSocket end is the library `websockets`, so that petalkit's is not tried against itself. It
runs in threads of its own; leaving the context ends them.
"""

from __future__ import annotations

import contextlib
import http
import socket
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

DISCONNECT = b"\xe0\x00"  # MQTT 5.0, section 3.14: a normal end


class Bridge:
    """Where it listens, and what it has seen.

    Attributes:
        closes: the close codes that clients have sent, complete when the context has ended.
        handlers: one for each connection so far.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.closes: list[int | None] = []
        self.handlers: list[threading.Thread] = []
        self._target = target

    def handle(self, client: ServerConnection) -> None:
        self.handlers.append(threading.current_thread())
        with socket.create_connection(("127.0.0.1", self._target)) as broker:
            broker.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            leaving = threading.Event()
            args = (broker, client, leaving)
            back = threading.Thread(target=self._pass_back, args=args, daemon=True)
            back.start()
            try:
                for message in client:
                    assert isinstance(message, bytes)
                    if message.endswith(DISCONNECT):
                        leaving.set()
                    broker.sendall(message)
            except (ConnectionClosed, OSError):
                pass
            self.closes.append(
                client.protocol.close_rcvd.code if client.protocol.close_rcvd else None
            )
            with contextlib.suppress(OSError):
                broker.shutdown(socket.SHUT_RDWR)
            back.join(10)

    def _pass_back(
        self, broker: socket.socket, client: ServerConnection, leaving: threading.Event
    ) -> None:
        with contextlib.suppress(ConnectionClosed, OSError):
            while data := broker.recv(65_536):
                client.send(data)
            # A client that leaves closes the WebSocket itself, and must not be overtaken: with TLS,
            # `close` sets a timeout, which ends the other thread's read at once (Python's ssl takes
            # one that is set during a blocking read as passed), and the client's frame is lost.
            if not leaving.is_set():
                client.close()


@contextmanager
def open_bridge(
    target: int, *, context: ssl.SSLContext | None = None, path: str = "/mqtt"
) -> Generator[Bridge]:
    """Listen on a free loopback port, for WebSockets to a broker on the port `target`."""
    bridge = Bridge(target)

    def only_path(connection: ServerConnection, request: Request) -> Response | None:
        if request.path == path:
            return None
        return connection.respond(http.HTTPStatus.NOT_FOUND, "nothing here")

    server = serve(
        bridge.handle,
        "127.0.0.1",
        0,
        ssl=context,
        subprotocols=["mqtt"],  # type: ignore[list-item]
        process_request=only_path,
        compression=None,
        max_size=None,
    )
    with server:
        bridge.port = server.socket.getsockname()[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield bridge
        finally:
            server.shutdown()
            for each in [thread, *bridge.handlers]:
                each.join(10)
