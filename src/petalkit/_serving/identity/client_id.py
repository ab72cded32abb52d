"""The MQTT client ID, which names the device's session at the broker.

The rule: no two identities have one client ID, or two organizations share a session, and each gets
what was sent to the other. The trap: IDs may have hyphens, so `petalkit-acme-x-y` alone does not
say where the organization ends. Where that has a hyphen, its length stands in front; what begins
with `petalkit--` is of this kind, because no organization ID is empty.

MQTT promises 23 characters, of `0-9a-zA-Z` (3.1.1 and 5.0, section 3.1.3.1), and no broker that we
know demands that. Ours has 271 at most, and nothing but what the IDs have, digits and hyphens.
"""

from __future__ import annotations

from ..._values.messages import Identity
from ..._values.settings.settings import Settings

PREFIX = "petalkit-"


def client_id_of(settings: Settings, identity: Identity) -> str:
    """The client ID of a device: the one that is set, or one of its identity."""
    if settings.client_id is not None:
        return settings.client_id
    organization, device = identity.organization_id, identity.device_id
    if "-" in organization:
        return f"{PREFIX}-{len(organization)}-{organization}-{device}"
    return f"{PREFIX}{organization}-{device}"


def former_client_id_of(settings: Settings, identity: Identity) -> str | None:
    """The client ID that earlier versions made, if it was another.

    It may be that of another identity, too.
    """
    if settings.client_id is not None or "-" not in identity.organization_id:
        return None
    return f"{PREFIX}{identity.organization_id}-{identity.device_id}"
