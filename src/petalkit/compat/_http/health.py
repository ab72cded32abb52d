"""What the host's own addresses say of how it is, in the host's form.

    /health                whether anybody is there
    /health/organization   the organization ID
    /health/detailed       that, and each proxy
    /health/overview       the same for a dashboard, with the petals

The rule: what petalkit cannot know is "unknown", and makes nothing unhealthy. The trap: a proxy is
the petal's, and is asked in the petal's loop, for a short while.
"""

from __future__ import annotations

import datetime as dt
import inspect
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import trio

from ..._authoring.context import PetalHost
from ..._authoring.inspection.foreign import attribute_of
from ..._serving.identity.sources import organization_file_of
from ..._values.basics.version import __version__
from .._loop.loop import PetalLoop
from .._organization import get_organization_manager

HOST_VERSION = "0.2.7"  # whose form this is
ASK_MAX = 2.5  # seconds for one proxy
_MQTT = "mqtt"
_TITLES: dict[str, str] = {
    "redis": "Redis Proxy",
    "db": "LocalDB Proxy",
    "ext_mavlink": "MAVLink External Proxy",
    "ftp_mavlink": "MAVLink FTP Proxy",
    "cloud": "Cloud DB Proxy",
    "bucket": "S3 Bucket Proxy",
    _MQTT: "MQTT Proxy",
}
_SIGNS = ("is_connected", "connected")  # not `is_ready`: in the host, that it has been started
Document = dict[str, Any]


@attrs.frozen
class Served:
    """A petal that is served.

    Attributes:
        petal: of the guide.
        host: what serves it.
        loop: its own.
        proxies: gives those that are there by now, by name, without `mqtt`; it makes none.
    """

    petal: Any
    host: PetalHost
    loop: PetalLoop
    proxies: Callable[[], Mapping[str, Any]]


class Health:
    """See the module.

    Attributes:
        served: the petals that are, by name.
        states: of all: `"loading"`, `"loaded"` or `"failed"`; and their versions.
    """

    def __init__(self) -> None:
        self.served: dict[str, Served] = {}
        self.states: dict[str, tuple[str, str]] = {}

    def organization(self) -> Document:
        """What `/health/organization` says."""
        return {
            "status": "ok",
            "timestamp": time.time(),
            "organization_manager": self._organization(),
            "error": None,
        }

    async def detailed(self) -> Document:
        """What `/health/detailed` says. Trio-flavored; takes `ASK_MAX` at most."""
        proxies: dict[str, Document] = {}
        if self.served:
            proxies[_MQTT] = self._mqtt()
        with trio.move_on_after(ASK_MAX):
            async with trio.open_nursery() as nursery:
                for one in self.served.values():
                    for name, proxy in one.proxies().items():
                        if name not in proxies:
                            proxies[name] = _proxy("unknown", details="no answer in time")
                            nursery.start_soon(self._ask, proxies, name, proxy, one)
        organization = self._organization()
        statuses = [organization["status"], *(each["status"] for each in proxies.values())]
        healthy = all(status in ("healthy", "unknown") for status in statuses)
        return {
            "status": "healthy" if healthy else "unhealthy",
            "timestamp": time.time(),
            "organization_manager": organization,
            "proxies": proxies,
            "message": None,
        }

    async def overview(self) -> Document:
        """What `/health/overview` says. Trio-flavored; the same."""
        known = await self.detailed()
        now = dt.datetime.now().isoformat()  # without a zone, as the host has it
        organization = known["organization_manager"]["status"]
        services = [_service("Organization Manager", "organization_manager", organization, now)]
        for name, proxy in known["proxies"].items():
            title = _TITLES.get(name) or name
            services.append(_service(title, name, proxy["status"], now))
        healthy = known["status"] == "healthy"
        return {
            "title": "Petal App Manager",
            "component_name": "petal_app_manager",
            "status": known["status"],
            "version": HOST_VERSION,
            "petal_versions": {
                name.replace("-", "_"): version for name, (_, version) in self.states.items()
            },
            "message": "Good conditions" if healthy else "Some issues detected",
            "timestamp": now,
            "services": services,
            "petals": [
                {
                    "name": name,
                    "status": state,
                    "version": version,
                    "is_startup_petal": True,
                    "load_time": None,
                    "error": None,
                }
                for name, (state, version) in self.states.items()
            ],
            "served_by": f"petalkit {__version__}",
        }

    def _organization(self) -> Document:
        manager = get_organization_manager()
        info = manager.organization_info
        settings = next((one.host.settings for one in self.served.values()), None)
        file = None if settings is None else organization_file_of(settings.organization_file)
        known = bool(info.organization_id)
        return {
            "status": "healthy" if known else "warning",
            "file_path": None if file is None else str(file),
            "file_exists": None if file is None else Path(file).exists(),
            "organization_info": {
                "organization_id": info.organization_id,
                "thing_name": attribute_of(info, "thing_name"),
                "retrieved_at": attribute_of(info, "retrieved_at"),
                "last_updated": info.last_updated,
            },
            "monitoring": {"running": bool(self.served), "poll_interval": manager.poll_interval},
            "error": None,
            "details": None,
            "message": None if known else "the organization ID is not known yet",
        }

    def _mqtt(self) -> Document:
        host = next(iter(self.served.values())).host
        identity = host.identity
        connected = host.connected
        return {
            "status": "healthy" if connected else "unhealthy",
            "connection": {
                "ts_client": connected,
                "callback_router": host.settings.transport == "sidecar",
                "connected": connected,
            },
            "configuration": {"transport": host.settings.transport},
            "subscriptions": {"topics": list(host.settings.command_topics)},
            "device_info": {
                "organization_id": None if identity is None else identity.organization_id,
                "robot_instance_id": None if identity is None else identity.device_id,
            },
            "error": None,
            "details": None if connected else "there is no link to the broker",
        }

    async def _ask(self, found: dict[str, Document], name: str, proxy: Any, one: Served) -> None:
        check = attribute_of(proxy, "health_check")
        if callable(check):
            try:
                said = await one.loop.run(f"health of {name}", check)
            except trio.Cancelled:
                raise
            except BaseException as error:  # the proxy's, SystemExit too
                found[name] = _proxy("error", error=type(error).__name__)
                return
            if isinstance(said, Mapping):
                status = str(said.get("status", "unknown"))
                found[name] = {**_proxy(status), **said, "status": status}
            return
        found[name] = _proxy("unknown", details="it does not say how it is")
        for sign in _SIGNS:
            value = None
            if not inspect.ismethod(attribute_of(proxy, sign)):
                value = attribute_of(proxy, sign)
            if isinstance(value, bool):
                status = "healthy" if value else "unhealthy"
                found[name] = _proxy(status, connected=value)
                return
        if attribute_of(proxy, "is_ready") is False:
            found[name] = _proxy("unhealthy", details="it has not started")


def _proxy(
    status: str,
    *,
    connected: bool | None = None,
    error: str | None = None,
    details: str | None = None,
) -> Document:
    connection = {} if connected is None else {"connected": connected}
    return {"status": status, "connection": connection, "error": error, "details": details}


def _service(title: str, name: str, status: str, now: str) -> Document:
    healthy = status == "healthy"
    said = status if status in ("healthy", "unknown") else "unhealthy"
    return {
        "title": title,
        "component_name": name,
        "status": said,
        "message": f"{title} works" if healthy else f"Status: {status}",
        "timestamp": now,
    }
