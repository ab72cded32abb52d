"""The host's name for `petalkit.compat.MQTTProxy`."""

from __future__ import annotations

from petalkit.compat import MQTTProxy as MQTTProxy

from .._missing import missing_from

__getattr__ = missing_from(__name__)
