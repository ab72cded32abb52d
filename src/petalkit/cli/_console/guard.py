"""Who may ask: only a page of ours, under our own name, and with the token.

The traps are those of browsers. A web page can give a name of its own the address of this machine
(DNS rebinding), so `Host` has to be one of ours. Any page can open a WebSocket to this machine, so
`Origin` has to be ours. Cookies go to every port of a host, so another server on this machine would
be sent ours: the token is in no cookie. It stands behind the `#` of the address, which no browser
sends; the page keeps it for its tab, and offers it as a subprotocol of its WebSocket (RFC 6455,
section 1.9), the only header that a page can write there. It is compared in constant time.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping

from ..._values.errors import ErrorCode
from ...compat._http.answers import HttpCode, Refusal, Scope

PROTOCOL = "petalkit.console"  # what is spoken on the WebSocket
TOKEN_PREFIX = "token."  # noqa: S105 - what a token is offered behind
_TOKEN_BYTES = 24
_NAMES = ("127.0.0.1", "localhost", "[::1]")
_OTHER_SITES = (b"cross-site", b"same-site")  # Fetch Metadata, W3C


class Guard:
    """See the module.

    Args:
        port: that is listened on.

    Attributes:
        token: what a page has to offer.
    """

    def __init__(self, port: int) -> None:
        self.token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._hosts = {f"{name}:{port}".encode() for name in _NAMES}

    def check(self, scope: Scope) -> None:
        """Judge a request, or a handshake, by its head.

        Raises:
            Refusal: it is not to be served.
        """
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in headers and name in (b"host", b"origin"):
                raise Refusal(400, HttpCode.BAD_REQUEST, "a header is there twice", closes=True)
            headers[name] = value
        if headers.get(b"host", b"").lower() not in self._hosts:
            text = "that is no name of the console: open the address that it has printed"
            raise Refusal(421, HttpCode.WRONG_HOST, text, closes=True)
        is_socket = scope["type"] == "websocket"
        if not self._is_own(headers, must_say=is_socket):
            text = "pages of another origin may not ask"
            raise Refusal(403, HttpCode.WRONG_ORIGIN, text, closes=True)
        if is_socket and not self._has_token(scope["subprotocols"]):
            text = "the token is missing or wrong: open the address that the console has printed"
            raise Refusal(403, ErrorCode.UNAUTHORIZED, text, closes=True)

    def _is_own(self, headers: Mapping[bytes, bytes], *, must_say: bool) -> bool:
        origin = headers.get(b"origin")
        if origin is not None:
            return origin.lower() == b"http://" + headers[b"host"].lower()
        follows = headers.get(b"sec-fetch-mode") == b"navigate"  # a link, which gives nothing away
        return not must_say and (follows or headers.get(b"sec-fetch-site") not in _OTHER_SITES)

    def _has_token(self, offered: list[str]) -> bool:
        found = [
            hmac.compare_digest(one.encode(), f"{TOKEN_PREFIX}{self.token}".encode())
            for one in offered
        ]
        return any(found) and PROTOCOL in offered
