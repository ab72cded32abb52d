"""The host's name for `petalkit.compat.MQTTMessage`."""

from __future__ import annotations

from petalkit.compat.models import MQTTMessage as MQTTMessage

from .._missing import missing_from

__getattr__ = missing_from(__name__)
