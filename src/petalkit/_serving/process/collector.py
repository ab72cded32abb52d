"""Python's collector of cycles, in a process that is ours.

The rule: a full collection stops everything, an emergency stop too; so it looks at little. The
trap: of a hundred modules nothing is garbage while they are loaded, and a start that looks again
and again whether it is takes a quarter longer.
"""

from __future__ import annotations

import gc

_NEVER = 1_000_000  # collections of the middle generation before a full one


class _Usual:
    """What it does while it does not rest."""

    thresholds: tuple[int, int, int] | None = None


def rest() -> None:
    """No full collections until `wake`."""
    if _Usual.thresholds is None:
        young, middle, _ = _Usual.thresholds = gc.get_threshold()
        gc.set_threshold(young, middle, _NEVER)


def wake() -> None:
    """As before; what a petal has set meanwhile stays."""
    usual, _Usual.thresholds = _Usual.thresholds, None
    if usual is not None and gc.get_threshold() == (*usual[:2], _NEVER):
        gc.set_threshold(*usual)


def spare() -> None:
    """Look no more at all that is there by now, and `wake`.

    Under load there are some full collections: with the modules of a usual device alone each takes
    70 ms. What comes later is little.
    """
    gc.collect()
    gc.freeze()
    wake()
