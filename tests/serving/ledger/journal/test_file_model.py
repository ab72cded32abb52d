"""Any operations, in batches cut anywhere, leave what a model of a few dictionaries says."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petalkit._serving.ledger.journal.operations import (
    Finished,
    Forgotten,
    Noted,
    Operation,
    Posted,
    Requeued,
    Settled,
    Started,
    Wanted,
)
from petalkit._serving.ledger.records import Accepted, CommandRecord, Found, MessageRecord

from .kit import opened

pytestmark = pytest.mark.exhaustive

TEXTS = st.none() | st.sampled_from(["", "0", "a", "b", "\0"])
BYTES = st.none() | st.sampled_from([b"", b"0", b"\0\xff", b"x" * 5000])
MOMENTS = st.floats(-1e12, 1e12) | st.sampled_from([0.0, 1.0, 2.0e9])


@attrs.define
class Model:
    """What the journal should hold."""

    commands: dict[int, CommandRecord] = attrs.field(factory=dict)
    messages: dict[int, MessageRecord] = attrs.field(factory=dict)
    notes: dict[int, bytes] = attrs.field(factory=dict)

    def change(self, number: int | None, **changes: Any) -> None:
        if number in self.commands:
            self.commands[number] = attrs.evolve(self.commands[number], **changes)

    def apply(self, operation: Operation) -> None:
        match operation:
            case Accepted(number, started_at=at):
                self.accept(operation)
                if at is not None:
                    self.apply(Started(number, at))
            case Started(number, at):
                starts = self.commands[number].starts + 1
                self.change(number, state="started", starts=starts, started_at=at)
            case Requeued(number):
                self.change(number, state="accepted")
            case Wanted(number, wait_response, extras):
                self.change(number, wait_response=wait_response, extras=extras)
            case Finished(number, code, response, remembered, at):
                self.change(
                    number,
                    state="finished",
                    code=code,
                    response=response,
                    remembered=remembered,
                    finished_at=at,
                )
                if operation.post:
                    it = operation.topic, None, None, 1, operation.extras, operation.expires_at
                    self.post(Posted(operation.post, number, *it))
            case Forgotten(number):
                del self.commands[number]
            case Noted(number, None):
                self.notes.pop(number, None)  # also one that is gone
            case Noted(number, value):
                self.notes[number] = value
            case Posted():
                self.post(operation)
            case Settled(number, outcome):
                answers = self.messages.pop(number).answers
                if answers is not None:
                    owed = self.commands[answers].owed - 1
                    self.change(answers, owed=owed)
                    if outcome is not None:
                        self.change(answers, outcome=outcome)

    def accept(self, it: Accepted) -> None:
        self.commands[it.number] = CommandRecord(
            number=it.number,
            message_id=it.message_id,
            command=it.command,
            payload=it.payload,
            topic=it.topic,
            organization_id=it.organization_id,
            device_id=it.device_id,
            base_topic=it.base_topic,
            wait_response=it.wait_response,
            expires_at=it.expires_at,
            extras=it.extras,
            state="accepted",
            starts=0,
            accepted_at=it.at,
            started_at=None,
            finished_at=None,
            code=None,
            response=None,
            remembered=False,
            owed=0,
            outcome=None,
        )

    def post(self, it: Posted) -> None:
        command = None if it.answers is None else self.commands[it.answers]
        payload = it.payload
        if payload is None:
            assert command is not None
            payload = command.response or b""
        if command is not None:
            self.change(command.number, owed=command.owed + 1)
        self.messages[it.number] = MessageRecord(
            number=it.number,
            answers=it.answers,
            message_id=None if command is None else command.message_id,
            topic=it.topic,
            name=it.name,
            payload=payload,
            qos=it.qos,
            extras=it.extras,
            expires_at=it.expires_at,
        )

    def found(self) -> Found:
        commands = [self.commands[number] for number in sorted(self.commands)]
        live = [record for record in commands if record.state != "finished"]
        return Found(
            last=max([0, *self.commands, *self.messages, *self.notes]),
            remembered={
                record.message_id: record.number
                for record in commands
                if record.message_id is not None
                and (record.state != "finished" or record.remembered)
            },
            running=tuple(record for record in live if record.state == "started"),
            not_started=sum(record.state == "accepted" for record in live),
            messages=tuple(self.messages[number] for number in sorted(self.messages)),
            notes=dict(sorted(self.notes.items())),
        )


def draw_operation(draw: Any, model: Model, number: int) -> Operation:
    """One that may come next."""
    accepted = [one for one in model.commands.values() if one.state == "accepted"]
    running = [one for one in model.commands.values() if one.state == "started"]
    finished = [one for one in model.commands.values() if one.state == "finished"]
    live = accepted + running
    may = ["accept", "event", "note"]
    may += ["note again"] * 2 if model.notes else []
    may += ["start", "forget"] if accepted else []
    may += ["requeue"] if running else []
    may += ["want", "finish"] if live else []
    may += ["post"] if finished else []
    may += ["settle"] * 2 if model.messages else []
    match draw(st.sampled_from(may)):
        case "accept":
            return Accepted(
                number,
                draw(TEXTS),
                draw(st.sampled_from(["demo/greet", "", "\0"])),
                draw(BYTES) or b"",
                "topic",
                "organization",
                "device",
                "base",
                draw(st.booleans()),
                draw(st.none() | MOMENTS),
                draw(BYTES),
                draw(MOMENTS),
                draw(st.none() | MOMENTS),
            )
        case "event":
            name = draw(st.booleans())
            return Posted(
                number,
                None,
                None if name else "topic",
                "name" if name else None,
                draw(BYTES) or b"",
                draw(st.sampled_from([0, 1])),
                draw(BYTES),
                draw(MOMENTS),
            )
        case "note":
            return Noted(number, draw(BYTES) or b"")
        case "note again":
            return Noted(draw(st.sampled_from(sorted(model.notes))), draw(BYTES))
        case "post":
            answers = draw(st.sampled_from(finished)).number
            return Posted(number, answers, "t", None, draw(BYTES), 1, None, draw(MOMENTS))
        case "start":
            return Started(draw(st.sampled_from(accepted)).number, draw(MOMENTS))
        case "requeue":
            return Requeued(draw(st.sampled_from(running)).number)
        case "forget":
            return Forgotten(draw(st.sampled_from(accepted)).number)
        case "want":
            number = draw(st.sampled_from(live)).number
            return Wanted(number, draw(st.booleans()), draw(BYTES))
        case "finish":
            end = Finished(
                draw(st.sampled_from(live)).number,
                draw(TEXTS),
                draw(BYTES) or b"",
                draw(st.booleans()),
                draw(MOMENTS),
            )
            if draw(st.booleans()):
                end.post, end.topic, end.extras = number, "t", draw(BYTES)
                end.expires_at = draw(MOMENTS)
            return end
        case _:
            message = draw(st.sampled_from(sorted(model.messages)))
            return Settled(message, draw(st.none() | st.sampled_from(["expired", "rejected"])))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_operations_in_any_batches_leave_the_same(data: st.DataObject) -> None:
    model = Model()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "d.journal"
        with opened(path) as store:
            batch: list[Operation] = []
            for number in range(1, 1 + data.draw(st.integers(0, 60))):
                operation = draw_operation(data.draw, model, number)
                model.apply(operation)
                batch.append(operation)
                if data.draw(st.integers(0, 4)) == 0:
                    store.write(batch)
                    batch = []
            store.write(batch)
            check(store, model)
        with opened(path) as store:
            check(store, model)


def check(store: Any, model: Model) -> None:
    assert store.load() == model.found()
    for number, record in model.commands.items():
        assert store.read(number) == record
    waiting = [one.number for one in model.commands.values() if one.state == "accepted"]
    assert [one.number for one in store.not_started(0, 1000)] == sorted(waiting)
