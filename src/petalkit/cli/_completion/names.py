"""Names that only a broker or a device knows, for a shell that waits for them.

The rule: within `LIMIT`, from a file or from the broker, and without a word: what cannot be found
is not completed, and that is all. The trap: what stands on the command line is half typed, so
nothing in it may be an error.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from ..._authoring.jobs.options import (
    CANCEL,
    RESULT,
    STATUS,
    SUBSCRIBE,
    UNSUBSCRIBE,
    beside,
)
from ..._serving.identity.device import resolve_identity_now
from ..._values.settings.settings import Settings
from ...client import Client, open_client
from .._caller.finding import find_device, short_ids
from .._caller.session import NOBODY
from .._options import CallSettings
from .._settings import loading
from .kept import Kept, safe_names
from .words import Kind

LIMIT = 1.0  # seconds for everything that a broker is asked
SETTLE = 0.15  # seconds without another device, after which these are all
FRESH = 30.0  # seconds for which names are used as they were found
OLD = 7 * 86400.0  # seconds for which they are better than none
FRESH_JOBS = 2.0  # seconds; jobs come and go
_BUILT_IN = ("petalkit/info", "petalkit/jobs", "petalkit/ping", "petalkit/statistics")
_NO_DEVICE = ("devices", "starts")


@attrs.frozen
class Typed:
    """What a command line says of broker and device.

    Attributes:
        settings: as far as they can be used.
        device: the start of an ID.
    """

    settings: Settings
    device: str | None = None


def find_names(kind: Kind, line: str) -> list[str]:
    """The names of a kind, for a command line as far as it is typed. Never raises, says nothing."""
    logging.disable(logging.CRITICAL)
    try:
        typed = read_line(line)
        return [] if typed is None else trio.run(names_of, kind, typed)
    except Exception:
        return []
    finally:
        logging.disable(logging.NOTSET)


def read_line(line: str) -> Typed | None:
    """What it says; None where nobody can be asked with it."""
    words = _split(line)
    names = [field.name for field in attrs.fields(CallSettings)]  # type: ignore[arg-type]
    known = {f"--{name.replace('_', '-')}": name for name in names}
    said: dict[str, str] = {}
    for index, word in enumerate(words):
        option, equals, value = word.partition("=")
        if not equals and index + 2 < len(words):  # the last word is being typed
            value = words[index + 1]
        name = known.get(option) or {"--config": "config", "--device": "device"}.get(option)
        if name is not None and value:
            said[name] = value
    config, device = said.pop("config", None), said.pop("device", None)
    loaded = loading.load(said, config=None if config is None else Path(config).expanduser())
    return Typed(loaded.settings, device)


def _split(line: str) -> list[str]:
    """The words, also of a line with an open quote; the last one is being typed."""
    for end in ("", '"', "'"):
        try:
            return [*shlex.split(line + end), *([""] if line[-1:].isspace() else [])]
        except ValueError:
            continue
    return line.split()


async def names_of(kind: Kind, typed: Typed, **how: Any) -> list[str]:
    """Names from a file if they are fresh, else from the broker, else from an old file."""
    settings = typed.settings
    who = resolve_identity_now(attrs.evolve(settings, device_id=settings.device_id or NOBODY))
    if who is None:
        return []
    device = "" if kind in _NO_DEVICE else settings.device_id or ""
    start = "" if kind in _NO_DEVICE else typed.device or ""
    key = (kind, settings.broker, settings.base_topic, who.organization_id, device, start)
    kept = Kept.of(*key)
    found = kept.read(FRESH_JOBS if kind == "jobs" else FRESH)
    if found is not None:
        return found
    asked = await _ask(kind, typed, **how)
    if asked is None:
        return kept.read(OLD) or [] if kind != "jobs" else []
    if asked:  # or a device that comes now would be missed for a while
        kept.write(asked)
    return asked


async def _ask(kind: Kind, typed: Typed, **how: Any) -> list[str] | None:
    """Ask the broker; None where it does not answer in time."""
    settings = attrs.evolve(
        typed.settings, connect_timeout=LIMIT, subscribe_timeout=LIMIT, disconnect_timeout=0.1
    )
    lists_devices = kind in _NO_DEVICE or typed.device is not None
    if lists_devices and settings.device_id is None:
        settings = attrs.evolve(settings, device_id=NOBODY)
    asked: list[str] | None = None
    with trio.move_on_after(LIMIT):
        prepare = not lists_devices
        async with open_client(settings, reconnect=False, prepare=prepare, **how) as client:
            asked = safe_names(await _ask_client(kind, client, typed.device))
    return asked


async def _ask_client(kind: Kind, client: Client, start: str | None) -> Sequence[Any]:
    to: dict[str, Any] = {"timeout": LIMIT}
    if kind in _NO_DEVICE or start is not None:
        there = await client.devices(settle=SETTLE, timeout=LIMIT)
        ids = [one.device_id for one in there]
        if kind == "devices":
            return ids
        if kind == "starts":
            return list(short_ids(ids).values())
        to["device"] = find_device(start or "", there, client.identity.organization_id)
    if kind == "jobs":
        said = await client.call("petalkit/jobs", **to)
        jobs = said.fields.get("jobs")
        found = jobs if isinstance(jobs, list) else []
        return [one.get("job_id") for one in found if isinstance(one, dict)]
    said = await client.call("petalkit/info", {"names": True}, **to)
    return served_names(kind, said.fields)


def served_names(kind: Kind, said: Mapping[str, Any]) -> list[Any]:
    """Of what a device says that it serves, what may stand in this place."""
    jobs, streams, commands = (_list(said, key) for key in ("jobs", "streams", "commands"))
    if kind == "watchable":
        return [*jobs, *streams]
    parts = {
        beside(one, verb)
        for one in (*jobs, *streams)
        for verb in (SUBSCRIBE, UNSUBSCRIBE, CANCEL, STATUS, RESULT)
    }
    parts |= {beside(one, SUBSCRIBE).rpartition("/")[0] + "/unsubscribe_all" for one in streams}
    found = [one for one in (*commands, *jobs) if one not in parts]
    if kind == "served":
        petals = [one.get("name") for one in _list(said, "petals", dict)]
        return [*found, *streams, *petals]
    return [*found, *_BUILT_IN]


def _list(said: Mapping[str, Any], key: str, of: type = str) -> list[Any]:
    found = said.get(key)
    return [one for one in found if isinstance(one, of)] if isinstance(found, list) else []
