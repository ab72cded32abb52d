"""HTTPS_PROXY and NO_PROXY, for the command line: `Settings()` in Python reads no environment.

The rule: the environment counts where no `proxy` is set, for a connection that is TLS, and never
for this machine. `proxy = "off"` goes past it. Whoever connects says that it goes through a proxy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ..._values.settings.proxies import Proxy, no_proxy_of, proxy_from_environment
from ..._values.settings.settings import Settings

_SOME_HOST = "broker.invalid"
_FOR_ALL = {"no_proxy": ""}
_THIS_MACHINE = "localhost 127.0.0.0/8 ::1"
_PORTS = {"mqtts": 8883, "wss": 443}


def with_environment_proxy(
    settings: Settings, environment: Mapping[str, str]
) -> tuple[Settings, Proxy | None]:
    """The settings with the proxy that the environment names, and that one; None for none.

    Raises:
        ConfigError: it names something that is no HTTP proxy.
    """
    url = settings.broker_url()
    if settings.proxy is not None or settings.transport == "sidecar" or url.scheme not in _PORTS:
        return settings, None
    if not url.hostname:
        return settings, None
    port = url.port or _PORTS[url.scheme]
    proxy = proxy_from_environment(environment, url.hostname, port)
    # Where the broker may send us elsewhere, that may need it though this does not, or the reverse.
    meant = proxy
    if meant is None and settings.server_references:
        meant = proxy_from_environment({**environment, **_FOR_ALL}, _SOME_HOST, port)
    if meant is None:
        return settings, None
    changed: dict[str, Any] = {"proxy": str(meant), "no_proxy": settings.no_proxy}
    if not changed["no_proxy"]:
        changed["no_proxy"] = f"{no_proxy_of(environment)} {_THIS_MACHINE}".strip()
    if meant.credentials is not None:
        origin = settings.origin_of("proxy_credentials")
        changed |= {} if origin is None else {origin: None}
        changed["proxy_credentials"] = meant.credentials
    return attrs.evolve(settings, **changed), proxy
