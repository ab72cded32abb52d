"""The IDs of a device: as far as they are known without waiting for anything."""

from __future__ import annotations

import logging

import machineid

from ..._values.errors import ConfigError
from ..._values.messages import Identity
from ..._values.settings.settings import Settings
from ..._values.topics import TopicError
from .sources import FileSource, FixedSource, SourceError, make_source

logger = logging.getLogger("petalkit.identity")


def resolve_device_id(settings: Settings) -> str:
    """The device ID that is set, or `Instance-` and the hashed machine ID.

    Raises:
        ConfigError: none is set and this machine has no ID.
    """
    if settings.device_id is not None:
        return settings.device_id
    try:
        return f"Instance-{machineid.hashed_id('petalkit')}"
    except machineid.MachineIdNotFound:
        raise ConfigError(
            "device_id", "must be set: this machine has no ID of its own in /etc/machine-id"
        ) from None


def resolve_identity_now(settings: Settings) -> Identity | None:
    """The identity as it is at this moment, for programs that do not wait.

    None when the organization ID is not known, or comes from an asynchronous callable.

    Raises:
        ConfigError: see `resolve_device_id`.
    """
    source = make_source(settings)
    try:
        if isinstance(source, FileSource):
            organization_id = source.read_now()
        elif isinstance(source, FixedSource):
            organization_id = source.value
        else:
            return None
        return Identity(
            organization_id, resolve_device_id(settings), base_topic=settings.base_topic
        )
    except (SourceError, TopicError) as error:
        logger.warning("no organization ID: %s %s", source.description, error)
        return None
