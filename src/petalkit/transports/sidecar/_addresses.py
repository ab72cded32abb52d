"""Where the sidecar is, and where it finds us.

The rule: plain HTTP is for this machine only, in both directions, unless `allow_insecure` says that
the user knows. The trap: the address that is listened on need not be one that the sidecar can
reach, in a container for example; so what it is told can be set apart, as `callback_url`.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, quote, urlsplit

import attrs

from ..._values.errors import ConfigError
from ..._values.settings.proxies import PROXY_OFF
from ..._values.settings.settings import Settings
from .._connecting.credentials import CredentialsFailed
from .._connecting.tls import host_of, is_loopback, server_name

CALLBACK_PATH = "/mqtt-callback/callback"  # the guide's host's own
_PORTS = {"http": 80, "https": 443}
_TARGET = re.compile("[!-~]*")  # they stand in the head of a request
_NAME = re.compile("[A-Za-z0-9._-]+")
_TOKEN = re.compile("[!-~]+")
_NO_TOKEN = "must be printable ASCII without spaces"  # noqa: S105 - the text of an error
# What leads to a broker, which is the sidecar's business.
_NOT_OURS = (
    "no_proxy", "proxy_credentials", "proxy_credentials_file", "proxy_credentials_source",
    "server_references", "websocket_headers_file",
)  # fmt: skip
_TLS_SETTINGS = ("ca_file", "cert_file", "key_file", "tls_server_name")


@attrs.frozen
class Addresses:
    """Both ends, as the settings have them.

    Attributes:
        url: of the sidecar, without a slash at its end.
        host: in it.
        port: in it.
        tls: whether it is reached by TLS.
        server_name: what its certificate has to carry then.
        prefix: the path in it; mostly empty.
        listen_host: where we listen.
        listen_port: where we listen; 0 for any that is free.
    """

    url: str
    host: str
    port: int
    tls: bool
    server_name: str
    prefix: str
    listen_host: str
    listen_port: int

    @property
    def authority(self) -> str:
        """For the header `Host`; a zone is this machine's alone (RFC 6874, section 1)."""
        return _authority(self.host.partition("%")[0], self.port)


def sidecar_addresses(settings: Settings) -> Addresses:
    """Read both addresses.

    Raises:
        ConfigError: one of them cannot be read, or plain HTTP would leave this machine.
    """
    url = _http_url("sidecar_url", settings.sidecar_url)
    for name in _NOT_OURS:
        if getattr(settings, name):
            raise ConfigError(name, "is the sidecar's business, which has the way to the broker")
    if settings.proxy not in (None, PROXY_OFF):
        raise ConfigError("proxy", "is the sidecar's business, which has the way to the broker")
    host = host_of("sidecar_url", settings.sidecar_url, url.hostname)
    if url.scheme == "http":
        _refuse_insecure(settings, "sidecar_url", host)
        for name in _TLS_SETTINGS:
            if getattr(settings, name) is not None:
                text = f"needs an https:// address, not {settings.sidecar_url!r}"
                raise ConfigError(name, text)
    elif settings.alpn:
        raise ConfigError("alpn", "is for brokers, not for a sidecar")
    if not _TARGET.fullmatch(url.path):
        raise ConfigError("sidecar_url", f"{settings.sidecar_url!r} has a path that is none")
    if settings.sidecar_token is not None and not _TOKEN.fullmatch(settings.sidecar_token):
        raise ConfigError("sidecar_token", _NO_TOKEN)
    listen_host, listen_port = _listen_address(settings.callback_listen)
    _refuse_insecure(settings, "callback_listen", listen_host)
    if settings.callback_url is not None:
        told = _http_url("callback_url", settings.callback_url)
        if told.scheme == "http":
            _refuse_insecure(settings, "callback_url", told.hostname or "")
    return Addresses(
        url=_with_host(settings.sidecar_url, host).rstrip("/"),
        host=host,
        port=url.port or _PORTS[url.scheme],
        tls=url.scheme == "https",
        server_name=server_name(settings, host) if url.scheme == "https" else host,
        prefix=url.path.rstrip("/"),
        listen_host=listen_host,
        listen_port=listen_port,
    )


def check_renewed_token(settings: Settings, renewed: Settings) -> None:
    """See whether a token that was just read can stand in a request.

    Raises:
        CredentialsFailed: it cannot.
    """
    token = renewed.sidecar_token
    if token is not None and not _TOKEN.fullmatch(token):
        origin = settings.origin_of("sidecar_token") or "sidecar_token"
        raise CredentialsFailed(origin, f"what it gives {_NO_TOKEN}")


def callback_url(settings: Settings, port: int) -> str:
    """What the sidecar is told: where to send messages. It holds the token, if there is one.

    Args:
        settings: checked by `sidecar_addresses`.
        port: on which we listen.
    """
    base = settings.callback_url
    if base is None:
        host, _ = _listen_address(settings.callback_listen)
        base = f"http://{_authority(_reachable(host), port)}"
    if urlsplit(base).path in ("", "/"):
        base = base.rstrip("/") + CALLBACK_PATH
    # In the address, because the clients that there are send no header of ours back.
    return base if settings.sidecar_token is None else f"{base}?token={_quoted(settings)}"


def _with_host(url: str, host: str) -> str:
    """The address as httpx takes it: with a bare zone."""
    _, percent, zone = host.partition("%")
    return f"{url[: url.index('%')]}%{zone}{url[url.index(']') :]}" if percent else url


def _quoted(settings: Settings) -> str:
    assert settings.sidecar_token is not None
    return quote(settings.sidecar_token, safe="")


def _reachable(host: str) -> str:
    """An address to connect to, of one to listen on: "every address" is none."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not bound here


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _http_url(setting: str, text: str) -> SplitResult:
    if "@" in text:
        # Never echoed, wherever in it they stand: what is said of an address ends up in logs.
        raise ConfigError(setting, "must not hold credentials: use sidecar_token")
    try:
        url = urlsplit(text)
        url.port  # noqa: B018 - asking is the check
    except ValueError as error:
        raise ConfigError(setting, f"cannot be read as an address: {error}") from None
    if url.scheme not in _PORTS or not (url.hostname and _TARGET.fullmatch(url.hostname)):
        raise ConfigError(setting, f"{text!r} has to be http:// or https:// and a host")
    if url.query or url.fragment:
        raise ConfigError(setting, "must have neither a query nor a fragment")
    if url.port == 0:
        raise ConfigError(setting, "port 0 cannot be connected to")
    return url


def _listen_address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and _is_host(host) and port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise ConfigError("callback_listen", f"{text!r} has to be an address and a port")
    return host, int(port)


def _is_host(host: str) -> bool:
    if ":" not in host:
        return _NAME.fullmatch(host) is not None
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _refuse_insecure(settings: Settings, setting: str, host: str) -> None:
    if not (settings.allow_insecure or is_loopback(host)):
        raise ConfigError(
            setting,
            f"{getattr(settings, setting)!r} would send everything in the clear: keep it on this "
            "machine, or set allow_insecure if the network is trusted",
        )
