"""Who may ask: the name by which we are called, the web page that asks, and the token.

The traps are all of browsers. A web page can give a name of its own the address of this machine
(DNS rebinding), so a name in `Host` has to be one of ours. Any page can have a browser send a
request to this machine, and a WebSocket, so a page of another origin is refused. And time tells how
much of a token was right, so it is compared in constant time. Nothing of a token is ever logged.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping

from ..._values.basics.host_names import HostNames
from ..._values.errors import ErrorCode
from ..._values.settings.settings import Settings, split_listen
from .answers import HttpCode, Refusal, Scope

# What a browser says of where a request comes from: Fetch Metadata, W3C.
_OTHER_SITES = (b"cross-site", b"same-site")
_CHALLENGE = ((b"www-authenticate", b'Basic realm="petalkit", charset="UTF-8", Bearer'),)


class Guard:
    """See the module.

    Args:
        settings: names, origins, and the token as a fixed value, if there is one.
        listen: the address that is listened on.
    """

    def __init__(self, settings: Settings, listen: str) -> None:
        host, _ = split_listen(listen)
        self._hosts = HostNames((host, *settings.compat_http_hosts))
        self._origins = {origin.encode() for origin in settings.compat_http_origins}
        token = settings.compat_http_token
        self._token = None if token is None else token.encode()

    def check(self, scope: Scope) -> None:
        """Judge a request, or a handshake, by its head.

        Raises:
            Refusal: it is not to be served.
        """
        headers: dict[bytes, bytes] = dict(scope["headers"])
        self._check_host(headers)
        self._check_origin(scope, headers)
        if not self._is_preflight(scope, headers):
            self._check_token(headers)
        if b"content-length" in headers and b"transfer-encoding" in headers:
            # RFC 9112, section 6.1: somebody between may have read another end of it.
            text = "Content-Length and Transfer-Encoding say two ends of the body"
            raise Refusal(400, HttpCode.BAD_REQUEST, text, closes=True)

    def _check_host(self, headers: Mapping[bytes, bytes]) -> None:
        if not self._hosts.is_ours(headers.get(b"host", b"")):
            text = "that is nobody's name here; the setting compat_http_hosts has those that are"
            raise Refusal(421, HttpCode.WRONG_HOST, text, closes=True)

    def _check_origin(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        origin = headers.get(b"origin")
        if origin is not None:
            own = (b"http://" + headers[b"host"], b"https://" + headers[b"host"])
            wrong = origin not in self._origins and origin.lower() not in own
        else:
            # Such as an image in another's page, for which no Origin is sent. A link may be
            # followed, though.
            follows = headers.get(b"sec-fetch-mode") == b"navigate" and scope.get("method") == "GET"
            wrong = headers.get(b"sec-fetch-site") in _OTHER_SITES and not follows
        if wrong:
            text = "pages of this origin may not ask; the setting compat_http_origins has who may"
            raise Refusal(403, HttpCode.WRONG_ORIGIN, text, closes=True)

    def _is_preflight(self, scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a browser asks for leave, which it does without any token."""
        asks = b"access-control-request-method" in headers
        return asks and scope.get("method") == "OPTIONS" and headers.get(b"origin") in self._origins

    def _check_token(self, headers: Mapping[bytes, bytes]) -> None:
        if self._token is None:
            return
        given = _token_in(headers.get(b"authorization", b""))
        if not hmac.compare_digest(given, self._token):
            text = "the token is missing or wrong"
            raise Refusal(401, ErrorCode.UNAUTHORIZED, text, closes=True, headers=_CHALLENGE)


def _token_in(authorization: bytes) -> bytes:
    """`Bearer TOKEN`, or the password of `Basic`, which browsers ask people for."""
    scheme, _, rest = authorization.partition(b" ")
    if scheme.lower() == b"bearer":
        return rest.strip()
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""
