"""An AsyncAPI 3.0 document: channels, operations with their replies, messages, schemas.

It is written from the device's side, as AsyncAPI demands: a command is what it receives, with a
reply; reports and values are what it sends.

The trap: the schemas of AsyncAPI are those of JSON Schema's draft 7, with references through the
whole document. What the newer draft says in another way is said in the older one's here, and what
the older one cannot say is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import attrs

from ..._authoring.jobs.options import CANCEL, RESULT, STATUS, SUBSCRIBE, UNSUBSCRIBE, beside
from ..._values.messages import DEFAULT_BASE_TOPIC
from ..._values.settings.settings import Settings
from . import envelopes
from .contract import OPEN, Contract, Schema
from .json_schema import as_text
from .models import Typed, gather
from .words import TypeNames, distinct, pascal

_SCHEMAS = "#/components/schemas/"
_DROPPED = frozenset({"$schema", "$defs", "unevaluatedProperties", "unevaluatedItems"})
_BY_NAME = frozenset({"properties", "patternProperties"})
_VALUES = frozenset({"default", "const", "enum", "examples"})
_PROTO = "__proto__"  # with which programs in JavaScript change what all objects have
_QOS = {"qos": 1, "bindingVersion": "0.2.0"}
_CORRELATION = {"location": "$message.payload#/messageId"}
_OWN = ("Failure", "Status", "Event", "Reader", "JobStarted", "JobStanding")


@attrs.frozen
class Where:
    """Where a device is.

    Attributes:
        organization_id, device_id: as examples of the addresses; may be empty.
        base_topic: see `Settings`, and so all below.
    """

    organization_id: str = ""
    device_id: str = ""
    base_topic: str = DEFAULT_BASE_TOPIC
    command: str = "command"
    response: str = "response"
    web: str = "command/web"
    status: str = "status"

    @classmethod
    def of(cls, settings: Settings, device_id: str | None) -> Where:
        """As settings say it."""
        return cls(
            settings.organization_id or "",
            device_id or "",
            settings.base_topic,
            settings.command_topics[0],
            settings.response_topic,
            settings.web_topic,
            settings.status_topic,
        )

    def parameters(self) -> dict[str, Any]:
        """Those of each address, as AsyncAPI has them."""
        found: dict[str, Any] = {}
        for key, name in _PARAMETERS.items():
            example: str = getattr(self, key)
            if f"{{{key}}}" in self.base_topic:
                found[name] = {"examples": [example]} if example else {}
        return found

    def address(self, channel: str) -> str:
        """That of a channel, with parameters."""
        base = self.base_topic
        for key, name in _PARAMETERS.items():
            base = base.replace(f"{{{key}}}", f"{{{name}}}")
        return f"{base}/{getattr(self, channel)}"


_PARAMETERS = {"organization_id": "organizationId", "device_id": "deviceId"}


def write_asyncapi(contract: Contract, made_by: str, where: Where) -> str:
    """The document.

    Args:
        contract: what is served.
        made_by: and from what.
        where: the device is.
    """
    return as_text(_Document(contract, made_by, where).build())


class _Document:
    """One document while it is made."""

    def __init__(self, contract: Contract, made_by: str, where: Where) -> None:
        self._contract = contract
        self._made_by = made_by
        self._where = where
        names = TypeNames(_OWN)
        self._gathered = gather(contract, names)
        self._schemas: dict[str, Any] = {}
        self._messages: dict[str, dict[str, Any]] = {}
        self._channels: dict[str, dict[str, Any]] = {
            one: {} for one in ("command", "response", "web", "status")
        }
        self._operations: dict[str, Any] = {}
        kinds = {f"{one.served.name} {one.served.kind}": one for one in self._gathered.served}
        stems = distinct(kinds, lambda name: pascal(name.rpartition(" ")[0]) or "Command")
        self._stems = {id(kinds[name]): stem for name, stem in stems.items()}

    def build(self) -> dict[str, Any]:
        for name, schema in sorted(self._gathered.models.items()):
            self._schemas[name] = older(schema)
        for name, schema in (
            ("Failure", envelopes.failure()),
            ("Status", envelopes.status()),
            ("JobStarted", envelopes.job_start()),
            ("JobStanding", envelopes.job_progress()),
            ("Reader", envelopes.reader()),
        ):
            self._schemas[name] = older(schema)
        self._message("response", "Failure", "Failure", "the answer that says no")
        self._message("status", "Status", "Status", "retained: the birth, and the will")
        for one in self._gathered.served:
            {"command": self._command, "job": self._job, "stream": self._stream}[one.served.kind](
                one
            )
        self._operations["tellStatus"] = {
            "action": "send",
            "channel": {"$ref": "#/channels/status"},
            "messages": [{"$ref": "#/channels/status/messages/Status"}],
            "bindings": {"mqtt": {**_QOS, "retain": True}},
        }
        return {
            "asyncapi": "3.0.0",
            "info": self._info(),
            "defaultContentType": "application/json",
            "channels": {
                name: self._channel(name, text)
                for name, text in (
                    ("command", "commands for the device"),
                    ("response", _RESPONSE_TEXT),
                    ("web", "what the device tells readers of jobs and streams"),
                    ("status", "whether the device is there"),
                )
                if self._channels[name]
            },
            "operations": self._operations,
            "components": {"schemas": self._schemas, "messages": self._messages},
        }

    def _info(self) -> dict[str, Any]:
        petals = self._contract.petals
        lines = [self._made_by, ""]
        lines += [f"- {one.name} {one.version}: {' '.join(one.doc[:1])}" for one in petals]
        return {
            "title": ", ".join(one.name for one in petals) or "commands",
            "version": self._contract.schema_hash or "unknown",
            "description": "\n".join(lines),
        }

    def _channel(self, name: str, text: str) -> dict[str, Any]:
        return {
            "address": self._where.address(name),
            "description": text,
            "parameters": self._where.parameters(),
            "messages": self._channels[name],
        }

    # -- parts

    def _message(self, channel: str, name: str, schema: str, summary: str) -> dict[str, str]:
        """A message of a channel whose payload is a schema of the document; a reference to it."""
        found: dict[str, Any] = {
            "name": name,
            "payload": {"$ref": f"{_SCHEMAS}{schema}"},
        }
        if summary:
            found["summary"] = summary
        if channel in ("command", "response"):
            found["correlationId"] = _CORRELATION
        self._messages[name] = found
        self._channels[channel][name] = {"$ref": f"#/components/messages/{name}"}
        return {"$ref": f"#/channels/{channel}/messages/{name}"}

    def _receives(self, name: str, stem: str, data: Schema, answer: str, summary: str) -> None:
        """A command that the device receives, and its replies."""
        self._schemas[f"{stem}Command"] = older(envelopes.command(name, data))
        sent = self._message("command", f"{stem}Command", f"{stem}Command", summary)
        replies = [
            {"$ref": f"#/channels/response/messages/{answer}"},
            {"$ref": "#/channels/response/messages/Failure"},
        ]
        self._operations[f"receive{stem}"] = {
            "action": "receive",
            "channel": {"$ref": "#/channels/command"},
            "title": name,
            **({"summary": summary} if summary else {}),
            "messages": [sent],
            "reply": {"channel": {"$ref": "#/channels/response"}, "messages": replies},
            "bindings": {"mqtt": _QOS},
        }

    def _sends(self, name: str, stem: str, payload: str) -> None:
        """What readers of a job or a stream are told."""
        about = f"/{beside(name, 'publish')}"
        schema = envelopes.for_web(about, {"$ref": f"{_SCHEMAS}{payload}"})
        self._schemas[f"{stem}Told"] = older(schema)
        told = self._message("web", f"{stem}Told", f"{stem}Told", f"what readers of {name} get")
        self._operations[f"tell{stem}"] = {
            "action": "send",
            "channel": {"$ref": "#/channels/web"},
            "title": about,
            "messages": [told],
        }

    def _answer(self, stem: str, result: Schema) -> str:
        answer = f"{stem}Response"
        self._schemas[answer] = older(envelopes.response(result))
        self._message("response", answer, answer, "")
        return answer

    def _command(self, one: Typed) -> None:
        stem = self._stems[id(one)]
        answer = self._answer(stem, one.result)
        self._receives(one.served.name, stem, one.data, answer, " ".join(one.served.doc[:1]))

    def _job(self, one: Typed) -> None:
        stem, name = self._stems[id(one)], one.served.name
        started = self._answer(stem, {"$ref": f"{_SCHEMAS}JobStarted"})
        self._receives(name, stem, one.data, started, " ".join(one.served.doc[:1]))
        self._schemas[f"{stem}End"] = older(envelopes.job_end(one.result))
        self._schemas[f"{stem}Standing"] = {
            "oneOf": [{"$ref": f"{_SCHEMAS}JobStanding"}, {"$ref": f"{_SCHEMAS}{stem}End"}]
        }
        self._sends(name, stem, f"{stem}Standing")
        standing = self._answer(f"{stem}Standing", {"$ref": f"{_SCHEMAS}{stem}Standing"})
        for verb in (CANCEL, STATUS, RESULT):
            answer = self._answer(f"{stem}{pascal(verb)}", OPEN) if verb == STATUS else standing
            own = f"{stem}{pascal(verb)}"
            self._receives(beside(name, verb), own, envelopes.which_job(), answer, "")
        self._readers(name, stem, job=True)

    def _stream(self, one: Typed) -> None:
        stem, name = self._stems[id(one)], one.served.name
        self._schemas[f"{stem}Value"] = older(one.result)
        end = envelopes.stream_end()
        self._schemas[f"{stem}Payload"] = older(
            {"anyOf": [{"$ref": f"{_SCHEMAS}{stem}Value"}, end]}
        )
        self._sends(name, stem, f"{stem}Payload")
        self._readers(name, stem, job=False)

    def _readers(self, name: str, stem: str, *, job: bool) -> None:
        for verb, data in (
            (SUBSCRIBE, envelopes.subscription(job=job)),
            (UNSUBSCRIBE, envelopes.reader()),
        ):
            own = f"{stem}{pascal(verb)}"
            self._receives(beside(name, verb), own, data, self._answer(own, OPEN), "")


_RESPONSE_TEXT = (
    "answers of the device to everybody; with MQTT 5 a command that names a Response Topic is "
    "answered there, with its Correlation Data"
)


def older(schema: Any) -> Any:
    """A schema of 2020-12 as one of draft 7, with references through the document."""
    if isinstance(schema, list):
        return [older(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    said = cast("Mapping[str, Any]", schema)
    found: dict[str, Any] = {}
    for key, value in said.items():
        if key in _DROPPED:
            continue
        if key == "$ref":
            found[key] = str(value).replace("#/$defs/", _SCHEMAS)
        elif key in _BY_NAME and isinstance(value, Mapping):
            inner = cast("Mapping[str, Any]", value)
            found[key] = {name: older(one) for name, one in inner.items() if name != _PROTO}
        elif key == "required" and isinstance(value, list):
            found[key] = [name for name in value if name != _PROTO]
        elif key == "prefixItems":
            found["items"] = older(value)
        elif key == "items" and "prefixItems" in said:
            found["additionalItems"] = older(value)
        else:
            found[key] = value if key in _VALUES else older(value)
    return found
