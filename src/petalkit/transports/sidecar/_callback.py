"""Our side of HTTP: the sidecar's messages come in, each answered when it is accepted.

    POST /mqtt-callback/callback   {topic, payload: object, timestamp?, qos?}
    GET  /mqtt-callback/health     whether we are there, and whether a link is up
    GET  /mqtt-callback/stats      what came, and what became of it

The rules: what is wrong is answered with a 4xx and a reason, and counted, before it costs anything;
what cannot be accepted now waits a bounded time, in bounded numbers, and is answered 503. The trap:
a web page can have a browser send a POST to this machine. So it has to be `application/json`, which
no page may send elsewhere without being allowed to (we allow nobody), and an `Origin` is refused.
"""

from __future__ import annotations

import hmac
import logging
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import parse_qs

import msgspec
import trio
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, Router

from ..._values.codec import Timestamps
from ..._values.settings.settings import Settings
from ._addresses import CALLBACK_PATH
from ._link import Offer, SidecarLink

logger = logging.getLogger("petalkit.transport")

ENVELOPE_MAX = 66 * 1024  # bytes of a body beside the payload: the longest topic, and the rest
BODY_TIMEOUT = 10.0  # seconds for a body to come in whole
WARN_INTERVAL = 60.0  # seconds between two warnings of one reason
_JSON = b"application/json"
_SUCCESS = b'{"status":"success"}'

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _Envelope(msgspec.Struct):
    """What the sidecar sends; the payload is checked to be JSON and kept as it is."""

    topic: str
    payload: msgspec.Raw


_decode = msgspec.json.Decoder(_Envelope).decode


class _No(Exception):
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


async def _never(_: Request) -> JSONResponse:
    raise AssertionError("a message is taken before the routes are asked")


class CallbackApp:
    """The ASGI application. Lives longer than a link.

    Args:
        settings: limits, and the token.
        is_crowded: whether connections are to be closed after their answer.

    Attributes:
        link: who takes messages; None while there is none.
        received: messages that came, whatever became of them.
        accepted: those that were answered with success.
        refused: the others, by reason.
    """

    def __init__(self, settings: Settings, is_crowded: Callable[[], bool]) -> None:
        self._settings = settings
        self._is_crowded = is_crowded
        self._body_max = settings.payload_max + ENVELOPE_MAX
        self._guarded = settings.origin_of("sidecar_token") is not None
        self._tokens: tuple[bytes, ...] = ()  # that are taken; the newest first
        if settings.sidecar_token is not None:
            self.use_token(settings.sidecar_token)
        self._timestamp = Timestamps(time.time)
        self._warned: dict[str, float] = {}
        self.link: SidecarLink | None = None
        self.received = 0
        self.accepted = 0
        self.refused: Counter[str] = Counter()
        base = CALLBACK_PATH.rpartition("/")[0]
        self._others = Router(
            [
                Route(CALLBACK_PATH, _never, methods=["POST"]),  # for its 405
                Route(f"{base}/health", self._health, methods=["GET"]),
                Route(f"{base}/stats", self._stats, methods=["GET"]),
            ],
            redirect_slashes=False,
        )

    def use_token(self, token: str) -> None:
        """From now on this one is taken; the one before too, until the client is told of it."""
        self._tokens = tuple(dict.fromkeys([token.encode(), *self._tokens[:1]]))

    def forget_old_token(self) -> None:
        """The client has been told the newest token; the one before is not taken any more."""
        self._tokens = self._tokens[:1]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        # What comes for every command does not take the way through all routes.
        if scope.get("path") == CALLBACK_PATH and scope.get("method") == "POST":
            await self._take(scope, receive, send)
        else:
            await self._others(scope, receive, send)

    # -- for people

    async def _health(self, _: Request) -> JSONResponse:
        link = self.link
        return JSONResponse(
            {
                "status": "healthy",
                "timestamp": self._timestamp(),
                "connected": link is not None,
                "subscriptions": 0 if link is None else link.subscriptions,
            }
        )

    async def _stats(self, request: Request) -> JSONResponse:
        try:
            self._check_token(request.scope)
        except _No as error:
            return JSONResponse({"status": "error", "message": str(error)}, error.status)
        link = self.link
        return JSONResponse(
            {
                "subscriptions": 0 if link is None else link.subscriptions,
                "received": self.received,
                "accepted": self.accepted,
                "waiting": 0 if link is None else link.waiting,
                "refused": dict(self.refused),
            }
        )

    # -- messages

    async def _take(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one message, and answer it."""
        self.received += 1
        try:
            self._check_head(scope)
            offer = self._offer(*self._read(await self._body(receive)))
            if not offer.accepted and not await self._wait(offer, receive):
                return  # it hung up, and we keep the message
            self.accepted += 1
            await self._answer(send, 200, _SUCCESS)
        except _No as error:
            self._count(error)
            body = msgspec.json.encode({"status": "error", "message": str(error)})
            await self._answer(send, error.status, body)
        except Exception:  # our bug; the next message is not to pay for it
            self.refused["error"] += 1
            logger.exception("could not take a message of the sidecar")
            await self._answer(send, 500, b'{"status":"error","message":"an internal error"}')

    def _count(self, error: _No) -> None:
        self.refused[error.word] += 1
        now = trio.current_time()
        if now >= self._warned.get(error.word, -math.inf) + WARN_INTERVAL:
            self._warned[error.word] = now
            logger.warning(
                "refused a message of the sidecar: %s (%d so far)", error, self.refused[error.word]
            )

    def _check_head(self, scope: Scope) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if b"origin" in headers:
            raise _No(403, "origin", "browsers are not served here")
        self._check_token(scope)
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != _JSON:
            raise _No(415, "content type", "the body has to be application/json")
        length = headers.get(b"content-length")
        if length is not None and length.isdigit() and int(length) > self._body_max:
            raise self._too_large()

    def _check_token(self, scope: Scope) -> None:
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
            raise _No(401, "token", "the token is missing or wrong")

    def _too_large(self) -> _No:
        return _No(413, "too large", f"the body has more than {self._body_max} bytes")

    async def _body(self, receive: Receive) -> bytes:
        first = b""
        parts: list[bytes] = []
        size = 0
        with trio.move_on_after(BODY_TIMEOUT):
            while True:
                event = await receive()
                if event["type"] != "http.request":
                    raise _No(400, "cut off", "the request was cut off")
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
        raise _No(408, "slow", f"the body was not whole within {BODY_TIMEOUT:g} s")

    def _read(self, body: bytes) -> tuple[str, bytes]:
        try:
            envelope = _decode(body)
        except RecursionError:
            raise _No(400, "not JSON", "the JSON is nested too deeply") from None
        except msgspec.ValidationError as error:
            raise _No(400, "wrong shape", f"not a message: {error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _No(400, "not JSON", f"not JSON: {error}") from None
        payload = bytes(envelope.payload)
        if not payload.startswith(b"{"):
            raise _No(400, "wrong shape", "not a message: the payload is not a JSON object")
        return envelope.topic, payload

    def _offer(self, topic: str, payload: bytes) -> Offer:
        link = self.link
        if link is None:
            raise _No(503, "no link", "there is no link at the moment")
        offer = link.offer(topic, payload)
        if offer is None:
            raise _No(503, "full", "too many messages wait already")
        return offer

    async def _wait(self, offer: Offer, receive: Receive) -> bool:
        """Wait until it is accepted; False when it is held, and nobody is there any more.

        Raises:
            _No: 503, it was not, and has been taken back.
        """
        link = self.link
        holds = self._settings.callback_when_full == "hold"
        hung_up = False

        async def wait_for_hanging_up() -> None:
            nonlocal hung_up
            await receive()  # nothing but http.disconnect is left to come
            hung_up = True
            nursery.cancel_scope.cancel()

        try:
            with trio.move_on_after(math.inf if holds else self._settings.callback_timeout):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(wait_for_hanging_up)
                    await offer.wait()
                    nursery.cancel_scope.cancel()
        finally:
            ended = offer.over and not offer.accepted
            # Whoever hung up without an answer may never send it again: held is held.
            if link is not None and not (offer.accepted or (holds and hung_up)):
                link.withdraw(offer)
        if offer.accepted:
            return True
        if ended:
            raise _No(503, "no link", "not accepted: the link has ended, or the device stops")
        if hung_up:
            if holds:
                return False
            raise _No(503, "hung up", "not accepted: it hung up")
        if self._settings.acknowledge == "handled":
            raise _No(503, "late", "not handled in time: it waits, or runs on")
        raise _No(503, "full", "not accepted: there is no room")

    async def _answer(self, send: Send, status: int, body: bytes) -> None:
        headers = [(b"content-type", _JSON), (b"content-length", b"%d" % len(body))]
        if status == 503:
            headers.append((b"retry-after", b"1"))
        if self._is_crowded():
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
