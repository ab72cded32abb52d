"""Asking the sidecar for the rare things: its health, and to subscribe. By httpx.

Publishing has connections of its own, since it happens for every command; see
`_publishing`.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import msgspec
import trio

from ..._values.settings.settings import Settings
from ._addresses import Addresses
from ._answers import ANSWER_MAX, Away, Unreachable, check_answer, describe_answer

_CONNECTIONS = 4  # a probe, and what is asked beside it


class SidecarClient:
    """See the module. Made by `open_sidecar_client`."""

    def __init__(self, http: httpx.AsyncClient, settings: Settings, addresses: Addresses) -> None:
        self._http = http
        self._settings = settings
        self._addresses = addresses

    async def check_health(self) -> None:
        """Return when it says that it is well. That says nothing of its broker link.

        Raises:
            SidecarError: it does not, within `sidecar_probe_timeout`.
        """
        status, body = await self._ask("GET", "/health", self._settings.sidecar_probe_timeout)
        if status != 200:
            raise Unreachable(describe_answer(status, body))

    async def subscribe(self, topic: str, callback_url: str) -> None:
        """Have everything on that topic filter sent to a URL.

        Raises:
            SidecarError: it was not accepted, or not within `sidecar_request_timeout`.
            RejectedByBroker: it never will be.
        """
        await self._post("/subscribe", {"topic": topic, "callbackUrl": callback_url})

    async def unsubscribe(self, topic: str) -> None:
        """Have it sent no more.

        Raises:
            SidecarError, RejectedByBroker: as `subscribe`.
        """
        await self._post("/unsubscribe", {"topic": topic})

    async def _post(self, path: str, fields: dict[str, str]) -> None:
        limit = self._settings.sidecar_request_timeout
        check_answer(*await self._ask("POST", path, limit, msgspec.json.encode(fields)))

    async def _ask(
        self, method: str, path: str, limit: float, body: bytes | None = None
    ) -> tuple[int, bytes]:
        headers = {} if body is None else {"content-type": "application/json"}
        request = self._http.build_request(
            method,
            self._addresses.url + path,
            content=body,
            headers=headers,
            extensions=name_checked(self._addresses),
        )
        return await ask(self._http, request, limit)


async def ask(http: httpx.AsyncClient, request: httpx.Request, limit: float) -> tuple[int, bytes]:
    """Status and body of an answer, which is read up to a bound.

    Args:
        http: without limits of its own.
        request: what to ask.
        limit: seconds.

    Raises:
        Away: nobody is there.
        Unreachable: no answer, none in time, or one that is too long.
    """
    with trio.move_on_after(limit):
        try:
            answer = await http.send(request, stream=True)
            try:
                read = bytearray()
                async for part in answer.aiter_bytes():
                    read += part
                    if len(read) > ANSWER_MAX:
                        raise Unreachable(f"its answer has more than {ANSWER_MAX} bytes")
                return answer.status_code, bytes(read)
            finally:
                await answer.aclose()
        except httpx.ConnectError as error:
            raise Away(_reason(error) or "no connection") from None
        except httpx.HTTPError as error:
            raise Unreachable(_reason(error) or type(error).__name__) from None
    raise Unreachable(f"no answer within {limit:g} s")


def name_checked(addresses: Addresses) -> dict[str, str]:
    """What tells httpx, in a request, which name the certificate has to carry."""
    return {"sni_hostname": addresses.server_name} if addresses.tls else {}


def verify_with(context: ssl.SSLContext | None) -> ssl.SSLContext:
    """What httpx is to verify with: without TLS never used, and made in no time; trusts nobody."""
    return context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _reason(error: BaseException) -> str:
    """Why, as whoever saw it first said it: such as a certificate that is not trusted."""
    text = ""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        text = str(cause) or text
        cause = cause.__cause__ or cause.__context__
    return text


@asynccontextmanager
async def open_sidecar_client(
    settings: Settings,
    addresses: Addresses,
    context: ssl.SSLContext | None,
    transport: httpx.AsyncBaseTransport | None,
) -> AsyncGenerator[SidecarClient]:
    """A client while the block runs.

    Args:
        settings: limits and token.
        addresses: where the sidecar is.
        context: for TLS; None without.
        transport: of httpx, in place of its own; for tests.
    """
    if transport is None:
        verify = verify_with(context)
        limits = httpx.Limits(max_connections=_CONNECTIONS)
        transport = httpx.AsyncHTTPTransport(verify=verify, limits=limits, trust_env=False)
    headers = {"user-agent": "petalkit", "host": addresses.authority}
    if settings.sidecar_token is not None:
        headers["authorization"] = f"Bearer {settings.sidecar_token}"
    # No limits of httpx: each request has one of ours, on Trio's clock.
    async with httpx.AsyncClient(
        transport=transport,
        headers=headers,
        timeout=None,  # noqa: S113
        trust_env=False,
    ) as http:
        yield SidecarClient(http, settings, addresses)
