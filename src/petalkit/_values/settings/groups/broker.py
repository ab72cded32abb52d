"""Where to, and as whom.

Who the device is stands here too: organization, device and client ID.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

import attrs

from ..checks import as_text, mqtt_text, one_of, positive_seconds, segment
from ..fields import absolute, setting

Protocol = Literal["3.1.1", "5"]
OrganizationSource = Callable[[], str | Awaitable[str | None] | None]

DEFAULT_ORGANIZATION_FILE = Path("/etc/petalkit/organization.json")


@attrs.frozen(kw_only=True, slots=False)
class BrokerSettings:
    """Where to, and as whom."""

    broker: str = setting(
        "mqtt://localhost:1883",
        "Address of the broker: mqtt:// or mqtts://, host and port; ws:// or wss:// and a path "
        "too; or unix:// and a path.",
    )
    transport: str = setting(
        "asyncio-mqtt",
        "Which transport carries the messages: asyncio-mqtt, native (MQTT 5, less CPU), or sidecar "
        "(an external MQTT client, over HTTP).",
    )
    protocol: Protocol = attrs.field(
        # Of the transport: native has MQTT 5 only.
        default=attrs.Factory(
            lambda self: "5" if self.transport == "native" else "3.1.1", takes_self=True
        ),
        converter=as_text,  # what a file has without quotes
        validator=one_of("3.1.1", "5"),
        metadata={
            "help": "MQTT version; there is no silent fallback. The native transport has 5 only.",
            "unit": "",
            "secret": False,
            "default": "3.1.1, with native 5",
        },
    )
    organization_id: str | None = setting(
        None, "A fixed organization ID. Takes precedence over the file.", check=segment
    )
    organization_file: Path = attrs.field(
        default=DEFAULT_ORGANIZATION_FILE,
        converter=absolute,
        metadata={
            "help": "The JSON file that the organization ID is read from. Where the default does "
            "not exist and the guide's host is installed, that host's own file is read.",
            "unit": "",
            "secret": False,
        },
    )
    organization_source: OrganizationSource | None = setting(
        None, "A callable that gives the organization ID, or None while it is not known."
    )
    organization_poll_interval: float = setting(
        5.0, "How often the file or the callable is asked.", unit="s", check=positive_seconds
    )
    device_id: str | None = setting(
        None, "The device ID; without one, Instance- and the hashed machine ID.", check=segment
    )
    client_id: str | None = setting(
        None,
        "The MQTT client ID; without one it is made of organization and device ID.",
        check=mqtt_text,
    )
    former_client_id: bool = setting(
        False,
        "Take over, at each start, what waits under the client ID of 0.1, where the organization "
        "ID has a hyphen. Whoever is connected with that ID loses its link.",
    )
