"""HTTP and WebSocket endpoints of petals written for the guide.

The rule: what leaves this machine needs a token, so an address that others can reach is refused
without one, before anything starts.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any

import attrs

from ....errors import ConfigError
from ...checks import count, host_names, positive_seconds, some_bytes, texts
from ...fields import MIB, SecretSource, file_setting, setting

HTTP_OFF = "off"
HTTP_DEFAULT = "127.0.0.1:9000"  # the port of the guide's host
_ADDRESS = re.compile(
    r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<name>[A-Za-z0-9._-]+)):(?P<port>\d{1,5})"
)
_ORIGIN = re.compile(r"https?://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
_TOKEN = re.compile("[!-~]+")


def _listen(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """An address and a port, or `off`; None is the default."""
    if value is None or value == HTTP_OFF:
        return
    try:
        split_listen(value)
    except (TypeError, ValueError):
        raise ConfigError(
            attribute.name, f"must be an address and a port, or {HTTP_OFF}, not {value!r}"
        ) from None


def _token(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """What can stand in a header; never repeated in the error."""
    if value is not None and not (isinstance(value, str) and _TOKEN.fullmatch(value)):
        raise ConfigError(attribute.name, "must be printable ASCII without spaces")


def _origins(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Origins as browsers write them: RFC 6454, section 6.2."""
    texts(_, attribute, value)
    for one in value:
        if not _ORIGIN.fullmatch(one):
            text = f"{one!r} has to be as http://name or https://name:port, in small letters"
            raise ConfigError(attribute.name, text)


@attrs.frozen(kw_only=True, slots=False)
class CompatHttpSettings:
    """HTTP and WebSocket endpoints of petals written for the guide."""

    compat_http: str | None = setting(
        None,
        "Address and port on which HTTP and WebSocket endpoints of petals written for the guide "
        f'are served; "{HTTP_OFF}" for nowhere. Without it {HTTP_DEFAULT}, where such a petal has '
        "any and the extra host-http is installed.",
        check=_listen,
    )
    compat_http_token: str | None = setting(
        None,
        "A secret without which no request to HTTP endpoints is taken; needed where others can "
        "reach compat_http.",
        check=_token,
        secret=True,
    )
    compat_http_token_file: Path | None = file_setting(
        None,
        "A file that holds compat_http_token and nothing else; read when the endpoints are opened.",
    )
    compat_http_token_source: SecretSource | None = setting(
        None, "A callable that gives compat_http_token, asked when the endpoints are opened."
    )
    compat_http_hosts: tuple[str, ...] = setting(
        (),
        "Host names under which HTTP endpoints are called, beside localhost and that in "
        "compat_http; IP addresses always are.",
        check=host_names,
    )
    compat_http_origins: tuple[str, ...] = setting(
        (),
        "Origins, such as http://panel.local:8080, whose web pages may call HTTP endpoints, beside "
        "pages that the petals serve themselves.",
        check=_origins,
    )
    compat_http_timeout: float = setting(
        600.0,
        "Longest time for an HTTP endpoint to begin its answer, or to accept a WebSocket.",
        unit="s",
        check=positive_seconds,
    )
    compat_http_body_max: int = setting(
        MIB,
        "Longest body of a request to an HTTP endpoint, and longest message of a WebSocket.",
        unit="bytes",
        check=some_bytes,
    )
    compat_http_connections: int = setting(
        64, "Connections to HTTP endpoints at once; half of these may be WebSockets.", check=count
    )
    compat_http_files: Path | None = file_setting(
        None,
        "The folder with static/PETAL and templates/PETAL, as the host has it. Without it both are "
        "looked for beside the petal's own file.",
    )


def split_listen(text: str) -> tuple[str, int]:
    """Host and port of an address to listen on.

    Raises:
        ValueError: it is none.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found["port"]) > 65_535:
        raise ValueError(text)
    if found["six"] is not None:
        ipaddress.IPv6Address(found["six"])
    return found["six"] or found["name"], int(found["port"])


def check_http_reach(settings: Any) -> None:
    """Refuse an address that others can reach, without a token.

    Raises:
        ConfigError: it is one.
    """
    listen = settings.compat_http
    if listen is None or listen == HTTP_OFF or settings.origin_of("compat_http_token") is not None:
        return
    host, _ = split_listen(listen)
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = host.lower() == "localhost"
    if not is_here:
        raise ConfigError(
            "compat_http",
            f"other machines can reach {listen!r}: set compat_http_token or compat_http_token_file "
            "too, or keep it on 127.0.0.1",
        )
