"""Where the organization ID comes from: a value, the environment, a file, a callable.

The rule: a source that cannot say it raises one error, whatever went wrong, and the text of that
says why without what is in the source.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
import trio

from ..._values.basics.files import open_regular
from ..._values.errors import ConfigError
from ..._values.settings.groups.broker import DEFAULT_ORGANIZATION_FILE
from ..._values.settings.settings import (
    OrganizationSource,
    Settings,
    environment_name,
    organization_id_from_environment,
)
from ..._values.topics import TopicError, check_segment
from ..failures import showable, split_foreign, text_of

MAX_FILE_BYTES = 256 * 1024
SOURCE_TIMEOUT = 30.0  # seconds for one answer of an asynchronous callable
# Where the host application looks, in its order; then what somebody writes by hand.
FILE_PLACES = (
    ("thing", "lastReported", "organizationId"),
    ("shadow", "state", "reported", "organizationId"),
    ("shadow", "state", "desired", "organizationId"),
    ("organizationId",),
)
# The guide's host has its file there, on machines where it is installed.
HOST_FOLDER = Path("/opt/droneleaf")
HOST_ORGANIZATION_FILE = HOST_FOLDER / "certs/perm/thing-parameters.json"


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
        self._path = path

    @property
    def path(self) -> Path:
        """The file that counts now; see `organization_file_of`."""
        return organization_file_of(self._path)

    @property
    def description(self) -> str:
        """The file that counts now, and the setting."""
        return f"the file {self.path} (setting organization_file)"

    async def read(self) -> str:
        """The first non-empty of the known places."""
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


def organization_file_of(path: Path) -> Path:
    """The file that is read for a setting `organization_file`.

    It is `path`, but where that is the default and does not exist: a machine on which the guide's
    host is installed has its own, which may come late. So a text names one file, and on other
    machines never that of a vendor.
    """
    if path == DEFAULT_ORGANIZATION_FILE and not os.path.exists(path):
        return HOST_ORGANIZATION_FILE if os.path.exists(HOST_FOLDER) else path
    return path


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
