"""The other server that a broker names (MQTT 5.0, section 4.11), and which of them may be followed.

    node-2.example.com    node-2.example.com:8883    [2001:db8::2]:8883    *.example.com

The rule: a Server Reference comes from outside, so nothing in it raises, and nobody is followed
whom the setting `server_references` does not name. The form is the one that the specification
recommends: host and perhaps a port, IPv6 in brackets, several separated by spaces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs

from ..errors import ConfigError
from .checks import texts

USE_ANOTHER_SERVER: Final = 0x9C  # for now
SERVER_MOVED: Final = 0x9D  # for good
REFERENCES_MAX = 16  # of one packet that are looked at
_HOST_MAX = 253  # characters of a name: RFC 1035, section 2.3.4


@attrs.frozen
class Reference:
    """One server that a broker has named.

    Attributes:
        port: None where it says none.
    """

    host: str
    port: int | None = None


@attrs.frozen
class Referral:
    """A broker has sent us away.

    Attributes:
        code: of the CONNACK or DISCONNECT: `USE_ANOTHER_SERVER` or `SERVER_MOVED`.
        text: the Server Reference, as it came.
    """

    code: int
    text: str


def referral_of(code: int, reference: str | None) -> Referral | None:
    """The referral in a packet of the broker; None where it is none."""
    if reference and code in (USE_ANOTHER_SERVER, SERVER_MOVED):
        return Referral(code, reference)
    return None


def read_references(text: str) -> Iterator[Reference]:
    """The servers in a Server Reference, in order; what cannot be read is passed over."""
    for part in text.split(" ")[: 4 * REFERENCES_MAX]:
        reference = _read(part)
        if reference is not None:
            yield reference


def _read(part: str) -> Reference | None:
    if part.startswith("["):
        host, closed, port = part[1:].partition("]")
        if not closed or (port and not port.startswith(":")):
            return None
        digits = port[1:] if port else None
    else:
        host, colon, rest = part.partition(":")
        digits = rest if colon else None
    host = host.lower().rstrip(".")
    if not 0 < len(host) <= _HOST_MAX or not set(host) <= _HOST_CHARACTERS:
        return None
    if digits is None:
        return Reference(host)
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5):
        return None
    number = int(digits)
    return Reference(host, number) if 0 < number <= 65_535 else None


# Names that are not ASCII come in their ASCII form (RFC 5890), as certificates have them.
_HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._:")


def is_allowed(reference: Reference, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns of the setting `server_references` names it."""
    return any(_allows(_read_pattern(pattern), reference) for pattern in patterns)


@attrs.frozen
class _Pattern:
    host: str
    port: int | None
    below: bool  # any name below `host`, and not `host` itself


def _allows(pattern: _Pattern | None, reference: Reference) -> bool:
    if pattern is None or pattern.port not in (None, reference.port):
        return False
    if pattern.below:
        return reference.host.endswith(f".{pattern.host}")
    return reference.host == pattern.host


def _read_pattern(text: str) -> _Pattern | None:
    below = text.startswith("*.")
    reference = _read(text[2:] if below else text)
    if reference is None or (below and ":" in reference.host):
        return None
    return _Pattern(reference.host, reference.port, below)


def check_patterns(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A setting's check: a tuple of hosts that may be followed."""
    texts(_, attribute, value)
    for text in value:
        if _read_pattern(text) is None:
            raise ConfigError(
                attribute.name,
                f"{text!r} is not host, host:port, [address]:port or *.example.com",
            )
