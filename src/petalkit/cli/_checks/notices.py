"""What the loading of settings and petals warns of, for a report and not for the log."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator


@contextlib.contextmanager
def notices() -> Generator[list[str]]:
    """What is warned of inside the block, taken out of the log."""
    logger = logging.getLogger("petalkit.settings")
    texts: list[str] = []

    def take(record: logging.LogRecord) -> bool:
        texts.append(record.getMessage())
        return False

    level = logger.level
    logger.setLevel(logging.WARNING)
    logger.addFilter(take)
    try:
        yield texts
    finally:
        logger.removeFilter(take)
        logger.setLevel(level)
