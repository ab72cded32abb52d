"""HTTP endpoints of petals of the guide: the head of a request."""

from __future__ import annotations

from petalkit import Settings
from petalkit.compat._http.answers import Refusal
from petalkit.compat._http.guard import Guard

from .reader import Reader

_TOKEN = "s3cret-s3cret"
_LISTEN = "127.0.0.1:9000"
_PANEL = "http://panel.local:8080"
_NAMES = (
    b"host", b"origin", b"authorization", b"sec-fetch-site", b"sec-fetch-mode", b"x",
    b"content-length", b"transfer-encoding", b"access-control-request-method",
)  # fmt: skip
_OPEN = Guard(Settings(), _LISTEN)
_GUARDED = Guard(Settings(compat_http_token=_TOKEN, compat_http_origins=(_PANEL,)), _LISTEN)


def head(data: bytes) -> None:
    """What kind of request, by which method, and with which headers."""
    reader = Reader(data)
    method = reader.choice((b"GET", b"POST", b"OPTIONS", b"")).decode()
    headers: list[tuple[bytes, bytes]] = []
    while reader:
        headers.append((reader.choice(_NAMES), reader.sized()))
    scope = {"type": "http", "headers": headers, **({"method": method} if method else {})}
    last = dict(headers)
    for guard, token in ((_OPEN, None), (_GUARDED, _TOKEN)):
        try:
            guard.check(scope)
        except Refusal as error:
            assert error.status in (400, 401, 403, 421)
            assert _TOKEN not in str(error)
            continue
        assert b"host" in last
        assert b"evil" not in last[b"host"].lower()
        if b"origin" in last and last[b"origin"] != _PANEL.encode():
            assert last[b"origin"].lower().endswith(b"://" + last[b"host"].lower())
        if token is not None and method != "OPTIONS":
            assert b"authorization" in last
