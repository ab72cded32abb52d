"""A device on paper: makes histories that keep every promise, for the checker's own tests."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import attrs

from .cases import Rules
from .history import (
    Acknowledged,
    Delivered,
    Effect,
    Event,
    Invoked,
    ProcessEnded,
    ProcessStarted,
    Recorded,
    Response,
    Taken,
)

COMMANDS = ("work/quick", "work/failing", "work/narrow", "work/idempotent", "other/quick")
RULES = {
    "idempotent": {"work/idempotent"},
    "lines": {"work/narrow"},
    "codes": {"work/failing": {"HANDLER_ERROR"}, "work/quick": {None}},
}


@attrs.define
class Model:
    """Sends commands to a device on paper, and kills it, at random.

    Attributes:
        chance: what decides.
        journal: whether it has one.
        commands: how many are sent.
        kills: how often it is killed, at most.
    """

    chance: random.Random
    journal: bool
    commands: int = 12
    kills: int = 3
    events: list[Event] = attrs.field(factory=list)
    _incarnation: int = 0
    _sent: list[Invoked] = attrs.field(factory=list)
    _broker: deque[Invoked] = attrs.field(factory=deque)
    _waiting: deque[Invoked] = attrs.field(factory=deque)
    _running: list[Invoked] = attrs.field(factory=list)
    _answers: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    _known: set[str] = attrs.field(factory=set)

    @property
    def rules(self) -> Rules:
        return Rules(journal=self.journal, **RULES)  # type: ignore[arg-type]

    def run(self) -> list[Event]:
        """The whole history."""
        self._start()
        while True:
            steps = [self._send] * (len(self._sent) < self.commands)
            steps += [self._copy] * bool(self._sent and self.chance.random() < 0.1)
            steps += [self._deliver] * bool(self._broker)
            steps += [self._begin] * bool(self._waiting)
            steps += [self._finish] * bool(self._running)
            if not steps:
                return self.events
            if self.kills and self.chance.random() < 0.1:
                steps = [self._kill]
            self.chance.choice(steps)()

    @property
    def _now(self) -> float:
        return float(len(self.events))

    def _start(self) -> None:
        self._incarnation += 1
        self.events.append(ProcessStarted(at=self._now, incarnation=self._incarnation))

    def _send(self) -> None:
        n = len(self._sent)
        command = self.chance.choice(COMMANDS)
        invoked = Invoked(at=self._now, message_id=f"m{n}", command=command, n=n)
        self._sent.append(invoked)
        self._put(invoked)

    def _copy(self) -> None:
        self._put(self.chance.choice(self._sent))

    def _put(self, one: Invoked) -> None:
        again = Invoked(at=self._now, message_id=one.message_id, command=one.command, n=one.n)
        self.events.append(again)
        self.events.append(Taken(at=self._now, message_id=one.message_id))
        self._broker.append(one)

    def _deliver(self) -> None:
        one = self._broker[0]
        self.events.append(Delivered(at=self._now, message_id=one.message_id, link=1))
        if self.chance.random() < 0.1:
            return  # the link was cut, and it comes again
        self._broker.popleft()
        self.events.append(Acknowledged(at=self._now, message_id=one.message_id, link=1))
        if one.message_id in self._answers:
            self._answer(one)
        elif one.message_id not in self._known:
            self._known.add(one.message_id)
            self._waiting.append(one)

    def _begin(self) -> None:
        one = self._waiting.popleft()
        self._running.append(one)
        self._effect(one)

    def _effect(self, one: Invoked) -> None:
        self.events.append(
            Effect(
                at=self._now, message_id=one.message_id, command=one.command, n=one.n,
                incarnation=self._incarnation,
            )
        )  # fmt: skip

    def _finish(self) -> None:
        one = self._running.pop(self.chance.randrange(len(self._running)))
        if one.command == "work/failing":
            fields: dict[str, Any] = {"success": False, "error_code": "HANDLER_ERROR"}
        else:
            fields = {"success": True, "n": one.n, "process": self._incarnation}
        self._end(one, fields)

    def _end(self, one: Invoked, fields: dict[str, Any]) -> None:
        self._answers[one.message_id] = fields
        if self.journal:
            code = fields.get("error_code")
            self.events.append(
                Recorded(at=self._now, message_id=one.message_id, state="finished", code=code)
            )
        self._answer(one)

    def _answer(self, one: Invoked) -> None:
        fields = {"timestamp": self._now, **self._answers[one.message_id]}
        for _ in range(self.chance.choice([1, 1, 1, 2])):
            self.events.append(Response(at=self._now, message_id=one.message_id, fields=fields))

    def _kill(self) -> None:
        self.kills -= 1
        end = ProcessEnded(at=self._now, incarnation=self._incarnation, how="killed", code=-9)
        self.events.append(end)
        self._start()
        if not self.journal:
            self._running.clear()
            self._waiting.clear()
            self._answers.clear()
            self._known.clear()
            return
        for one in list(self._running):
            if one.command == "work/idempotent":
                self._effect(one)
            else:
                self._running.remove(one)
                self._end(one, {"success": False, "error_code": "INTERRUPTED"})
