"""Where the broker is, and the TLS that leads there: what every wire of our own needs first.

    mqtt://host[:1883]    mqtts://host[:8883]    unix:///path/of/the/socket
    ws://host[:80]/path   wss://host[:443]/path

The rule: certificates are always verified and the host name is always checked; there is no
setting to turn that off. Plain TCP is for this machine only, unless `allow_insecure` says that
the user knows. The trap: a name such as `broker.local` may resolve to anything, so only literal
loopback addresses and `localhost` itself count as this machine; `localhost.` does not, because the
resolver looks past the hosts file for it and asks a name server.

Another trap: not all that leads to a host is a part of its name. A zone belongs to this machine
alone, and the dot at the end to the resolver; neither stands in a certificate.
"""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from urllib.parse import unquote

import attrs
import idna

from ..._values.basics.files import open_regular
from ..._values.errors import ConfigError
from ..._values.settings.proxies import PROXY_OFF, Proxy, is_exempt, read_proxy
from ..._values.settings.settings import Settings
from .credentials import BROKER_SECRETS, SIDECAR_SECRETS, CredentialsFailed, renew_from_files
from .websocket_settings import WEBSOCKET_SCHEMES, read_headers, websocket_resource

_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_TLS_SETTINGS = ("ca_file", "cert_file", "key_file", "alpn", "tls_server_name")


@attrs.frozen
class Address:
    """Host and port of a broker, and whether the way there is TLS.

    Attributes:
        host: to connect to; an IPv6 address may have a zone: `fe80::1%eth0`.
        path: of a Unix socket, which is then the way there.
        resource: of a WebSocket, such as /mqtt; None where MQTT goes without one.
        proxy: through which the way leads.
        server_name: for TLS: what the certificate has to carry, and SNI says; made of the host,
            unless it is another.
    """

    host: str
    port: int
    tls: bool
    path: str | None = None
    resource: str | None = None
    proxy: Proxy | None = None
    server_name: str = attrs.field(
        default=attrs.Factory(lambda self: certificate_name(self.host), takes_self=True),
        kw_only=True,
    )

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
    proxy = proxy_to(settings, url.hostname or "", url.port or _DEFAULT_PORTS.get(url.scheme, 0))
    if settings.websocket_headers_file is not None and url.scheme not in WEBSOCKET_SCHEMES:
        raise ConfigError("websocket_headers_file", "needs a ws:// or wss:// address")
    if url.scheme == "unix":
        _refuse_tls_settings(settings)
        is_path = url.path.startswith("/") and url.path != "/"
        if url.netloc or url.query or url.fragment or not is_path:
            raise ConfigError("broker", f"{settings.broker!r} has to be unix:///path")
        if proxy is not None:
            raise ConfigError("proxy", "leads to no Unix socket")
        if settings.server_references:
            raise ConfigError("server_references", "lead to no other server from a Unix socket")
        return Address("localhost", _DEFAULT_PORTS["mqtt"], tls=False, path=url.path)
    if url.scheme not in _DEFAULT_PORTS:
        known = "mqtt://, mqtts://, ws://, wss:// or unix://"
        raise ConfigError("broker", f"must start with {known}, not {url.scheme}://")
    host = host_of("broker", settings.broker, url.hostname)
    resource = websocket_resource(url) if url.scheme in WEBSOCKET_SCHEMES else None
    if resource is None and (url.path not in ("", "/") or url.query or url.fragment):
        raise ConfigError("broker", f"{settings.broker!r} has more than a host and a port")
    if url.port == 0:
        raise ConfigError("broker", "port 0 cannot be connected to")
    tls = url.scheme in ("mqtts", "wss")
    found = Address(
        host,
        url.port or _DEFAULT_PORTS[url.scheme],
        tls,
        resource=resource,
        proxy=proxy,
        server_name=server_name(settings, host) if tls else host,
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


def proxy_to(settings: Settings, host: str, port: int) -> Proxy | None:
    """The proxy on the way to a server; None where there is none, or it is not for that one.

    Raises:
        ConfigError: there are credentials for none.
    """
    credentials = settings.origin_of("proxy_credentials")
    if settings.proxy is None and credentials is not None:
        raise ConfigError(credentials, f"need a proxy beside them, or proxy = {PROXY_OFF}")
    if settings.proxy is None or settings.proxy == PROXY_OFF:
        return None
    proxy = read_proxy(settings.proxy, settings.proxy_credentials)
    return None if is_exempt(host, port, settings.no_proxy) else proxy


def with_present_credentials(address: Address, settings: Settings) -> Address:
    """The address with what `settings`, which were renewed, show the proxy now."""
    proxy = address.proxy
    if proxy is None or proxy.credentials == settings.proxy_credentials:
        return address
    return attrs.evolve(address, proxy=attrs.evolve(proxy, credentials=settings.proxy_credentials))


def host_of(setting: str, address: str, host: str | None) -> str:
    """The host of an address, with the zone of an IPv6 address as the resolver takes it.

    In an address the zone is written behind `%25` (RFC 6874, section 2); a bare `%` is taken too.

    Raises:
        ConfigError: there is none, or it can be no host.
    """
    if not host or not host.isprintable() or " " in host or not host.strip("."):
        raise ConfigError(setting, f"{address!r} names no host")
    literal, percent, zone = host.partition("%")
    if not percent:
        return host
    if zone.startswith("25") and zone != "25":  # the whole of it: a bare one, and a number
        zone = unquote(zone[2:])
    if ":" not in literal or not zone.isprintable() or not zone or set(zone) & set(" /%"):
        raise ConfigError(setting, f"{address!r} has a '%' with no zone of an IPv6 address")
    return f"{literal}%{zone}"


def server_name(settings: Settings, host: str) -> str:
    """The name that TLS checks and says as SNI: the one that is set, or the host's.

    Raises:
        ConfigError: it can be no host's name.
    """
    setting = "broker" if settings.tls_server_name is None else "tls_server_name"
    name = settings.tls_server_name or host
    try:
        return certificate_name(name)
    except UnicodeError as error:
        raise ConfigError(setting, f"{name!r} can be no host's name: {error}") from None


def certificate_name(host: str) -> str:
    """A host as certificates name it: without zone and without a dot at its end, in ASCII.

    In the same ASCII that Trio connects to (IDNA 2008 and UTS 46): Python's own codec is of 2003,
    and makes another name of some, such as those with an eszett.

    Raises:
        UnicodeError: it can be no host's name.
    """
    name = host.partition("%")[0].removesuffix(".")
    return name if name.isascii() else idna.encode(name, uts46=True).decode()


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

    Args:
        settings: with `key_password` as a fixed value, if there is one; see `renew`.

    Raises:
        CredentialsFailed: a certificate or key file cannot be read or used, now.
    """
    for name in ("ca_file", "cert_file", "key_file"):
        path: Path | None = getattr(settings, name)
        if path is not None:
            _check_readable(name, path)
    try:
        # SERVER_AUTH is the default purpose: CERT_REQUIRED and check_hostname are on.
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ValueError) as error:
        text = f"{settings.ca_file} has no certificates to trust: {error}"
        raise CredentialsFailed("ca_file", text) from None
    if settings.cert_file is not None:
        _load_key(context, settings)
    if settings.alpn:
        context.set_alpn_protocols(list(settings.alpn))
    return context


def _load_key(context: ssl.SSLContext, settings: Settings) -> None:
    assert settings.cert_file is not None
    asked = False

    def password() -> str:
        # Without this, OpenSSL asks for the password on the terminal, and a service hangs there.
        nonlocal asked
        asked = True
        if settings.key_password is None:
            text = f"{settings.key_file} is encrypted: set key_password_file (or key_password)"
            raise CredentialsFailed("key_file", text)
        return settings.key_password

    try:
        context.load_cert_chain(settings.cert_file, settings.key_file, password)
    except (OSError, ValueError) as error:  # the latter for a password that OpenSSL has no room for
        if asked and "KEY_VALUES_MISMATCH" not in str(error):
            text = f"{settings.key_file} cannot be decrypted: the key password is wrong"
            raise CredentialsFailed("key_file", text) from None
        text = f"{settings.cert_file} cannot be used together with key_file {settings.key_file}"
        raise CredentialsFailed("cert_file", f"{text}: {error}") from None


def check_files(settings: Settings) -> None:
    """Look once at all files that links will read: for a start with a person at the terminal.

    Raises:
        ConfigError: one cannot be used as it is now.
    """
    names = SIDECAR_SECRETS if settings.transport == "sidecar" else BROKER_SECRETS
    try:
        settings = renew_from_files(settings, names)
        # A key whose password comes from a function is looked at when that is asked.
        if settings.peer_has_tls and settings.key_password_source is None:
            tls_context(settings)
        if settings.transport == "native":
            read_headers(settings.websocket_headers_file)
    except CredentialsFailed as error:
        raise ConfigError(error.setting, error.reason) from None


def _check_readable(name: str, path: Path) -> None:
    try:
        # OpenSSL would wait for the writer of a pipe, and hold up the event loop.
        open_regular(path).close()
    except OSError as error:
        raise CredentialsFailed(name, f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise CredentialsFailed(name, "cannot be read: the path has a null character") from None
