"""Where the broker is, and the TLS that leads there: what every wire of our own needs first.

    mqtt://host[:1883]    mqtts://host[:8883]    unix:///path/of/the/socket
    ws://host[:80]/path   wss://host[:443]/path

The rule: certificates are always verified and the host name is always checked; there is no
setting to turn that off. Plain TCP is for this machine only, unless `allow_insecure` says that
the user knows. The trap: a name such as `broker.local` may resolve to anything, so only literal
loopback addresses and `localhost` itself count as this machine.
"""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from typing import NoReturn

import attrs

from .._errors import ConfigError
from .._files import open_regular
from .._proxies import PROXY_OFF, Proxy, read_proxy
from .._settings import Settings
from ._websocket_settings import WEBSOCKET_SCHEMES, websocket_resource

_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_TLS_SETTINGS = ("ca_file", "cert_file", "key_file", "alpn")


@attrs.frozen
class Address:
    """Host and port of a broker, and whether the way there is TLS.

    Attributes:
        path: of a Unix socket, which is then the way there.
        resource: of a WebSocket, such as /mqtt; None where MQTT goes without one.
        proxy: through which the way leads.
    """

    host: str
    port: int
    tls: bool
    path: str | None = None
    resource: str | None = None
    proxy: Proxy | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def broker_address(settings: Settings) -> Address:
    """The address in `settings.broker`.

    Raises:
        ConfigError: the scheme is none of these, more than host and port is given, TLS settings
            stand beside a plain address, or plain TCP would leave this machine.
    """
    url = settings.broker_url()
    proxy = _proxy(settings)
    if settings.websocket_headers_file is not None and url.scheme not in WEBSOCKET_SCHEMES:
        raise ConfigError("websocket_headers_file", "needs a ws:// or wss:// address")
    if url.scheme == "unix":
        _refuse_tls_settings(settings)
        is_path = url.path.startswith("/") and url.path != "/"
        if url.netloc or url.query or url.fragment or not is_path:
            raise ConfigError("broker", f"{settings.broker!r} has to be unix:///path")
        if proxy is not None:
            raise ConfigError("proxy", "leads to no Unix socket")
        return Address("localhost", _DEFAULT_PORTS["mqtt"], tls=False, path=url.path)
    if url.scheme not in _DEFAULT_PORTS:
        known = "mqtt://, mqtts://, ws://, wss:// or unix://"
        raise ConfigError("broker", f"must start with {known}, not {url.scheme}://")
    if not url.hostname or not url.hostname.isprintable() or " " in url.hostname:
        raise ConfigError("broker", f"{settings.broker!r} names no host")
    resource = websocket_resource(url) if url.scheme in WEBSOCKET_SCHEMES else None
    if resource is None and (url.path not in ("", "/") or url.query or url.fragment):
        raise ConfigError("broker", f"{settings.broker!r} has more than a host and a port")
    if url.port == 0:
        raise ConfigError("broker", "port 0 cannot be connected to")
    tls = url.scheme in ("mqtts", "wss")
    found = Address(
        url.hostname, url.port or _DEFAULT_PORTS[url.scheme], tls, resource=resource, proxy=proxy
    )
    if not tls:
        _refuse_tls_settings(settings)
    if not is_safe(found, settings):
        raise ConfigError(
            "broker",
            f"{settings.broker!r} would send everything in the clear: use "
            f"{'mqtts' if resource is None else 'wss'}://, "
            "or set allow_insecure if the network is trusted",
        )
    return found


def is_safe(address: Address, settings: Settings) -> bool:
    """Whether nothing leaves this machine in the clear, or the user knows.

    A proxy elsewhere takes even `localhost` for a name of its own.
    """
    if address.tls or settings.allow_insecure:
        return True
    proxy = address.proxy
    return is_loopback(address.host) and (proxy is None or is_loopback(proxy.host))


def _proxy(settings: Settings) -> Proxy | None:
    if settings.proxy is None or settings.proxy == PROXY_OFF:
        return None
    return read_proxy(settings.proxy, settings.proxy_credentials)


def _refuse_tls_settings(settings: Settings) -> None:
    for name in _TLS_SETTINGS:
        if getattr(settings, name):
            raise ConfigError(name, f"needs an mqtts:// or wss:// address, not {settings.broker!r}")


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine, as far as can be said without asking a resolver."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def tls_context(settings: Settings) -> ssl.SSLContext:
    """A client context that verifies the broker's certificate and its host name.

    Made anew for every connection, so that a renewed certificate is used without a restart.

    Raises:
        ConfigError: a certificate or key file cannot be read or used; it names the setting.
    """
    for name in ("ca_file", "cert_file", "key_file"):
        path: Path | None = getattr(settings, name)
        if path is not None:
            _check_readable(name, path)
    try:
        # SERVER_AUTH is the default purpose: CERT_REQUIRED and check_hostname are on.
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ValueError) as error:
        raise ConfigError("ca_file", f"has no certificates to trust: {error}") from None
    if settings.cert_file is not None:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file, _no_password)
        except OSError as error:
            raise ConfigError(
                "cert_file", f"cannot be used together with key_file: {error}"
            ) from None
    if settings.alpn:
        try:
            context.set_alpn_protocols(list(settings.alpn))
        except (ssl.SSLError, UnicodeEncodeError) as error:
            raise ConfigError("alpn", f"cannot be used: {error}") from None
    return context


def _check_readable(name: str, path: Path) -> None:
    try:
        # OpenSSL would wait for the writer of a pipe, and hold up the event loop.
        open_regular(path).close()
    except OSError as error:
        raise ConfigError(name, f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(name, "cannot be read: the path has a null character") from None


def _no_password() -> NoReturn:
    # Without this, OpenSSL asks for the password on the terminal, and a service hangs there.
    raise ConfigError("key_file", "is encrypted; petalkit needs a key without a password")
