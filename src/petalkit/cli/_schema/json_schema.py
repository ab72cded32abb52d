"""JSON Schemas (2020-12) of all that is served: one document, or a file for each.

The rule: a schema is as the device enforces it; each stands for itself, with its own `$defs`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..._authoring.schemas import DIALECT
from . import envelopes
from .contract import Contract, Schema, Served
from .words import distinct, file_stem

_PLURAL = {"command": "commands", "job": "jobs", "stream": "streams"}


def write_json_schema(contract: Contract, made_by: str) -> str:
    """All in one document."""
    found: dict[str, Any] = {"$comment": made_by, "schema_hash": contract.schema_hash}
    for kind, plural in _PLURAL.items():
        found[plural] = {
            one.name: dict(_schemas(one)) for one in contract.served if one.kind == kind
        }
    return as_text(found)


def json_schema_files(contract: Contract, made_by: str) -> Mapping[str, str]:
    """A file for each schema, by its name: `commands/flight-log-fetch_records.data.json`."""
    files: dict[str, str] = {}
    for kind, plural in _PLURAL.items():
        theirs = {one.name: one for one in contract.served if one.kind == kind}
        for name, stem in distinct(theirs, file_stem).items():
            for part, schema in _schemas(theirs[name]):
                document = {"$comment": made_by, "title": f"{name}: {part}", **schema}
                files[f"{plural}/{stem}.{part}.json"] = as_text(document)
    return files


def _schemas(one: Served) -> Iterator[tuple[str, Schema]]:
    if one.kind == "stream":
        yield "value", _document(one.result)
        return
    yield "data", _document(one.data)
    if one.kind == "job":
        yield "start", _document(envelopes.job_start())
        yield "progress", _document(envelopes.job_progress())
    yield "result", _document(one.result)


def _document(schema: Schema) -> Schema:
    return {"$schema": DIALECT, **schema}


def as_text(value: object) -> str:
    """As a file holds it."""
    return json.dumps(value, indent=2) + "\n"
