"""Who this device is: the source of its organization ID, and its device ID."""

from __future__ import annotations

from pathlib import Path

from ...._serving.identity.client_id import client_id_of, former_client_id_of
from ...._serving.identity.device import resolve_device_id
from ...._serving.identity.sources import FileSource, FixedSource, SourceError, make_source
from ...._values.errors import ConfigError
from ...._values.messages import Identity
from ...._values.settings.settings import Settings
from ...._values.topics import TopicError, check_segment
from ..case import user_name
from ..values import Check, Findings, failed
from .files import check_mode, why_not_readable

CLIENT_ID_MAX = 128  # bytes that AWS IoT Core takes
_BY_HAND = "To go on without it, give the ID by hand: --organization-id ID."


def check_organization(settings: Settings) -> tuple[str | None, Check]:
    """Where the organization ID comes from, and what it is; None where it is not known."""
    try:
        source = make_source(settings)
    except ConfigError as error:
        return None, failed("organization", str(error), "Correct the ID, or unset it.")
    findings = Findings("organization")
    if isinstance(source, FixedSource):
        findings.ok(f"{source.value!r}, from {source.description}")
        return source.value, findings.check(nothing="")
    assert isinstance(source, FileSource)  # a callable cannot come from a command line
    check_mode(findings, "organization_file", source.path)
    value = _read(source, findings)
    return value, findings.check(nothing="")


def _read(source: FileSource, findings: Findings) -> str | None:
    try:
        value = source.read_now()
    except SourceError as error:
        findings.fail(*_explain(source, str(error)))
        return None
    try:
        check_segment(value, "organization ID")
    except TopicError as error:
        findings.fail(
            f"{source.path} gives an ID that cannot be used: {error}",
            "Have the right ID written there: it is one level of a topic.",
            _BY_HAND,
        )
        return None
    findings.ok(f"{value!r}, from {source.description}")
    return value


def _explain(source: FileSource, problem: str) -> tuple[str, ...]:
    path = source.path
    error = _why_not_opened(path)
    if isinstance(error, FileNotFoundError):
        what, _ = why_not_readable(path, error)
        return what, "Wait for provisioning, or name the right file: organization_file.", _BY_HAND
    if isinstance(error, PermissionError):
        return (*why_not_readable(path, error), _BY_HAND)
    if problem.startswith("has no organization ID"):
        todo = "Assign the device to an organization, or name the right file: organization_file."
    elif problem == "is empty" or problem.startswith("is not valid JSON"):
        todo = "It is being written, or broken: ask again, then have it provisioned anew."
    else:
        todo = "Name the right file: organization_file."
    return f"{path} {problem} (read as {user_name()})", todo, _BY_HAND


def _why_not_opened(path: Path) -> OSError | None:
    try:
        # Only asked about, not opened: opening a pipe would wait for its writer.
        path.stat()
        if path.is_file():
            path.open("rb").close()
    except OSError as error:
        return error
    except ValueError:  # a null character
        return None
    return None


def check_device(settings: Settings, organization: str | None) -> tuple[str | None, Check]:
    """The device ID, set or made of the machine's, and the client ID that comes of it.

    Args:
        settings: of the device.
        organization: its organization ID; None where that is not known.
    """
    try:
        value = resolve_device_id(settings)
    except ConfigError as error:
        return None, failed("device", str(error), "Set device_id.")
    where = "from the setting device_id"
    if settings.device_id is None:
        where = "made of this machine's ID"
    findings = Findings("device")
    findings.ok(f"{value!r}, {where}")
    identity = make_identity(settings, organization, value)
    if identity is not None:
        _add_client_id(findings, settings, identity)
    return value, findings.check(nothing="")


def _add_client_id(findings: Findings, settings: Settings, identity: Identity) -> None:
    client_id = client_id_of(settings, identity)
    size = len(client_id.encode())
    if size > CLIENT_ID_MAX:
        findings.warn(
            f"its client ID has {size} bytes",
            f"AWS IoT Core takes {CLIENT_ID_MAX}, other brokers more: set client_id.",
        )
    if settings.client_id is not None and settings.organization_id is None:
        findings.ok(
            f"client ID {client_id!r}, set: should the device come into another organization while "
            "it is off, what waits in the session of the one before is acknowledged and not run"
        )
        return
    former = former_client_id_of(settings, identity)
    if former is not None:  # for brokers whose rights go by client ID
        findings.ok(f"client ID {client_id!r}, which 0.1 called {former!r}")
        if settings.former_client_id:
            findings.warn(
                f"former_client_id: each start takes over the session of {former!r}, "
                "also from a device that is at work under it",
                "Unset it once that is done.",
            )
        else:
            findings.ok(
                f"what waits in the session of {former!r} stays there (former_client_id takes it)"
            )


def make_identity(
    settings: Settings, organization: str | None, device: str | None
) -> Identity | None:
    """Both together; None where one is missing."""
    if organization is None or device is None:
        return None
    return Identity(organization, device, base_topic=settings.base_topic)
