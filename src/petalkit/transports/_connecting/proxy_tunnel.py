"""A way through an HTTP proxy: CONNECT (RFC 9110, section 9.3.6), asked on a connected socket.

The rules: the proxy resolves the broker's name, not we; its answer is bounded in bytes (16 KiB),
and in time by whoever connects. The trap: what follows the head of a 2xx answer belongs to the
tunnel, so it must stay in the socket for whoever reads next, TLS or paho. So the socket is peeked
at, and only what h11 has used is taken from it.
"""

from __future__ import annotations

import base64
import contextlib
import socket

import h11
import trio

from ..._values.errors import ConnectFailed
from ..._values.settings.proxies import Proxy

HEAD_MAX = 16 * 1024  # bytes of an answer
_PEEK = 4096
_REASON_MAX = 100  # characters of the proxy's own words

_WORDS = {
    400: "it does not understand CONNECT",
    403: "it does not allow this host or port",
    404: "it does not understand CONNECT",
    405: "it does not allow CONNECT",
    407: "it wants other credentials: proxy_credentials",
    500: "it cannot reach that host",
    502: "it cannot reach that host",
    503: "it cannot reach that host now",
    504: "it got no answer from that host in time",
}


class TunnelRefused(ConnectFailed):
    """The proxy answered, and opens no way.

    Args:
        text: what happened.
        status: of its answer.
    """

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class TunnelRequest:
    """The exchange as a value: no I/O. `request` goes out; then `receive` until it says True.

    Args:
        authority: host and port of the broker, as in an address.
        proxy: whom it is asked of.
    """

    def __init__(self, authority: str, proxy: Proxy) -> None:
        self._authority = authority
        self._proxy = proxy
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)
        self._received = 0
        headers = [("Host", authority)]
        if proxy.credentials is not None:
            token = base64.b64encode(proxy.credentials.encode()).decode()
            headers.append(("Proxy-Authorization", f"Basic {token}"))
        request = h11.Request(method="CONNECT", target=authority, headers=headers)
        self.request: bytes = self._connection.send(request) or b""
        self._connection.send(h11.EndOfMessage())

    def receive(self, data: bytes) -> tuple[bool, int]:
        """Take what the proxy said; whether the tunnel is open, and how much of it was used.

        Raises:
            TunnelRefused: it says no.
            ConnectFailed: it does not speak HTTP, says too much, or has closed.
        """
        if not data:
            raise ConnectFailed(f"the proxy {self._proxy} closed before it answered")
        self._received += len(data)
        if self._received > HEAD_MAX:
            raise ConnectFailed(f"the proxy {self._proxy} says too much, and opens no way")
        try:
            self._connection.receive_data(data)
            while True:
                event = self._connection.next_event()
                if event is h11.NEED_DATA:
                    return False, len(data)
                if isinstance(event, h11.Response):
                    if not 200 <= event.status_code < 300:
                        raise self._refusal(event)
                    return True, len(data) - len(self._connection.trailing_data[0])
                if not isinstance(event, h11.InformationalResponse):
                    raise ConnectFailed(f"the proxy {self._proxy} answered {event!r:.100}")
        except h11.RemoteProtocolError as error:
            text = f"the proxy {self._proxy} answered something that is not HTTP"
            raise ConnectFailed(text) from error

    def _refusal(self, answer: h11.Response) -> TunnelRefused:
        status = answer.status_code
        said = f"{status} {answer.reason.decode('ascii', 'replace')[:_REASON_MAX]}".strip()
        words = _WORDS.get(status)
        text = f"the proxy {self._proxy} opens no way to {self._authority}: it answered {said}"
        return TunnelRefused(text if words is None else f"{text}; {words}", status)


async def open_tunnel(sock: socket.socket, authority: str, proxy: Proxy) -> None:
    """Ask the proxy at the other end of a socket for a way; after that it is the broker's.

    Args:
        sock: connected and non-blocking; left open whatever happens.
        authority: host and port of the broker.
        proxy: for messages, and its credentials.

    Raises:
        TunnelRefused: the proxy says no.
        ConnectFailed: it does not speak HTTP, or the connection broke.

    Cancellation: the socket is good for nothing then.
    """
    try:
        asked = TunnelRequest(authority.encode("idna").decode("ascii"), proxy)
    except (h11.LocalProtocolError, UnicodeError) as error:
        raise ConnectFailed(f"no proxy can be asked for {authority!r}: {error}") from error
    try:
        rest = memoryview(asked.request)
        while rest:
            with contextlib.suppress(BlockingIOError, InterruptedError):
                rest = rest[sock.send(rest) :]
                continue
            await trio.lowlevel.wait_writable(sock)
        while True:
            await trio.lowlevel.wait_readable(sock)
            try:
                data = sock.recv(_PEEK, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                continue
            is_open, used = asked.receive(data)
            if used:
                sock.recv(used)
            if is_open:
                return
    except OSError as error:
        text = f"the connection to the proxy {proxy} broke before it answered: {error}"
        raise ConnectFailed(text) from error
