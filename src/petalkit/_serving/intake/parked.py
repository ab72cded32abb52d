"""Commands that were read and are neither accepted nor acknowledged, because the channel is full.

They are the broker's still: it has them, and delivers them again on the next link of the session.
What is parked here only lets urgent commands behind them be seen, and PUBACKs be read. There can be
very many of them, as many as the broker and the kernel's buffers had under way: so only their bytes
are kept, which are a third of a decoded command.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator

import msgspec

from ..._authoring.registry import CommandSpec
from ..._values.codec import Limits, decode_command
from ..._values.messages import Command, Identity
from ..._values.request import Wishes
from ..._values.settings.settings import Settings
from ...transports import Delivery
from .refusals import Request

PACKET_IDS = 65_535  # unacknowledged deliveries that a link can have: MQTT 5.0, section 2.2.1


class Parked(msgspec.Struct, eq=False):
    """One of them.

    Args:
        delivery: as it came.
        spec: of its command.
        identity: under which it came.
        wishes: of its sender.
        comes_again: whether the session delivers it again, when this link is gone.
        message_id: of its command.
        wait_response: whether it, or a copy of it, wants an answer.
        wait_ack: whether the sender of it, or of a copy of it, is to be told that it came.
    """

    delivery: Delivery
    spec: CommandSpec
    identity: Identity
    wishes: Wishes | None
    comes_again: bool
    message_id: str | None
    wait_response: bool
    wait_ack: bool
    number: int = 0  # in order of arrival
    _command: Command | None = None

    @classmethod
    def of(cls, request: Request, spec: CommandSpec, *, comes_again: bool) -> Parked:
        """Park a request."""
        command = request.command
        return cls(
            request.delivery,
            spec,
            request.identity,
            request.wishes,
            comes_again,
            command.message_id,
            command.wait_response,
            request.wait_ack,
        )

    def request(self, limits: Limits) -> Request:
        """The request: its command decoded again, and then kept, since it is about to start."""
        command = self._command
        if command is None:
            delivery = self.delivery
            command = decode_command(delivery.payload, delivery.topic, limits)
            if delivery.properties is not None:
                command = msgspec.structs.replace(command, properties=delivery.properties)
            self._command = command
        if command.wait_response != self.wait_response:
            command = msgspec.structs.replace(command, wait_response=self.wait_response)
            self._command = command
        return Request(self.delivery, self.identity, command, self.wishes, self.wait_ack)


def limits_of(settings: Settings) -> Limits:
    """The limits of an envelope."""
    return Limits(settings.payload_max, settings.depth_max, settings.message_id_max)


class ParkedLines:
    """All of them, in a line for each petal, and by `messageId`.

    Attributes:
        gone: how many of each petal have been taken out because they were next, and when the last.
        size: bytes of payloads and properties.
    """

    def __init__(self) -> None:
        self._lines: dict[str, deque[Parked]] = {}
        self._by_id: dict[str, Parked] = {}
        self._count = 0
        self._numbers = itertools.count()
        self.gone: defaultdict[str, tuple[int, float]] = defaultdict(lambda: (0, -math.inf))
        self.size = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, petal: str) -> bool:
        return petal in self._lines

    def __iter__(self) -> Iterator[Parked]:
        """All, in order of arrival."""
        found = [parked for line in self._lines.values() for parked in line]
        return iter(sorted(found, key=_number))

    def add(self, parked: Parked) -> None:
        """Add one, last."""
        parked.number = next(self._numbers)
        self._lines.setdefault(parked.spec.petal, deque()).append(parked)
        self._count += 1
        self.size += _size(parked)
        if parked.message_id is not None:
            self._by_id[parked.message_id] = parked

    def first(self, besides: Collection[str] = ()) -> Parked | None:
        """The oldest, if there is one.

        Args:
            besides: petals that are not meant.
        """
        heads = [line[0] for petal, line in self._lines.items() if petal not in besides]
        return min(heads, key=_number) if heads else None

    def pop(self, parked: Parked, now: float) -> None:
        """Take out one that `first` has given."""
        petal = parked.spec.petal
        line = self._lines[petal]
        line.popleft()
        if not line:
            del self._lines[petal]
        self.gone[petal] = self.gone[petal][0] + 1, now
        self._out(parked)

    def find(self, message_id: str) -> Parked | None:
        """The one of that ID."""
        return self._by_id.get(message_id)

    def owe(self, parked: Parked, delivery: Delivery) -> None:
        """Let this stand for one of them: its own delivery, or that of a copy that comes again."""
        if delivery is not parked.delivery:
            self.size -= _size(parked)
            parked.delivery, parked.comes_again = delivery, True
            self.size += _size(parked)
        elif delivery.is_acked:
            parked.comes_again = False

    def session_ends(self) -> list[Delivery]:
        """None of them comes again; what has brought them."""
        for parked in self:
            parked.comes_again = False
        return [parked.delivery for parked in self]

    def take(self, which: Callable[[Parked], bool]) -> list[Parked]:
        """Take out every one that `which` says, in order."""
        taken = [self._out(parked) for parked in self if which(parked)]
        if taken:
            gone = set(map(id, taken))
            for petal, line in list(self._lines.items()):
                kept = deque(parked for parked in line if id(parked) not in gone)
                if kept:
                    self._lines[petal] = kept
                else:
                    del self._lines[petal]
        return taken

    def _out(self, parked: Parked) -> Parked:
        self._count -= 1
        self.size -= _size(parked)
        if parked.message_id is not None:
            self._by_id.pop(parked.message_id, None)
        return parked


def _number(parked: Parked) -> int:
    return parked.number


def _size(parked: Parked) -> int:
    properties = parked.delivery.properties
    return len(parked.delivery.payload) + (0 if properties is None else properties.size)
