"""The connected socket for a link: TCP and TLS, made by Trio, so that it can be cancelled.

paho would do this in a thread that nobody can stop (S2, S6). Here a cancelled or late attempt
leaves neither thread nor socket behind; only a name lookup may still sit in Trio's own thread,
and that holds nothing.
"""

from __future__ import annotations

import socket
import ssl

import trio

from ..._values.errors import ConnectFailed
from .._connecting.sockets import ConnectLimit, open_plain_socket
from .._connecting.tls import Address

# A TLS library that wants the opposite direction first (a key update while the socket is full)
# cannot be waited for: the other task is waiting there already. It is asked again after this.
TLS_RETRY = 0.05
TLS_RECORD = 16 * 1024  # bytes of a record, at most: RFC 8446, section 5.1


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
