"""The sum of all bounds of some settings, as the product itself says it."""

from __future__ import annotations

from petalkit import Settings, memory_bounds


def sum_of_bounds(settings: Settings) -> int:
    """Bytes."""
    return sum(bound.size for bound in memory_bounds(settings))
