"""What a request has to be: its head, its token, its body, and the message in it.

The rule: what is wrong is a `No`, with the status of HTTP and a reason, before it costs anything.
The trap: a web page can have a browser ask this machine under a name of its own; see `host_names`.
Only HTTP/1.0, which no browser speaks, has no `Host`.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import msgspec

from ...._values.basics.host_names import HostNames
from ...._values.settings.settings import Settings
from ..._receiving.bounded_inbox import ENVELOPE_MAX
from .bodies import BODY_MAX, CROWDED_MAX, Bodies

JSON = b"application/json"

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
        closes: whether the connection ends with the answer: nothing more is believed on it.
    """

    def __init__(self, status: int, word: str, text: str, *, closes: bool = False) -> None:
        super().__init__(text)
        self.status = status
        self.word = word
        self.closes = closes


class RequestReader:
    """See the module.

    Args:
        settings: limits, names, and the token.
        bodies: told of each that is on its way.
    """

    def __init__(self, settings: Settings, bodies: Bodies) -> None:
        self._bodies = bodies
        told = urlsplit(settings.callback_url or "").hostname or ""
        listened = settings.callback_listen.rpartition(":")[0]
        self._hosts = HostNames((told, listened, *settings.callback_hosts))
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
        self.check_host(headers)
        if b"origin" in headers:
            raise No(403, "origin", "browsers are not served here", closes=True)
        self.check_token(scope)
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != JSON:
            raise No(415, "content type", "the body has to be application/json")
        length = headers.get(b"content-length")
        if length is not None and b"transfer-encoding" in headers:
            # RFC 9112, section 6.1: somebody between may have read another end of it.
            text = "Content-Length and Transfer-Encoding say two ends of the body"
            raise No(400, "two lengths", text, closes=True)
        if length is not None and length.isdigit() and int(length) > self._body_max:
            raise self._too_large()

    def check_host(self, headers: Mapping[bytes, bytes]) -> None:
        """See whether a request is for us.

        Raises:
            No: it calls us by a name that is not ours.
        """
        host = headers.get(b"host")
        if host is not None and not self._hosts.is_ours(host):
            text = "this is nobody's name here: see callback_url and callback_hosts"
            raise No(421, "host", text, closes=True)

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
            raise No(401, "token", "the token is missing or wrong", closes=True)

    def _too_large(self) -> No:
        return No(413, "too large", f"the body has more than {self._body_max} bytes")

    async def read_body(self, receive: Receive) -> bytes:
        """The whole body of a request.

        Raises:
            No: it was cut off, too long, or too slow.
        """
        first = b""
        rest: bytearray | None = None  # of small pieces, a list takes many times their size
        size = 0
        with self._bodies.reading():
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
                    rest = bytearray(first) if rest is None else rest
                    rest += part
                if not event.get("more_body", False):
                    return first if rest is None else bytes(rest)
        text = f"not whole within {BODY_MAX:g} s, or {CROWDED_MAX:g} s while others wait"
        raise No(408, "slow", f"the body was {text}", closes=True)


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
