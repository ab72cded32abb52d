"""HTTPS_PROXY and NO_PROXY, for the command line: `Settings()` in Python reads no environment.

The rule: the environment counts where no `proxy` is set, for a connection that is TLS, and never
for this machine. `proxy = "off"` goes past it. Whoever connects says that it goes through a proxy.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from ..._values.settings.proxies import Proxy, proxy_from_environment
from ..._values.settings.settings import Settings

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
    proxy = proxy_from_environment(environment, url.hostname, url.port or _PORTS[url.scheme])
    if proxy is None:
        return settings, None
    changed = attrs.evolve(
        settings,
        proxy=str(proxy),
        proxy_credentials=proxy.credentials or settings.proxy_credentials,
    )
    return changed, proxy
