"""The host's name for `petalkit.compat.Petal`."""

from __future__ import annotations

from petalkit.compat import Petal as Petal

from .._missing import missing_from

__getattr__ = missing_from(__name__)
