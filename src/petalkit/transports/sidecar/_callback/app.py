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

import logging
import math
import time
from collections import Counter
from collections.abc import Callable

import msgspec
import trio
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, Router

from ...._values.codec import Timestamps
from ...._values.settings.settings import Settings
from .._addresses import CALLBACK_PATH
from .._link import SidecarLink
from .._offers import Offer
from .bodies import Bodies
from .requests import JSON, No, Receive, RequestReader, Scope, Send, read_message

logger = logging.getLogger("petalkit.transport")

WARN_INTERVAL = 60.0  # seconds between two warnings of one reason
_SUCCESS = b'{"status":"success"}'


async def _never(_: Request) -> JSONResponse:
    raise AssertionError("a message is taken before the routes are asked")


class CallbackApp:
    """The ASGI application. Lives longer than a link.

    Args:
        settings: limits, names, and the token.
        is_crowded: whether connections are to be closed after their answer.
        bodies: told of each that is on its way.

    Attributes:
        requests: reads requests, and knows which token they need.
        link: who takes messages; None while there is none.
        received: messages that came, whatever became of them.
        accepted: those that were answered with success.
        refused: the others, by reason.
    """

    def __init__(
        self, settings: Settings, is_crowded: Callable[[], bool], bodies: Bodies | None = None
    ) -> None:
        self._settings = settings
        self._is_crowded = is_crowded
        self.requests = RequestReader(settings, Bodies() if bodies is None else bodies)
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        # What comes for every command does not take the way through all routes.
        if scope.get("path") == CALLBACK_PATH and scope.get("method") == "POST":
            await self._take(scope, receive, send)
            return
        try:
            self.requests.check_host(dict(scope["headers"]))
        except No as error:
            await self._refuse(send, error)
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
            self.requests.check_token(request.scope)
        except No as error:
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
            self.requests.check_head(scope)
            offer = self._offer(*read_message(await self.requests.read_body(receive)))
            if not offer.accepted and not await self._wait(offer, receive):
                return  # it hung up, and we keep the message
            self.accepted += 1
            await self._answer(send, 200, _SUCCESS)
        except No as error:
            await self._refuse(send, error)
        except Exception:  # our bug; the next message is not to pay for it
            self.refused["error"] += 1
            logger.exception("could not take a message of the sidecar")
            await self._answer(send, 500, b'{"status":"error","message":"an internal error"}')

    async def _refuse(self, send: Send, error: No) -> None:
        self._count(error)
        body = msgspec.json.encode({"status": "error", "message": str(error)})
        await self._answer(send, error.status, body, closes=error.closes)

    def _count(self, error: No) -> None:
        self.refused[error.word] += 1
        now = trio.current_time()
        if now >= self._warned.get(error.word, -math.inf) + WARN_INTERVAL:
            self._warned[error.word] = now
            logger.warning(
                "refused a message of the sidecar: %s (%d so far)", error, self.refused[error.word]
            )

    def _offer(self, topic: str, payload: bytes) -> Offer:
        link = self.link
        if link is None:
            raise No(503, "no link", "there is no link at the moment")
        offer = link.offer(topic, payload)
        if offer is None:
            raise No(503, "full", "too many messages wait already")
        return offer

    async def _wait(self, offer: Offer, receive: Receive) -> bool:
        """Wait until it is accepted; False when it is held, and nobody is there any more.

        Raises:
            No: 503, it was not, and has been taken back.
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
            raise No(503, "no link", "not accepted: the link has ended, or the device stops")
        if hung_up:
            if holds:
                return False
            raise No(503, "hung up", "not accepted: it hung up")
        if self._settings.acknowledge == "handled":
            raise No(503, "late", "not handled in time: it waits, or runs on")
        raise No(503, "full", "not accepted: there is no room")

    async def _answer(self, send: Send, status: int, body: bytes, *, closes: bool = False) -> None:
        headers = [(b"content-type", JSON), (b"content-length", b"%d" % len(body))]
        if status == 503:
            headers.append((b"retry-after", b"1"))
        if closes or self._is_crowded():
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
