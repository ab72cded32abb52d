"""What a request has to be: its head, its token, its body, and the message in it.

The rule: what is wrong is a `No`, with the status of HTTP and a reason, before it costs anything.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import parse_qs

import msgspec
import trio

from ...._values.settings.settings import Settings

JSON = b"application/json"
ENVELOPE_MAX = 66 * 1024  # bytes of a body beside the payload: the longest topic, and the rest
BODY_TIMEOUT = 10.0  # seconds for a body to come in whole

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _Envelope(msgspec.Struct):
    """What the sidecar sends; the payload is checked to be JSON and kept as it is."""

    topic: str
    payload: msgspec.Raw


_decode = msgspec.json.Decoder(_Envelope).decode


class No(Exception):
    """What is answered in place of success.

    Args:
        status: of HTTP.
        word: what it is counted under.
        text: for people.
    """

    def __init__(self, status: int, word: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.word = word


class RequestReader:
    """See the module.

    Args:
        settings: limits, and the token.
    """

    def __init__(self, settings: Settings) -> None:
        self._body_max = settings.payload_max + ENVELOPE_MAX
        self._guarded = settings.origin_of("sidecar_token") is not None
        self._tokens: tuple[bytes, ...] = ()  # that are taken; the newest first
        if settings.sidecar_token is not None:
            self.use_token(settings.sidecar_token)

    def use_token(self, token: str) -> None:
        """From now on this one is taken; the one before too, until the client is told of it."""
        self._tokens = tuple(dict.fromkeys([token.encode(), *self._tokens[:1]]))

    def forget_old_token(self) -> None:
        """The client has been told the newest token; the one before is not taken any more."""
        self._tokens = self._tokens[:1]

    def check_head(self, scope: Scope) -> None:
        """Judge a request by its head.

        Raises:
            No: it is not wanted.
        """
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if b"origin" in headers:
            raise No(403, "origin", "browsers are not served here")
        self.check_token(scope)
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != JSON:
            raise No(415, "content type", "the body has to be application/json")
        length = headers.get(b"content-length")
        if length is not None and length.isdigit() and int(length) > self._body_max:
            raise self._too_large()

    def check_token(self, scope: Scope) -> None:
        """See whether a request carries the token, if one is set.

        Raises:
            No: it does not.
        """
        if not self._guarded:
            return
        given = b""
        for name, value in scope["headers"]:
            if name == b"authorization" and value[:7].lower() == b"bearer ":
                given = value[7:].strip()
        if not given:
            found = parse_qs(scope["query_string"].decode("latin-1")).get("token")
            given = b"" if found is None else found[0].encode("utf-8", "replace")
        # Each is compared, so that the time says nothing.
        if not sum(hmac.compare_digest(given, token) for token in self._tokens):
            raise No(401, "token", "the token is missing or wrong")

    def _too_large(self) -> No:
        return No(413, "too large", f"the body has more than {self._body_max} bytes")

    async def read_body(self, receive: Receive) -> bytes:
        """The whole body of a request.

        Raises:
            No: it was cut off, too long, or too slow.
        """
        first = b""
        parts: list[bytes] = []
        size = 0
        with trio.move_on_after(BODY_TIMEOUT):
            while True:
                event = await receive()
                if event["type"] != "http.request":
                    raise No(400, "cut off", "the request was cut off")
                part: bytes = event.get("body", b"")
                size += len(part)
                if size > self._body_max:
                    raise self._too_large()
                if not first:
                    first = part
                elif part:
                    parts.append(part)
                if not event.get("more_body", False):
                    return b"".join([first, *parts]) if parts else first
        raise No(408, "slow", f"the body was not whole within {BODY_TIMEOUT:g} s")


def read_message(body: bytes) -> tuple[str, bytes]:
    """Topic and payload of a message.

    Raises:
        No: it is none.
    """
    try:
        envelope = _decode(body)
    except RecursionError:
        raise No(400, "not JSON", "the JSON is nested too deeply") from None
    except msgspec.ValidationError as error:
        raise No(400, "wrong shape", f"not a message: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise No(400, "not JSON", f"not JSON: {error}") from None
    payload = bytes(envelope.payload)
    if not payload.startswith(b"{"):
        raise No(400, "wrong shape", "not a message: the payload is not a JSON object")
    return envelope.topic, payload
