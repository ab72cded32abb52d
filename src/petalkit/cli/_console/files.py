"""The page's files, and what the browser is told to allow them.

The rule: the page has no script and no style but its own files, asks nobody but the port that it
came from, and can make no markup of a text (Trusted Types), so that what a device says stays text.
"""

from __future__ import annotations

from pathlib import Path

import attrs

FOLDER = Path(__file__).parent / "page"
_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "console.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "licenses.txt": "text/plain; charset=utf-8",
}
_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src {origins}",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",  # the next console on this port may be of another version
}


@attrs.frozen
class File:
    """A file of the page.

    Attributes:
        type: its media type.
        content: its bytes.
    """

    type: str
    content: bytes


def read_files() -> dict[str, File]:
    """The files by their paths.

    Raises:
        OSError: one is missing: the page was not built.
    """
    files = {
        f"/{name}": File(media_type, (FOLDER / name).read_bytes())
        for name, media_type in _TYPES.items()
    }
    return {"/": files.pop("/index.html"), **files}


def headers_for(host: str) -> dict[str, str]:
    """The headers of every answer.

    Args:
        host: as the page was asked for, which the guard has checked. CSP has no word for the
            WebSocket of the same origin that all browsers understand.
    """
    policy = "; ".join(_POLICY).format(origins=f"'self' ws://{host}")
    return {"content-security-policy": policy, **_HEADERS}
