"""The name of the host's Redis proxy."""

from __future__ import annotations

from .._missing import missing_from
from ._stand_in import StandIn


class RedisProxy(StandIn):
    """Redis: values, and messages between processes."""

    _petalkit_name = "redis"


__getattr__ = missing_from(__name__)
