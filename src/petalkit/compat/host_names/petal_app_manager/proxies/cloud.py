"""The name of the host's cloud database proxy."""

from __future__ import annotations

from .._missing import missing_from
from ._stand_in import StandIn


class CloudDBProxy(StandIn):
    """The database in the cloud."""

    _petalkit_name = "cloud"


__getattr__ = missing_from(__name__)
