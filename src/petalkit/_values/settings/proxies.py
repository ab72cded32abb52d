"""An HTTP proxy as a value: its address, who we are for it, and what the environment says of it.

    http://proxy.example.com:3128

The rules: credentials never stand in an address, which is logged; only the environment may bring
them so, as everybody writes it there, and they are taken out at once. NO_PROXY is read as curl and
Python read it: host names with all their subdomains, addresses, networks, host:port, or `*`. The
trap: an empty variable says that there is no proxy, and a lower-case one takes precedence over its
twin in capitals, also when it is empty.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import attrs

from ..errors import ConfigError

PROXY_OFF = "off"  # the setting's word for none, whatever the environment says
PROXY_VARIABLE = "HTTPS_PROXY"
NO_PROXY_VARIABLE = "NO_PROXY"


@attrs.frozen
class Proxy:
    """Where an HTTP proxy listens.

    Attributes:
        credentials: `name:password`, for Basic authentication (RFC 7617).
    """

    host: str
    port: int
    credentials: str | None = attrs.field(default=None, repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def read_proxy(text: str, credentials: str | None = None) -> Proxy:
    """The proxy of the setting `proxy`, which is not "off".

    Raises:
        ConfigError: it is no address of an HTTP proxy; what may be a secret is not repeated.
    """
    if "@" in text:
        raise ConfigError("proxy", "must not hold credentials: use proxy_credentials")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise ConfigError("proxy", f"cannot be read as an address: {error}") from None
    if url.scheme == "https" and url.hostname:
        # A tunnel in a tunnel would need a second context of TLS, with a CA of its own.
        text = "a proxy that is itself reached over TLS (https://) is not supported: use http://"
        raise ConfigError("proxy", text)
    host = url.hostname
    if url.scheme != "http" or not host or not host.isprintable() or " " in host:
        raise ConfigError("proxy", f"{text!r} is not http://host:port, nor the word {PROXY_OFF}")
    if url.path not in ("", "/") or url.query or url.fragment:
        raise ConfigError("proxy", f"{text!r} has more than a host and a port")
    if port == 0:
        raise ConfigError("proxy", "port 0 cannot be connected to")
    return Proxy(host, port or 80, credentials)


def check_proxy(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A setting's check: the address of a proxy, "off", or None."""
    if value is None or value == PROXY_OFF:
        return
    if not isinstance(value, str):
        raise ConfigError(attribute.name, "must be a text: http://host:port")
    read_proxy(value)


def check_no_proxy(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A setting's check: hosts, as NO_PROXY names them."""
    if not isinstance(value, str) or not value.isprintable():
        raise ConfigError(attribute.name, "must be a text: hosts with commas between them")


def check_credentials(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A setting's check: `name:password`, or None."""
    if value is None:
        return
    if not isinstance(value, str) or ":" not in value or not value.isprintable():
        # RFC 7617, section 2: no control characters.
        raise ConfigError(attribute.name, "must be a name, a colon and a password")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigError(attribute.name, "is not valid Unicode") from None


# -- the environment


def proxy_from_environment(environment: Mapping[str, str], host: str, port: int) -> Proxy | None:
    """The proxy that the environment names for a TLS connection to `host`; None for none.

    Args:
        environment: `https_proxy` and `no_proxy` of it are asked, and both in capitals.
        host: of the broker; one that is loopback never goes through it.
        port: of the broker.

    Raises:
        ConfigError: what is there is no address of an HTTP proxy.
    """
    text = _variable(environment, PROXY_VARIABLE).strip()
    if not text or _is_this_machine(host):
        return None
    if is_exempt(host, port, _variable(environment, NO_PROXY_VARIABLE)):
        return None
    address = text if "://" in text else f"http://{text}"
    scheme, _, rest = address.partition("://")
    user_info, at, place = rest.rpartition("@")
    try:
        proxy = read_proxy(f"{scheme.lower()}://{place}")
    except ConfigError as error:
        raise ConfigError("proxy", f"{error.reason} (from {PROXY_VARIABLE})") from None
    if not at:
        return proxy
    name, _, password = user_info.partition(":")
    credentials = f"{unquote(name)}:{unquote(password)}"
    if not credentials.isprintable():
        raise ConfigError("proxy", f"has unusable credentials (from {PROXY_VARIABLE})")
    return attrs.evolve(proxy, credentials=credentials)


def no_proxy_of(environment: Mapping[str, str]) -> str:
    """What NO_PROXY says: one line, as the setting `no_proxy` has it."""
    return " ".join(_variable(environment, NO_PROXY_VARIABLE).replace(",", " ").split())


def _variable(environment: Mapping[str, str], name: str) -> str:
    lower = environment.get(name.lower())
    return environment.get(name, "") if lower is None else lower


def is_exempt(host: str, port: int, no_proxy: str) -> bool:
    """Whether NO_PROXY names this host: entries are separated by commas or white space."""
    host = host.lower().rstrip(".")
    address = _address(host)
    return any(
        entry == "*" or _names(entry.lower(), host, port, address)
        for entry in no_proxy.replace(",", " ").split()
    )


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _names(entry: str, host: str, port: int, address: _Address | None) -> bool:
    for name, at_port in _readings(entry):
        if at_port not in (None, port):
            continue
        if address is None:
            # `.example.com`, `*.example.com` and `example.com` are one: itself and what is below.
            domain = name.removeprefix("*").strip(".")
            if domain and (host == domain or host.endswith(f".{domain}")):
                return True
        else:
            try:
                if address in ipaddress.ip_network(name.strip("[]"), strict=False):
                    return True
            except ValueError:
                continue
    return False


def _readings(entry: str) -> Iterator[tuple[str, int | None]]:
    """An entry as it is, and as host:port: `::1` may be either."""
    yield entry, None
    name, colon, digits = entry.rpartition(":")
    if colon and digits.isascii() and digits.isdigit() and (":" not in name or name[:1] == "["):
        yield name, int(digits[:6])


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_this_machine(host: str) -> bool:
    address = _address(host)
    return host.lower().rstrip(".") == "localhost" if address is None else address.is_loopback
