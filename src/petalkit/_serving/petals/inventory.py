"""What is served: petals, commands, jobs and streams with their schemas, and one hash of them all.

The rule: an answer fits a message, whatever is served. With more than that has room for, it has
names, says that it is not complete, and what to ask instead.

The trap is the time: thousands of commands take long to describe, and whoever asks is served at
intake. So each is described once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from ..._authoring.declared import RESERVED_PREFIX
from ..._authoring.petal import Petal
from ..._authoring.registry import CommandSpec, CommandTable
from ..._values.basics.version import __version__
from ..._values.codec import encode_json
from ..._values.errors import CommandError, ErrorCode
from ..jobs.record import JobSpec
from ..jobs.streams import StreamSpec
from .descriptions import Described, Spec, describe, describe_petal, fingerprint_of, schema_hash

ENVELOPE = 1024  # bytes of an answer beside its fields
HINT = "the schemas are too large for one message: ask for one petal, or one command"


class Inventory:
    """See the module.

    Args:
        petals: that are served.
        table: their commands, which may change.
        jobs: their jobs.
        streams: their streams.
        most: bytes of a message.
    """

    def __init__(
        self,
        petals: Sequence[Petal],
        table: CommandTable,
        jobs: Sequence[JobSpec],
        streams: Sequence[StreamSpec],
        most: int,
    ) -> None:
        self._petals = petals
        self._table = table
        self._jobs = {one.name: one for one in jobs}
        self._streams = {one.name: one for one in streams}
        self._most = most - ENVELOPE
        self._described: WeakKeyDictionary[Any, tuple[Described, int]] = WeakKeyDictionary()
        self._fingerprints: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        self._hash: tuple[object, str] = (None, "")
        _ = self.schema_hash  # now, when nobody waits for it

    @property
    def schema_hash(self) -> str:
        """See `schema_hash`; of what is served now."""
        edition = self._table.edition
        if self._hash[0] is not edition:
            specs = list(self._table)
            others = set(self._table.public_names()).difference(one.name for one in specs)
            declared: list[Spec] = [*specs, *self._jobs.values(), *self._streams.values()]
            self._hash = edition, schema_hash(declared, others, of=self._fingerprint)
        return self._hash[1]

    def _fingerprint(self, spec: Spec) -> str:
        found = self._fingerprints.get(spec)
        if found is None:
            found = self._fingerprints[spec] = fingerprint_of(spec)
        return found

    def info(
        self,
        petal: str | None = None,
        command: str | None = None,
        *,
        names: bool = False,
        after: str | None = None,
    ) -> Described:
        """What is served, as far as a message has room for it.

        Args:
            petal: only what this one serves.
            command: only this command, job or stream, with its schemas.
            names: without schemas.
            after: only names behind this one, without schemas: the `next` of an answer before.

        Raises:
            CommandError: there is no such petal, or nothing of that name.
        """
        head: Described = {"petalkit": __version__, "schema_hash": self.schema_hash}
        if command is not None:
            return {**head, **self._one(command)}
        petals = [one for one in self._petals if petal in (None, one.name)]
        if not petals:
            raise CommandError(ErrorCode.INVALID_DATA, f"no petal {petal!r} is served")
        known = {one.name: one for one in self._table}
        chosen = [
            name
            for name in self._table.public_names()
            if petal is None or (name in known and known[name].petal == petal)
        ]
        if not names and after is None:
            found = self._in_full(head, petals, chosen, known)
            if found is not None:
                return found
        asked = names or after is not None
        return {**head, **self._short(petals, chosen, after=after or "", asked=asked)}

    # -- with schemas

    def _one(self, name: str) -> Described:
        found: Described = {}
        spec = self._table.lookup(name)
        if spec is not None and not spec.guessed and not name.startswith(RESERVED_PREFIX + "/"):
            found["command"] = self._describe(spec)[0]
        if name in self._jobs:
            found["job"] = self._describe(self._jobs[name])[0]
        if name in self._streams:
            found["stream"] = self._describe(self._streams[name])[0]
        if not found:
            near = self._table.near(name)
            hint = "" if near is None else f"; did you mean {near}?"
            raise CommandError(ErrorCode.UNKNOWN_COMMAND, f"nothing is called {name!r}{hint}")
        if _size(found) <= self._most:
            return {**found, "complete": True}
        for one in found.values():
            for key in ("data", "result", "value"):
                if key in one:
                    one[key] = None
        return {**found, "complete": False, "hint": "its schemas are too large for a message"}

    def _in_full(
        self,
        head: Described,
        petals: Sequence[Petal],
        names: Sequence[str],
        known: Mapping[str, CommandSpec],
    ) -> Described | None:
        """None when that is too large; most of which is found without encoding it."""
        room = self._most - _size(names)
        described: list[Described] = []
        for petal in petals:
            parts: list[list[Described]] = []
            theirs = [known[one] for one in names if one in known]
            for specs in (
                [one for one in theirs if one.petal == petal.name],
                [one for one in self._jobs.values() if one.method.petal == petal.name],
                [one for one in self._streams.values() if one.method.petal == petal.name],
            ):
                parts.append([])
                for spec in specs:
                    one, size = self._describe(spec)
                    room -= size
                    if room < 0:
                        return None
                    parts[-1].append(one)
            commands, jobs, streams = parts
            about = describe_petal(petal)
            described.append({**about, "commands": commands, "jobs": jobs, "streams": streams})
        found = {**head, "petals": described, "commands": list(names), "complete": True}
        return found if _size(found) <= self._most else None

    def _describe(self, spec: Spec) -> tuple[Described, int]:
        found = self._described.get(spec)
        if found is None:
            one = describe(spec)
            found = self._described[spec] = one, _size(one)
        return dict(found[0]), found[1]

    # -- without

    def _short(
        self,
        petals: Sequence[Petal],
        commands: Sequence[str],
        *,
        after: str,
        asked: bool,
    ) -> Described:
        told: list[Described] = []
        room = self._most - 512  # for what is said beside
        for petal in petals:
            one: Described = {"name": petal.name, "version": petal.version}
            room -= _size(one) + 1
            if room < self._most // 2:  # that is for names
                break
            told.append(one)
        theirs = {petal.name for petal in petals}
        jobs = {one.name for one in self._jobs.values() if one.method.petal in theirs}
        streams = {one.name for one in self._streams.values() if one.method.petal in theirs}
        names: list[str] = []
        left = [one for one in sorted({*commands, *jobs, *streams}) if one > after]
        for name in left:
            room -= (_size(name) + 1) * (1 + (name in jobs))  # a job is its start too
            if room < 0:
                break
            names.append(name)
        served = set(commands)
        found: Described = {
            "petals": told,
            "commands": [one for one in names if one in served],
            "jobs": [one for one in names if one in jobs],
            "streams": [one for one in names if one in streams],
            "complete": asked and len(names) == len(left) and len(told) == len(petals),
        }
        if not asked:
            found["hint"] = HINT
        if len(told) < len(petals):
            found["petals_left_out"] = len(petals) - len(told)
        if len(names) < len(left):
            found["next"] = names[-1] if names else after
        return found


def _size(value: object) -> int:
    return len(encode_json(value))
