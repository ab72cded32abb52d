"""What a page is told: each is one JSON object with `say`, which says what.

The rule: what devices say goes on as it is, and never as markup; the page shows it as text. Answers
are also written out here, for people, since JavaScript would round large integers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from ..._values.messages import Response
from ...client import ClientStatistics, Device, DeviceInfo, Event

LINE_MAX = 4000  # characters of an answer in the log
DEVICES_MAX = 1000  # that are named to a page; of more it is told how many

_ENVELOPE = frozenset({"messageId", "timestamp", "success"})
_encoder = msgspec.json.Encoder(enc_hook=str)


def encode(say: str, **fields: Any) -> bytes:
    """One thing that is said."""
    return _encoder.encode({"say": say, **fields})


def written_out(value: Any) -> str:
    """JSON for people, with integers of any size."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def hello(broker: str, organization_id: str, device_id: str, moves: Any) -> bytes:
    """The first word.

    Args:
        broker: its address, without credentials.
        organization_id: of all devices.
        device_id: of the settings.
        moves: what the page does by itself at first; None for nothing.
    """
    return encode(
        "hello", broker=broker, organization=organization_id, device=device_id, moves=moves
    )


def link(statistics: ClientStatistics) -> bytes:
    """Whether there is a link to the broker."""
    return encode("link", connected=statistics.connected, lost=statistics.links_lost)


def devices(found: list[Device], error: str | None) -> bytes:
    """Which devices there are, or why that is not known."""
    shown = sorted(found, key=lambda one: (not one.online, one.device_id))[:DEVICES_MAX]
    said = [
        {
            "id": one.device_id,
            "status": one.status,
            "petals": one.petals,
            "since": one.timestamp,
        }
        for one in shown
    ]
    return encode("devices", devices=said, more=len(found) - len(said), error=error)


def info(device: str, found: DeviceInfo) -> bytes:
    """What a device serves."""
    return encode(
        "info",
        device=device,
        petalkit=found.petalkit,
        schema_hash=found.schema_hash,
        petals=found.petals,
        commands=found.commands,
        jobs=found.jobs,
        streams=found.streams,
        complete=found.complete,
    )


def response(number: int, answered: Response) -> bytes:
    """What a device has answered."""
    fields = dict(answered.fields)
    rest = {name: value for name, value in fields.items() if name not in _ENVELOPE}
    line = json.dumps(rest, ensure_ascii=False, default=str)
    return encode(
        "answer",
        id=number,
        success=answered.success,
        fields=fields,
        text=written_out(fields),
        line=line[:LINE_MAX],
    )


def no_response(number: int, error: str) -> bytes:
    """Why there is none."""
    return encode("answer", id=number, success=False, error=error)


def event(device: str, heard: Event, at: float) -> bytes:
    """What a device has said to everybody."""
    return encode(
        "event",
        device=device,
        at=at,
        command=heard.command,
        text=json.dumps(heard.data, ensure_ascii=False, default=str),
    )


def job(device: str, name: str, fields: Mapping[str, Any]) -> bytes:
    """How a job stands, as it says it."""
    result = fields.get("result")
    text = None if result is None else written_out(result)
    return encode("job", device=device, name=name, fields=fields, result_text=text)
