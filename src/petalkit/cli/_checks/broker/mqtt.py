"""A CONNECT by hand, to tell who listens at an address where the real one got nowhere.

MQTT 3.1.1, anonymous, with a session that ends at once: no secret goes over a wire that may not be
what it should be, and nothing is left behind.
"""

from __future__ import annotations

import contextlib
import secrets
import ssl
from typing import Literal

import trio

from ...._values.errors import TransportError
from ....transports._connecting.sockets import PlainStream, open_plain_socket
from ....transports._connecting.tls import Address

PROBE_TIMEOUT = 3.0  # seconds for one look at who listens

Speaker = Literal["mqtt", "tls", "http", "other", "silent", "closes"]

_DISCONNECT = b"\xe0\x00"
_ENOUGH = 4096  # bytes of an answer


def connect_packet(client_id: str) -> bytes:
    """CONNECT of MQTT 3.1.1, section 3.1, with a clean session and 10 s of keep alive."""
    text = client_id.encode()
    body = b"\x00\x04MQTT\x04\x02\x00\x0a" + len(text).to_bytes(2, "big") + text
    assert len(body) < 128  # one byte says it
    return bytes([0x10, len(body)]) + body


def speaker_of(answer: bytes) -> Speaker:
    """Who answers a CONNECT like this."""
    if not answer:
        return "closes"
    if answer[:1] == b"\x20":
        return "mqtt"
    # RFC 8446, section 5.1: an alert, or a handshake, and the version that all records carry.
    if answer[:1] in (b"\x15", b"\x16") and answer[1:2] in (b"\x03", b""):
        return "tls"
    return "http" if answer.startswith(b"HTTP/") else "other"


async def who_listens(address: Address) -> Speaker:
    """Ask in plain MQTT, and where that says nothing, in TLS. Never raises; bounded."""
    speaker: Speaker = "silent"
    with trio.move_on_after(PROBE_TIMEOUT):
        speaker = await _ask_plainly(address)
    if speaker in ("silent", "closes"):
        with trio.move_on_after(PROBE_TIMEOUT):
            if await _speaks_tls(address):
                return "tls"
    return speaker


async def _ask_plainly(address: Address) -> Speaker:
    try:
        async with PlainStream(await open_plain_socket(address)) as stream:
            await stream.send_all(connect_packet(f"petalkit-doctor-{secrets.token_hex(3)}"))
            speaker = speaker_of(await stream.receive_some(_ENOUGH))
            if speaker == "mqtt":
                await stream.send_all(_DISCONNECT)
            return speaker
    except (trio.BrokenResourceError, TransportError):
        return "closes"


async def _speaks_tls(address: Address) -> bool:
    """Whether a ClientHello is answered by a record of TLS, whatever it says."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    hello = context.wrap_bio(incoming, outgoing, server_hostname=address.server_name)
    with contextlib.suppress(ssl.SSLWantReadError):
        hello.do_handshake()
    try:
        async with PlainStream(await open_plain_socket(address)) as stream:
            await stream.send_all(outgoing.read())
            return speaker_of(await stream.receive_some(_ENOUGH)) == "tls"
    except (trio.BrokenResourceError, TransportError):
        return False
