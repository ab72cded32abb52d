"""The host's name for `petalkit.compat.BaseProxy`."""

from __future__ import annotations

from petalkit.compat import BaseProxy as BaseProxy

from .._missing import missing_from

__getattr__ = missing_from(__name__)
