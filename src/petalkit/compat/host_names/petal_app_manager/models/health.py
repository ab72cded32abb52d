"""What the host and its petals publish of their health.

The models of the host's own HTTP answers are not here: petalkit gives none.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal, TypeAlias

from petalkit.compat.models import AfterValidator, BaseModel, Field

from .._missing import missing_from


class HealthStatus:
    """How something is."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    ERROR = "error"
    UNKNOWN = "unknown"
    WARNING = "warning"


def _check_time(text: str) -> str:
    dt.datetime.fromisoformat(text)
    return text


_Status: TypeAlias = Literal["healthy", "unhealthy", "error", "unknown"]
_Time: TypeAlias = Annotated[str, AfterValidator(_check_time)]  # ISO 8601


class PetalHealthInfo(BaseModel):
    """How a petal is."""

    name: str
    status: Literal["loaded", "loading", "failed", "not_loaded"]
    version: str | None = None
    is_startup_petal: bool = False
    load_time: str | None = None
    error: str | None = None


class ServiceHealthInfo(BaseModel):
    """How a part of an application is."""

    title: str
    component_name: str
    status: _Status
    message: str
    timestamp: _Time


class HealthMessage(BaseModel):
    """How an application is, with all its parts."""

    title: str
    component_name: str
    status: _Status
    version: str
    petal_versions: dict[str, str] | None = None
    message: str
    timestamp: _Time
    services: list[ServiceHealthInfo] = Field(min_length=1)
    petals: list[PetalHealthInfo] = Field(default_factory=list[PetalHealthInfo])


__getattr__ = missing_from(__name__)
