"""What we answer in place of a petal: a status of HTTP, a code, and a text.

The form is FastAPI's own, `{"detail": text}`, with `error_code` beside it, in the words of commands
where there is one.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from ..._values.errors import ErrorCode

Scope: TypeAlias = MutableMapping[str, Any]
Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]

# Of a WebSocket: RFC 6455, section 7.4.1.
NORMAL, GOING_AWAY, ABNORMAL, FAILED = 1000, 1001, 1006, 1011


class HttpCode(enum.StrEnum):
    """Codes that only HTTP has."""

    WRONG_HOST = "WRONG_HOST"
    WRONG_ORIGIN = "WRONG_ORIGIN"
    BAD_REQUEST = "BAD_REQUEST"
    SLOW_BODY = "SLOW_BODY"


class Refusal(Exception):
    """An answer in place of the petal's.

    Args:
        status: of HTTP.
        code: for programs.
        text: for people.
        closes: whether the connection ends with it: nothing more is believed on it.
        headers: more of them.
    """

    def __init__(
        self,
        status: int,
        code: ErrorCode | HttpCode,
        text: str,
        *,
        closes: bool = False,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.closes = closes
        self.headers = headers


def unavailable(text: str, code: ErrorCode = ErrorCode.UNAVAILABLE) -> Refusal:
    """503: later it may work."""
    return Refusal(503, code, text, headers=((b"retry-after", b"1"),))


class EndedItself(Exception):
    """The petal's code has left a request as no error leaves one: by `sys.exit()`, or cancelled."""


async def say_failed(send: Send) -> None:
    """Answer a request whose code has raised, as Starlette does."""
    body = b"Internal Server Error"
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
    ]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def refuse(scope: Scope, send: Send, error: Refusal) -> None:
    """Answer a request, or a handshake, with it."""
    body = json.dumps({"detail": str(error), "error_code": str(error.code)}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *error.headers,
    ]
    if error.closes:
        headers.append((b"connection", b"close"))
    start = "http.response" if scope["type"] == "http" else "websocket.http.response"
    await send({"type": f"{start}.start", "status": error.status, "headers": headers})
    await send({"type": f"{start}.body", "body": body})
