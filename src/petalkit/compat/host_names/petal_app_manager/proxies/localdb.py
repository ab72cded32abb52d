"""The name of the host's local database proxy."""

from __future__ import annotations

from .._missing import missing_from
from ._stand_in import StandIn


class LocalDBProxy(StandIn):
    """The database on the device."""

    _petalkit_name = "db"


__getattr__ = missing_from(__name__)
