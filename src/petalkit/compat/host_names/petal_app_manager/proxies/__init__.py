"""The host's proxies: MQTT from petalkit, and the names of the others."""

from __future__ import annotations

from .._missing import missing_from
from .bucket import S3BucketProxy
from .cloud import CloudDBProxy
from .external import MavLinkExternalProxy, MavLinkFTPProxy
from .localdb import LocalDBProxy
from .mqtt import MQTTProxy
from .redis import RedisProxy

__all__ = [
    "CloudDBProxy",
    "LocalDBProxy",
    "MQTTProxy",
    "MavLinkExternalProxy",
    "MavLinkFTPProxy",
    "RedisProxy",
    "S3BucketProxy",
]

__getattr__ = missing_from(__name__)
