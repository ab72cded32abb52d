"""asyncio-mqtt itself, imported without the notice that it has been renamed (S17)."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def _without_rename_notice() -> Generator[None]:
    """S17: asyncio-mqtt warns of its new name whenever it is imported; that one record is cut."""

    def wanted(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("We renamed asyncio-mqtt to aiomqtt")

    logger = logging.getLogger("mqtt")
    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)


with _without_rename_notice():
    import asyncio_mqtt as asyncio_mqtt

MqttError = asyncio_mqtt.MqttError
