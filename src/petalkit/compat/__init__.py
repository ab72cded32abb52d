"""petalkit.compat: petals of the MQTT Petal Integration Guide and its host, unchanged.

    from petalkit import run
    from petalkit.compat import adapt

    run(*adapt(FlightLogPetal(), CameraPetal()), NativePetal())

Such a petal is an asyncio class; it gets a loop of its own on Trio, or one together with those that
it shares proxies with, and everything of it belongs to it. `install()` makes the host's import
names lead here, so that its module is unchanged too.

    _errors         what compat raises of its own
    _loop/          the asyncio loop of one petal, its tasks and threads
    _decorators     the host's decorators: they only mark
    models          the pydantic model of a command
    _organization   `OrganizationManager`
    _base           `Petal` and `BaseProxy`
    _reading        what a petal's code says without being run
    _http/          their HTTP and WebSocket endpoints
    _petal/         a petal of the guide while it is served
    _host_code      the host's own proxies, from a folder of the user's
    _install        `install()`

It may import all but `testing` and `cli`. Begin with `_petal/`, which serves such a petal.
`host_names/` is what `petal_app_manager` leads to: it may import this package, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._base import BaseProxy as BaseProxy
from ._base import Petal as Petal
from ._decorators import http_action as http_action
from ._decorators import mqtt_action as mqtt_action
from ._decorators import websocket_action as websocket_action
from ._errors import HookFailed as HookFailed
from ._errors import HostCodeMissing as HostCodeMissing
from ._errors import HostInstalled as HostInstalled
from ._errors import MethodRemoved as MethodRemoved
from ._errors import ProxyNotAvailable as ProxyNotAvailable
from ._install import install as install
from ._organization import OrganizationInfo as OrganizationInfo
from ._organization import OrganizationManager as OrganizationManager
from ._organization import get_organization_manager as get_organization_manager
from ._organization import set_organization_manager as set_organization_manager
from ._petal.adapter import GuidePetal as GuidePetal
from ._petal.adapter import adapt as adapt
from ._petal.proxy import MQTTProxy as MQTTProxy

if TYPE_CHECKING:
    from .models import MQTTMessage as MQTTMessage


def __getattr__(name: str) -> Any:
    if name == "MQTTMessage":  # needs pydantic, which is an extra
        from .models import MQTTMessage

        return MQTTMessage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
