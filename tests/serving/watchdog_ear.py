"""Listens to the watchdog, and lets the petal that blocks go on as soon as it has spoken."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Generator

from petalkit import Settings

SETTINGS = Settings(organization_id="acme", device_id="d", watchdog=0.05)


@contextlib.contextmanager
def hear(text: str, reported: threading.Event) -> Generator[list[logging.LogRecord]]:
    """The watchdog's reports with a text in them; the event is set with the first."""
    reports: list[logging.LogRecord] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if text in record.getMessage():  # a busy machine may stand still too
                reports.append(record)
                reported.set()

    logger = logging.getLogger("petalkit.watchdog")
    ear = Ear()
    logger.addHandler(ear)
    try:
        yield reports
    finally:
        logger.removeHandler(ear)
