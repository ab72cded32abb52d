"""What devices say to callers without being asked: understood, or refused, and never believed."""

from __future__ import annotations

from petalkit._values.codec import Limits
from petalkit._values.errors import PayloadError
from petalkit._values.messages import Response
from petalkit.client._errors import FAMILIES, CommandRefused, PetalRefused, refusal
from petalkit.client._long.jobs import read_update
from petalkit.client._reading.devices import PETALS_MAX, WORD_MAX, read_status
from petalkit.client._reading.web import Event, read_web

LIMITS = Limits(100_000, 32, 200)


def web(data: bytes) -> None:
    """A message on `command/web`, and what it says of a job."""
    try:
        found = read_web(data, "d", LIMITS)
    except PayloadError:
        return
    if isinstance(found, Event):
        assert isinstance(found.command, str)
        assert isinstance(found.data, dict)
        assert found.message_id is None or isinstance(found.message_id, str)
        _refusal(Response(found.data))
        return
    assert isinstance(found.stream_id, str)
    assert found.error is None or all(isinstance(one, str) for one in found.error)
    update = read_update(found.value)
    if update is not None:
        assert update.progress is None or 0 <= update.progress <= 1
        assert update.ended is update.state.final


def _refusal(response: Response) -> None:
    error = refusal("c", response)
    assert isinstance(error, CommandRefused)
    assert type(error) in {*FAMILIES.values(), PetalRefused}
    assert str(error).isprintable()
    assert len(str(error)) < 2000


def status(data: bytes) -> None:
    """A device's status."""
    found = read_status(data, "d", LIMITS)
    if found is None:
        return
    assert len(found.status) <= WORD_MAX
    assert len(found.petals) <= PETALS_MAX
    for name, version in found.petals.items():
        assert 0 < len(name) <= WORD_MAX
        assert len(version) <= WORD_MAX
