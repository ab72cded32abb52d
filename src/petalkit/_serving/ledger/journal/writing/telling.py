"""Calls those who wait for the disk.

The rule: what one of them raises is our bug, or a petal's code; others are not to pay for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

logger = logging.getLogger("petalkit.journal")

_CANNOT_GO_ON = "could not go on after the journal was written"


def guarded(function: Callable[..., object], *arguments: object) -> None:
    """Call it."""
    try:
        function(*arguments)
    except Exception:
        logger.exception(_CANNOT_GO_ON)


def call_each(functions: Iterable[Callable[[], object]]) -> None:
    """Call them, in order. Two for each command: so with no call between."""
    for function in functions:
        try:
            function()
        except Exception:
            logger.exception(_CANNOT_GO_ON)
