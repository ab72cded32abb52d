"""What happened, as an append-only list of events: the evidence that the checker judges.

Events are written by whoever saw them: the driver (what it sent and was answered), the proxy (what
the device acknowledged), the petal (that a handler ran), and perhaps the journal. All times are
seconds of the system's monotonic clock, which is one for all processes of a machine.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

ASK = "ask-"  # what a `messageId` begins with that no promise is judged by


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", omit_defaults=True):
    at: float


class _Message(_Event, frozen=True, kw_only=True):
    message_id: str


class Invoked(_Message, frozen=True, kw_only=True, tag="invoked"):
    """The driver sent a command, for the first time or again, and always the same.

    Attributes:
        command: its full name.
        n: what it carries, and has to be answered with.
        wait_response: whether an answer was asked for.
        sender: who keeps the order of what it sends.
    """

    command: str
    n: int
    wait_response: bool = True
    sender: str = "driver"

    @property
    def petal(self) -> str:
        return self.command.partition("/")[0]


class Taken(_Message, frozen=True, kw_only=True, tag="taken"):
    """The broker acknowledged it to the driver: from now on it has to be answered."""


class Delivered(_Message, frozen=True, kw_only=True, tag="delivered"):
    """The proxy read it from the broker; the device may never have got it."""

    link: int
    dup: bool = False


class Acknowledged(_Message, frozen=True, kw_only=True, tag="acknowledged"):
    """The proxy read the device's PUBACK; the broker may never have got it.

    An older PUBACK than the end of a process never has a later time: see `FaultProxy.wait_drained`.
    """

    link: int


class Recorded(_Message, frozen=True, kw_only=True, tag="recorded"):
    """The journal, or the log, says so.

    Attributes:
        state: that was reached.
        code: of `finished`: the error code, None for a success.
    """

    state: Literal["accepted", "started", "finished"]
    code: str | None = None


class Effect(_Message, frozen=True, kw_only=True, tag="effect"):
    """A handler has begun.

    Attributes:
        incarnation: which process it was.
    """

    command: str
    n: int
    incarnation: int


class Response(_Message, frozen=True, kw_only=True, tag="response"):
    """The driver got one.

    Attributes:
        fields: all of it.
    """

    fields: dict[str, Any]

    @property
    def code(self) -> str | None:
        """The error code; None for a success."""
        if self.fields.get("success") is True:
            return None
        return str(self.fields.get("error_code"))

    @property
    def outcome(self) -> dict[str, Any]:
        """What has to be the same in every copy."""
        return {name: value for name, value in self.fields.items() if name != "timestamp"}


class Told(_Event, frozen=True, kw_only=True, tag="told"):
    """Something was said of a job: in the answer to a question, or to those who read it.

    Attributes:
        job_id: of it.
        fields: what was said.
        to_readers: whether it was said to them.
    """

    job_id: str
    fields: dict[str, Any]
    to_readers: bool = False


class SecondPhase(_Message, frozen=True, kw_only=True, tag="second phase"):
    """A command that was answered before it ended has said what it came to."""

    fields: dict[str, Any]


class JobRan(_Event, frozen=True, kw_only=True, tag="job ran"):
    """The method of a job has begun."""

    job_id: str
    name: str
    incarnation: int


class Cancelled(_Event, frozen=True, kw_only=True, tag="cancelled"):
    """The driver has asked for the end of a job, and may be heard from now on."""

    job_id: str


class ProcessStarted(_Event, frozen=True, kw_only=True, tag="process started"):
    incarnation: int


class ProcessEnded(_Event, frozen=True, kw_only=True, tag="process ended"):
    """A process has ended, and everything that it had sent has arrived.

    Attributes:
        how: "killed" by us; "stopped" when we asked; "crashed": by itself.
        code: its exit code.
        took: seconds since it was asked to stop.
        limit: seconds that it may take.
    """

    incarnation: int
    how: Literal["killed", "stopped", "crashed"]
    code: int = 0
    took: float = 0.0
    limit: float = 0.0


class SessionLost(_Event, frozen=True, kw_only=True, tag="session lost"):
    """The broker forgot what it had kept for the device.

    Attributes:
        until: when the device had subscribed again; what was sent before that is lost too.
    """

    until: float


class Hindered(_Event, frozen=True, kw_only=True, tag="hindered"):
    """From now on a petal can start nothing more: all its slots are taken."""

    petal: str


class Relieved(_Event, frozen=True, kw_only=True, tag="relieved"):
    petal: str


class CountersRead(_Event, frozen=True, kw_only=True, tag="counters"):
    """The answer to `petalkit/statistics`."""

    incarnation: int
    values: dict[str, Any]


Event: TypeAlias = (
    Invoked
    | Taken
    | Delivered
    | Acknowledged
    | Recorded
    | Effect
    | Response
    | ProcessStarted
    | ProcessEnded
    | SessionLost
    | Hindered
    | Relieved
    | CountersRead
    | Told
    | SecondPhase
    | JobRan
    | Cancelled
)

_decoder = msgspec.json.Decoder(Event)
_encoder = msgspec.json.Encoder()


class History:
    """Events; read in the order of their times, and of equal times in that of their addition."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._events = list(events)

    def add(self, event: Event) -> None:
        self._events.append(event)

    def extend(self, events: Iterable[Event]) -> None:
        self._events.extend(events)

    def __iter__(self) -> Iterator[Event]:
        self._events.sort(key=operator.attrgetter("at"))
        return iter(self._events)

    def __len__(self) -> int:
        return len(self._events)

    def of(self, message_id: str) -> list[Event]:
        """All about one command: what to read when it went wrong."""
        return [event for event in self if getattr(event, "message_id", None) == message_id]

    def save(self, path: Path) -> None:
        """As JSON lines."""
        path.write_bytes(_encoder.encode_lines(list(self)))

    @classmethod
    def load(cls, path: Path) -> History:
        """What `save` has written, or somebody else line by line; the last line may be torn."""
        lines = path.read_bytes().split(b"\n")
        return cls(_decoder.decode(line) for line in lines[:-1] if line)


def read_jobs(path: Path) -> list[JobRan]:
    """What the methods of jobs have appended: see `petals.Jobs`."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [
        JobRan(at=float(at), job_id=job_id, name=name, incarnation=int(incarnation))
        for job_id, name, incarnation, at in map(str.split, lines)
    ]


def read_effects(path: Path) -> list[Effect]:
    """What the petal's handlers have appended: see `petals.EFFECT`."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text().splitlines():
        message_id, command, n, incarnation, at = line.split()
        found.append(
            Effect(
                at=float(at), message_id=message_id, command=command, n=int(n),
                incarnation=int(incarnation),
            )
        )  # fmt: skip
    return found
