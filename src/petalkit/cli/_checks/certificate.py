"""What a certificate says of itself: how long it is good.

Python's `ssl` tells this only of a certificate that a verified handshake has brought. That of a
local file, or of a broker that is not trusted, is read here: the way to the two dates, and no
further (RFC 5280, section 4.1). It decides nothing; whether to trust is OpenSSL's business.
"""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime

import attrs

DAY = 86_400.0  # seconds
DAYS_WARNED = 30  # before the end

_PEM = re.compile(
    r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----", re.ASCII
)
_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x30, 0x17, 0x18, 0xA0


@attrs.frozen
class Validity:
    """From when until when a certificate is good; seconds since the epoch."""

    begins: float
    ends: float

    def days_left(self, now: float) -> int:
        """Whole days, below 0 when it has ended."""
        return int((self.ends - now) // DAY)

    def ends_on(self) -> str:
        """The date, in UTC."""
        return _date(self.ends)

    def begins_on(self) -> str:
        """The same for the first day."""
        return _date(self.begins)


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def validities(pem: str) -> list[Validity]:
    """Of every certificate in a PEM file, in its order.

    Raises:
        ValueError: one of them cannot be read.
    """
    return [validity(ssl.PEM_cert_to_DER_cert(found[0])) for found in _PEM.finditer(pem)]


def validity(der: bytes) -> Validity:
    """Of one certificate.

    Raises:
        ValueError: it cannot be read.
    """
    certificate, _ = _take(der, _SEQUENCE)
    rest, _ = _take(certificate, _SEQUENCE)  # what is signed
    if rest[:1] == bytes([_VERSION]):
        rest = _skip(rest)
    for _ in range(3):  # serial number, algorithm, issuer
        rest = _skip(rest)
    dates, _ = _take(rest, _SEQUENCE)
    begins, dates = _time(dates)
    ends, _ = _time(dates)
    return Validity(begins, ends)


def _split(data: bytes) -> tuple[int, bytes, bytes]:
    """Tag, contents and what follows (X.690, section 8.1)."""
    if len(data) < 2:
        raise ValueError("the certificate is cut off")
    length, start = data[1], 2
    if length & 0x80:
        count = length & 0x7F
        start += count
        length = int.from_bytes(data[2:start], "big")
        if not 1 <= count <= 4:
            raise ValueError("the certificate has a length that cannot be")
    if len(data) < start + length:
        raise ValueError("the certificate is cut off")
    return data[0], data[start : start + length], data[start + length :]


def _take(data: bytes, tag: int) -> tuple[bytes, bytes]:
    found, contents, rest = _split(data)
    if found != tag:
        raise ValueError("this is no certificate")
    return contents, rest


def _skip(data: bytes) -> bytes:
    return _split(data)[2]


def _time(data: bytes) -> tuple[float, bytes]:
    tag, contents, rest = _split(data)
    text = contents.decode("ascii")
    if tag == _UTC_TIME:  # RFC 5280, section 4.1.2.5.1: 50 and above are of the last century
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("the certificate has a time that cannot be read")
    moment = datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    return moment.timestamp(), rest
