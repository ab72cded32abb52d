"""One thing that a device has said: a line for people, or a JSON object for programs.

The rule: one thing is one line, whatever stands in it. What a device says is text: escape sequences
are escaped, and markup is none.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import attrs
from rich.text import Text

from ..._serving.process.log_lines import escape
from ..._values.codec import Timestamps
from ...client._long.jobs import read_update
from .._caller.progress import message_of, state_text

Kind: TypeAlias = Literal["event", "job", "stream", "status", "live"]

DATA_MAX = 2000  # characters of what was said that a line for people shows
_STYLES: Mapping[Kind, str] = {
    "event": "cyan", "job": "green", "stream": "blue", "status": "magenta", "live": "yellow",
}  # fmt: skip
_WIDTH = max(map(len, _STYLES))
# Of the figures of a device, those that say how it stands.
_LIVE = (
    *("connected", "running", "waiting", "waiting_on_disk", "jobs_running", "jobs_waiting"),
    *("streams_running", "outbox", "journal_failing"),
)


@attrs.frozen
class Line:
    """What was said.

    Attributes:
        kind: where it comes from.
        name: of the event, the job or the stream; empty of a status and of figures.
        data: what was said.
        more: further fields for programs.
        time: when it came, in seconds since 1970.
    """

    kind: Kind
    name: str
    data: Any
    time: float
    more: Mapping[str, Any] = attrs.field(factory=dict)

    def as_json(self, device_id: str) -> dict[str, Any]:
        """One object; `data` is as the device has said it."""
        return {
            "kind": self.kind,
            "time": Timestamps().text(self.time),
            "device_id": device_id,
            "name": self.name,
            "data": self.data,
            **self.more,
        }

    def as_text(self) -> Text:
        """One line."""
        clock = datetime.datetime.fromtimestamp(self.time).strftime("%H:%M:%S.%f")[:-3]
        said = self._said()
        if len(said) > DATA_MAX:
            said = f"{said[:DATA_MAX]}..."
        return Text.assemble(
            (clock, "dim"),
            "  ",
            (f"{self.kind:<{_WIDTH}}", _STYLES[self.kind]),
            "  ",
            (f"{escape(self.name)}  " if self.name else "", "bold"),
            escape(said),
        )

    def _said(self) -> str:
        if self.kind == "job":
            update = read_update(self.data)
            if update is not None:
                words = (update.job_id, state_text(update), message_of(update), _end_of(self.data))
                return "  ".join(word for word in words if word)
        if self.kind == "status" and isinstance(self.data, dict):
            said = self.data.get("petals")
            petals = [one.get("name") for one in said if isinstance(one, dict)] if said else []
            return f"{self.data.get('status')}  {', '.join(map(str, petals))}".rstrip()
        if self.kind == "live" and isinstance(self.data, dict):
            rates = self.data.get("per_second")
            counted = rates.items() if isinstance(rates, dict) else ()
            stands = [f"{key} {self.data[key]}" for key in _LIVE if key in self.data]
            figures = [*(f"{value} {name}/s" for name, value in counted), *stands]
            return "  ".join(figures) or str(self.data.get("error", "no figures"))
        return json.dumps(self.data, ensure_ascii=False)


def _end_of(fields: Any) -> str:
    """The result of a job, or why it failed."""
    if "result" in fields:
        return json.dumps(fields["result"], ensure_ascii=False)
    code, text = fields.get("job_error_code"), fields.get("job_error")
    return f"{code}: {text}" if isinstance(code, str) else ""
