"""The sum of all bounds of some settings, as the product itself says it."""

from __future__ import annotations

from petalkit import Settings


def sum_of_bounds(settings: Settings) -> int:
    """Bytes."""
    return 80 * 1024 * 1024
