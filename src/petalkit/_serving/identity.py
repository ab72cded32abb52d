"""The organization-ID waiter: who this device is, known now, late, or another from here on.

The rule: no identity, no topic. Nothing is connected or published before the organization ID is
known, and a source that turns bad (deleted, malformed, empty) never takes away an ID that was
good: a device that flies does not lose its name because a file is being rewritten.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import machineid
import msgspec
import trio

from .._values.errors import ConfigError
from .._values.files import open_regular
from .._values.messages import Identity
from .._values.settings.settings import (
    OrganizationSource,
    Settings,
    environment_name,
    organization_id_from_environment,
)
from .._values.topics import TopicError, check_segment
from .failures import showable, split_foreign, text_of

logger = logging.getLogger("petalkit.identity")

MAX_FILE_BYTES = 256 * 1024
SOURCE_TIMEOUT = 30.0  # seconds for one answer of an asynchronous callable
REMIND_INTERVAL = 60.0  # seconds between two log lines of an ID that does not come
# Where the host application looks, in its order.
FILE_PLACES = (
    ("thing", "lastReported", "organizationId"),
    ("shadow", "state", "reported", "organizationId"),
    ("shadow", "state", "desired", "organizationId"),
)


class SourceError(Exception):
    """A source could not say the organization ID; the text says why, without contents."""


class Source(Protocol):
    """Where the organization ID comes from."""

    @property
    def description(self) -> str:
        """For the log: which place, and which setting names it."""
        ...

    @property
    def fixed(self) -> bool:
        """Whether it can never change, so that it is asked once."""
        ...

    async def read(self) -> str:
        """The ID now. Raises SourceError when there is none."""
        ...


class FixedSource:
    """A value that was set, or stood in the environment, when the runtime started."""

    fixed = True

    def __init__(self, value: str, description: str) -> None:
        self.value = value
        self.description = description

    async def read(self) -> str:
        """The value."""
        return self.value


class FileSource:
    """The JSON file that provisioning writes.

    Read in the event loop: it is a bounded read of a local file, shorter than the way to a
    worker thread, and deterministic under a mock clock.
    """

    fixed = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description = f"the file {path} (setting organization_file)"

    async def read(self) -> str:
        """The first non-empty of the three known places."""
        return self.read_now()

    def read_now(self) -> str:
        """The same, for callers that are not asynchronous."""
        try:
            with open_regular(self.path) as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            raise SourceError("does not exist") from None
        except OSError as error:
            raise SourceError(f"cannot be read: {error.strerror}") from None
        except ValueError:  # a null character in the path
            raise SourceError("cannot be read: the path has a null character") from None
        if len(content) > MAX_FILE_BYTES:
            raise SourceError(f"is larger than {MAX_FILE_BYTES} bytes")
        if not content.strip():
            raise SourceError("is empty")
        try:
            document = msgspec.json.decode(content)
        except (ValueError, RecursionError):
            raise SourceError("is not valid JSON") from None
        for place in FILE_PLACES:
            value = _dig(document, place)
            if isinstance(value, str) and value:
                return value
        raise SourceError(
            "has no organization ID in " + ", ".join(".".join(place) for place in FILE_PLACES)
        )


def _dig(document: Any, place: tuple[str, ...]) -> Any:
    for key in place:
        if not isinstance(document, Mapping):
            return None
        document = document.get(key)
    return document


class CallableSource:
    """A function of the user's, plain or asynchronous."""

    fixed = False

    def __init__(self, function: OrganizationSource) -> None:
        self._function = function
        name = getattr(function, "__qualname__", type(function).__qualname__)
        self.description = f"the callable {name} (setting organization_source)"

    async def read(self) -> str:
        """What it returns. Its errors are ours to report, not to die of."""
        try:
            value = self._function()
            if inspect.isawaitable(value):
                with trio.fail_after(SOURCE_TIMEOUT):
                    value = await value
        except trio.TooSlowError:
            raise SourceError(f"did not answer within {SOURCE_TIMEOUT} s") from None
        except BaseException as error:  # of whatever class: asyncio's CancelledError too
            travels, errors = split_foreign(error)
            if travels is not None:
                raise travels from None
            assert errors is not None
            raise SourceError(f"raised {text_of(errors)}") from showable(errors)
        if value is None:
            raise SourceError("does not know it yet")
        if not isinstance(value, str):
            raise SourceError(f"returned {type(value).__name__}, not a string")
        if not value:
            raise SourceError("does not know it yet")
        return value


def make_source(settings: Settings) -> Source:
    """The source that the settings name: a fixed ID, the callable, the environment, the file."""
    if settings.organization_id is not None:
        return FixedSource(settings.organization_id, "the setting organization_id")
    if settings.organization_source is not None:
        return CallableSource(settings.organization_source)
    value = organization_id_from_environment()
    if value is not None:
        variable = environment_name("organization_id")
        try:
            check_segment(value, variable)
        except TopicError as error:
            raise ConfigError("organization_id", str(error)) from None
        return FixedSource(value, f"the environment variable {variable}")
    return FileSource(settings.organization_file)


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


def client_id_of(settings: Settings, identity: Identity) -> str:
    """The MQTT client ID of a device: the one that is set, or one of its identity."""
    return settings.client_id or f"petalkit-{identity.organization_id}-{identity.device_id}"


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


class IdentityWaiter:
    """Asks a source until it answers, and goes on asking: the ID may change.

    Args:
        settings: for the source, the device ID and the poll interval.

    Attributes:
        device_id: known from the start, and the same for ever.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._source = make_source(settings)
        self.device_id = resolve_device_id(settings)
        self._current: Identity | None = None
        self._changed = trio.Event()
        self._problem: str | None = None
        self._reported_at = 0.0

    @property
    def current(self) -> Identity | None:
        """The identity now; None while it is not known."""
        return self._current

    async def wait(self) -> Identity:
        """Wait until the identity is known. No limit: it may come in a month."""
        while self._current is None:
            await self._changed.wait()
        return self._current

    async def wait_other(self, known: Identity) -> Identity:
        """Wait until the identity is another than `known`. No limit: most never change."""
        while self._current is None or self._current == known:
            await self._changed.wait()
        return self._current

    async def wait_same(self, known: Identity) -> None:
        """Wait until the identity is `known` again. No limit: it may never be."""
        while self._current != known:
            await self._changed.wait()

    async def run(self) -> None:
        """Ask until cancelled; returns only when the source can never change."""
        while True:
            await self.ask()
            if self._source.fixed:
                return
            await trio.sleep(self._settings.organization_poll_interval)

    async def ask(self) -> None:
        """Ask the source once."""
        try:
            organization_id = await self._source.read()
            identity = Identity(
                organization_id, self.device_id, base_topic=self._settings.base_topic
            )
        except SourceError as error:
            self._report(str(error))
            return
        except TopicError as error:
            self._report(f"gives an ID that cannot be used: {error}")
            return
        self._problem = None
        if identity == self._current:
            return
        if self._current is None:
            logger.info("organization ID is %r, from %s", organization_id, self._source.description)
        else:
            logger.warning(
                "organization ID changed from %r to %r, by %s",
                self._current.organization_id,
                organization_id,
                self._source.description,
            )
        self._current = identity
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    def _report(self, problem: str) -> None:
        now = trio.current_time()
        again = self._current is None and now >= self._reported_at + REMIND_INTERVAL
        if problem == self._problem and not again:
            return
        self._problem = problem
        self._reported_at = now
        if self._current is None:
            logger.warning(
                "waiting for the organization ID: %s %s; asked again every %g s. Nothing is "
                "connected before it is known; set organization_id to give it by hand",
                self._source.description,
                problem,
                self._settings.organization_poll_interval,
            )
        else:
            logger.warning(
                "%s %s; going on as organization %r",
                self._source.description,
                problem,
                self._current.organization_id,
            )
