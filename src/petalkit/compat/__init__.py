"""petalkit.compat: petals of the MQTT Petal Integration Guide and its host, unchanged.

    from petalkit import run
    from petalkit.compat import adapt

    run(*adapt(FlightLogPetal(), CameraPetal()), NativePetal())

Such a petal is an asyncio class; it gets a loop of its own, on Trio, and everything of it belongs
to it. `install()` makes the host's import names lead here, so that its module is unchanged too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._adapter import GuidePetal as GuidePetal
from ._adapter import adapt as adapt
from ._base import BaseProxy as BaseProxy
from ._base import Petal as Petal
from ._decorators import http_action as http_action
from ._decorators import mqtt_action as mqtt_action
from ._decorators import websocket_action as websocket_action
from ._errors import HookFailed as HookFailed
from ._errors import HostInstalled as HostInstalled
from ._errors import MethodRemoved as MethodRemoved
from ._errors import ProxyNotAvailable as ProxyNotAvailable
from ._install import install as install
from ._organization import OrganizationInfo as OrganizationInfo
from ._organization import OrganizationManager as OrganizationManager
from ._organization import get_organization_manager as get_organization_manager
from ._organization import set_organization_manager as set_organization_manager
from ._proxy import MQTTProxy as MQTTProxy

if TYPE_CHECKING:
    from .models import MQTTMessage as MQTTMessage


def __getattr__(name: str) -> Any:
    if name == "MQTTMessage":  # needs pydantic, which is an extra
        from .models import MQTTMessage

        return MQTTMessage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
