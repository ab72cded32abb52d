"""The name of the host's bucket proxy."""

from __future__ import annotations

from .._missing import missing_from
from ._stand_in import StandIn


class S3BucketProxy(StandIn):
    """Files in an S3 bucket."""

    _petalkit_name = "bucket"


__getattr__ = missing_from(__name__)
