"""The host's models, as far as petals make or check them. They need pydantic."""

from __future__ import annotations

from .._missing import missing_from
from .health import HealthMessage as HealthMessage
from .health import HealthStatus as HealthStatus
from .health import ServiceHealthInfo as ServiceHealthInfo
from .mqtt import MQTTMessage as MQTTMessage

__getattr__ = missing_from(__name__)
