"""The connected socket of a link: TCP and TLS, made by Trio, so that it can be cancelled.

paho would do this in a thread that nobody can stop (S2, S6). Here a cancelled or late attempt
leaves neither thread nor socket behind; only a name lookup may still sit in Trio's own thread,
and that holds nothing. Reading and writing never wait here: the link's tasks do.
"""

from __future__ import annotations

import socket
import ssl

import trio

from ..._values.errors import ConnectFailed
from .._connecting.sockets import ConnectLimit, open_plain_socket
from .._connecting.tls import Address
from .._line.send_queue import Outflow, queued

# A TLS library that wants the opposite direction first (a key update while the socket is full)
# cannot be waited for: the other task is waiting there already. It is asked again after this.
TLS_RETRY = 0.05
_TLS_RECORD = 16 * 1024  # bytes of a record, at most: RFC 8446, section 5.1
_PIECE = 1024 * 1024  # bytes


async def open_socket(
    address: Address, context: ssl.SSLContext | None, limit: ConnectLimit
) -> socket.socket:
    """Connect, shake hands, and return a non-blocking socket.

    Args:
        address: whom to call, and whose name the certificate has to carry.
        context: for TLS; None for plain TCP or a Unix socket.
        limit: of the attempt.

    Raises:
        ConnectFailed: no address, no connection, no trust, or no time left.
    """
    with limit.scope:
        sock = await open_plain_socket(address)
        if context is None:
            return sock
        try:
            return await _shake_hands(sock, context, address, limit)
        except BaseException:
            sock.close()
            raise
    raise ConnectFailed(f"no connection to {address} in time")


async def _shake_hands(
    sock: socket.socket, context: ssl.SSLContext, address: Address, limit: ConnectLimit
) -> socket.socket:
    try:
        tls = context.wrap_socket(
            sock, server_hostname=address.server_name, do_handshake_on_connect=False
        )
    except (OSError, ValueError) as error:
        raise ConnectFailed(f"no TLS with {address}: {error}") from error
    try:
        while True:
            limit.moved()
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(tls)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(tls)
            else:
                return tls
    except (OSError, ValueError) as error:
        tls.close()
        raise ConnectFailed(f"no TLS with {address}: {error}") from error
    except BaseException:
        tls.close()
        raise


def receive_some(sock: socket.socket, size: int) -> bytes | None:
    """What the socket has; b"" at its end, None when there is nothing now.

    S3: one TLS record can hold many packets, and what OpenSSL has taken from the socket already
    never makes it readable again; so it is emptied here.
    """
    try:
        data = sock.recv(size)
    except (BlockingIOError, InterruptedError, ssl.SSLWantReadError):
        return None
    if isinstance(sock, ssl.SSLSocket):
        while data and (pending := sock.pending()):
            data += sock.recv(pending)
    return data


class LinkSocket:
    """A connected socket, non-blocking, and how much it has taken.

    Args:
        raw: as `open_socket` makes it; closed by whoever opened it.

    Attributes:
        raw: the same.
    """

    def __init__(self, raw: socket.socket) -> None:
        self.raw = raw
        self._written = 0  # bytes that it has taken, before TLS
        # OpenSSL counts a call as nothing until its last record is written.
        self._piece = _TLS_RECORD if isinstance(raw, ssl.SSLSocket) else _PIECE

    def receive(self, size: int) -> bytes | None:
        """See `receive_some`.

        Raises:
            ssl.SSLWantWriteError: TLS has to write first; to be asked again after `TLS_RETRY`.
            OSError: the connection is broken.
        """
        return receive_some(self.raw, size)

    def send_from(self, outgoing: bytearray) -> bool:
        """Take one piece off the front of `outgoing`; False when there is no room for any.

        Raises:
            OSError: the connection is broken.
        """
        try:
            piece = outgoing if len(outgoing) <= self._piece else outgoing[: self._piece]
            size = self.raw.send(piece)
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return False
        self._written += size
        del outgoing[:size]
        return True

    def half_close(self) -> None:
        """Nothing more is written.

        Raises:
            OSError: the connection is broken.
        """
        self.raw.shutdown(socket.SHUT_WR)

    def outflow(self) -> Outflow | None:
        """See `Outflow`. TLS adds some bytes to a record: a little more has left than this says."""
        held = queued(self.raw)
        return None if held is None else Outflow(self._written, held)
