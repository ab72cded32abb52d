"""What the settings say of a WebSocket: which resource is asked for, and with which headers.

The rule: nothing that may be a secret is in an address, because addresses are logged; so a query
is refused, and a token goes into a header, from a file that is read at each connect. The trap: a
header of the user's must not be one by which HTTP or the handshake itself is steered.
"""

from __future__ import annotations

import ssl
import string
from pathlib import Path
from urllib.parse import SplitResult

from ..._values.basics.files import open_regular
from ..._values.errors import ConfigError
from .credentials import CredentialsFailed

WEBSOCKET_SCHEMES = ("ws", "wss")
DEFAULT_RESOURCE = "/mqtt"
HEADERS_MAX = 8 * 1024  # bytes of the file: half of what servers take

Headers = list[tuple[bytes, bytes]]

_SETTING = "websocket_headers_file"
# RFC 9110, section 5.6.2
_NAME_CHARACTERS = frozenset(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~")
_NOT_THE_USERS = frozenset(
    ("host", "connection", "upgrade", "content-length", "transfer-encoding", "te", "trailer")
)


def websocket_resource(url: SplitResult) -> str:
    """The path of a ws:// or wss:// address.

    Raises:
        ConfigError: it has a query, or the path is none of HTTP.
    """
    if url.query or url.fragment:
        text = "must hold no query, which would be logged: a token goes into websocket_headers_file"
        raise ConfigError("broker", text)
    path = url.path or DEFAULT_RESOURCE
    if not path.isascii() or not path.isprintable() or " " in path:
        raise ConfigError("broker", f"the path {path!r} is none of HTTP: write it with %XX")
    return path


def offer_http(context: ssl.SSLContext) -> None:
    """The ALPN name of what a WebSocket starts with (RFC 7301): some gateways want one."""
    context.set_alpn_protocols(["http/1.1"])


def read_headers(path: Path | None) -> Headers:
    """The headers in the file of `websocket_headers_file`: `Name: value`, one a line.

    Empty lines, and those that start with `#`, say nothing.

    Raises:
        CredentialsFailed: it cannot be read, or a line is no header; its text is not repeated.
    """
    if path is None:
        return []
    try:
        with open_regular(path) as file:
            data = file.read(HEADERS_MAX + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CredentialsFailed(_SETTING, f"{path} cannot be read: {reason}") from None
    if len(data) > HEADERS_MAX:
        raise CredentialsFailed(_SETTING, f"{path} is larger than {HEADERS_MAX} bytes")
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise CredentialsFailed(_SETTING, f"{path} is not ASCII") from None
    found: Headers = []
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip(" \t\r")
        if line and not line.startswith("#"):
            try:
                found.append(_header(line))
            except ValueError as error:
                raise CredentialsFailed(_SETTING, f"line {number} of {path} {error}") from None
    return found


def _header(line: str) -> tuple[bytes, bytes]:
    """One header. The text of the ValueError follows on "line 1 of ...", and repeats no value."""
    name, colon, value = line.partition(":")
    value = value.strip(" \t")
    if not colon or not name or not set(name) <= _NAME_CHARACTERS:
        raise ValueError("is not a header: Name: value")
    if not value.replace("\t", " ").isprintable():
        raise ValueError(f"has a control character in the value of {name}")
    if name.lower() in _NOT_THE_USERS or name.lower().startswith("sec-websocket-"):
        raise ValueError(f"must not be {name}, which is petalkit's own")
    return name.encode("ascii"), value.encode("ascii")
