"""The body of a request: how long it may be, and how slow.

The rule: a body is read whole before a petal is told of the request, so that who sends slowly, or
too much, costs the petal nothing.
"""

from __future__ import annotations

import trio

from ..._values.errors import ErrorCode
from .answers import HttpCode, Refusal, Scope
from .connection import Connection
from .inbox import Inbox

BODY_MAX = 10.0  # seconds for a body to come in whole,
BODY_RATE = 16 * 1024  # and a second more for each of so many bytes


class Gone(Exception):
    """The client has gone before its request was whole."""


async def read_body(connection: Connection, scope: Scope, inbox: Inbox, size_max: int) -> bytes:
    """The whole body of a request.

    Args:
        connection: told while it is read, so that it may be closed for another.
        scope: of the request.
        inbox: where it comes from.
        size_max: bytes.

    Raises:
        Refusal: it is too long, or too slow.
        Gone: it was cut off.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > size_max:
            raise _too_large(size_max)
    body = bytearray()
    connection.body_since = began = trio.current_time()
    try:
        with trio.CancelScope(deadline=began + BODY_MAX) as reading:
            while True:
                event = await inbox.get()
                if event["type"] != "http.request":
                    raise Gone
                body += event.get("body", b"")
                if len(body) > size_max:
                    raise _too_large(size_max)
                reading.deadline = began + BODY_MAX + len(body) / BODY_RATE
                if not event.get("more_body", False):
                    return bytes(body)
    finally:
        connection.body_since = None
    text = f"the body was not whole within {BODY_MAX:g} s, and a second for each {BODY_RATE} bytes"
    raise Refusal(408, HttpCode.SLOW_BODY, text, closes=True)


def _too_large(size_max: int) -> Refusal:
    text = f"the body has more than {size_max} bytes: compat_http_body_max"
    return Refusal(413, ErrorCode.TOO_LARGE, text, closes=True)
