"""What can go wrong between a device and its broker, as values, and seeded lists of it.

A fault happens at a packet, and packets are counted: not by a clock, so that a schedule does the
same to a fast machine and to a slow one. Only what is a time by nature (a delay, a half-open
connection) has seconds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator
from typing import Literal, TypeAlias, get_args

import attrs

from .packets import Direction, Kind

UP, DOWN = Direction.UP, Direction.DOWN


@attrs.frozen
class Line:
    """How slow a line is.

    Attributes:
        down: bytes a second towards the device.
        up: the same to the broker.
    """

    down: float
    up: float


@attrs.frozen
class Cut:
    """End the connection, both sides, at this packet.

    Attributes:
        place: whether the packet passes; "middle": its first half does.
        reset: with a TCP reset, not a FIN.
    """

    place: Literal["before", "middle", "after"] = "after"
    reset: bool = False


@attrs.frozen
class HalfOpen:
    """Swallow everything from this packet on, both ways, and keep the sockets open.

    The end of one side is swallowed too, as by a router that has forgotten the connection.

    Attributes:
        seconds: after which both sides are cut.
    """

    seconds: float


@attrs.frozen
class Delay:
    """Hold this packet, and all behind it, for so many seconds."""

    seconds: float


@attrs.frozen
class Duplicate:
    """Pass a PUBLISH twice.

    A real broker does so only over two connections, and sees one PUBACK each; so of two PUBACKs of
    that packet one is swallowed.

    Attributes:
        dup: whether the second has the DUP flag.
    """

    dup: bool = True


@attrs.frozen
class Swallow:
    """Do not pass this packet. MQTT clients do not repeat, so a cut has to follow at some time."""


@attrs.frozen
class Split:
    """Send this packet and those behind it in small pieces.

    Attributes:
        packets: how many.
        most: bytes of a piece: 1, or a random number up to this.
    """

    packets: int = 1
    most: int = 1


@attrs.frozen
class Glue:
    """Hold this packet until more have come, and send them in one write.

    Attributes:
        packets: how many in all.
        seconds: after which they are sent, however many they are: more may never come.
    """

    packets: int = 8
    seconds: float = 0.5


@attrs.frozen
class ForgetSession:
    """Cut after this packet, and make the broker forget the session before the next CONNECT.

    What it had kept for the device is lost then; so is what is sent before the device subscribes.
    """


@attrs.frozen
class Refuse:
    """Cut after this packet, and refuse the connections that come next.

    Attributes:
        connections: how many.
        how: "reset" or "close" at accept, or a "connack" that says: server unavailable.
    """

    connections: int = 1
    how: Literal["reset", "close", "connack"] = "close"


Action: TypeAlias = (
    Cut | HalfOpen | Delay | Duplicate | Swallow | Split | Glue | ForgetSession | Refuse
)
ACTIONS = get_args(Action)


@attrs.frozen
class Fault:
    """An action, and the packet at which it happens.

    Attributes:
        action: what happens.
        direction: of the packet.
        kind: of the packet.
        nth: which of these, counted from when the fault is armed; 1 for the next.
    """

    action: Action
    direction: Direction
    kind: Kind
    nth: int = 1

    @property
    def name(self) -> str:
        """For reports: the kind of fault, without its numbers."""
        words = [type(self.action).__name__.lower()]
        if isinstance(self.action, Cut):
            words.append(self.action.place)
        if isinstance(self.action, Refuse):
            words.append(self.action.how)
        else:
            words += [self.kind.name, self.direction.value]
        return " ".join(words)


# Where a connection that carries commands can be hit.
_BUSY = ((DOWN, Kind.PUBLISH), (UP, Kind.PUBACK), (UP, Kind.PUBLISH), (DOWN, Kind.PUBACK))
# Where one can be hit that is only being made. SUBACK comes once, CONNACK too.
_EARLY = ((UP, Kind.CONNECT), (DOWN, Kind.CONNACK), (UP, Kind.SUBSCRIBE), (DOWN, Kind.SUBACK))
_PLACES: tuple[Literal["before", "middle", "after"], ...] = ("before", "middle", "after")


@attrs.frozen
class Schedule:
    """A reproducible list of faults: each is armed when the one before it has happened.

    Attributes:
        seed: of everything random in it.
        count: faults at packets of commands and answers; some bring others that follow at once.
        gap: between how many packets of a kind lie between two faults.
        kinds: which faults, by the names of the methods below; empty for all.
        half_open: seconds of a half-open connection.
        delay: the longest of them, in seconds.
    """

    seed: int
    count: int = 20
    gap: tuple[int, int] = (5, 60)
    kinds: Collection[str] = ()
    half_open: float = 3.0
    delay: float = 0.3

    def __iter__(self) -> Iterator[Fault]:
        """The faults, always the same."""
        chance = random.Random(self.seed)
        makers = self._makers()
        names = sorted(self.kinds or makers)
        for number in range(self.count):
            # Every kind comes once before any comes again.
            if not number % len(names):
                chance.shuffle(names)
            yield from makers[names[number % len(names)]](chance)

    def _makers(self) -> dict[str, Callable[[random.Random], list[Fault]]]:
        return {
            "cut": self._cut,
            "cut-early": self._cut_early,
            "half-open": lambda chance: [self._busy(chance, HalfOpen(self.half_open))],
            "delay": lambda chance: [
                self._busy(chance, Delay(round(chance.uniform(0.01, self.delay), 3)))
            ],
            "duplicate": lambda chance: [
                Fault(Duplicate(chance.random() < 0.5), DOWN, Kind.PUBLISH, self._nth(chance))
            ],
            "swallow-puback": self._swallow_puback,
            "swallow-connack": lambda chance: self._swallow_early(chance, Kind.CONNACK),
            "swallow-suback": lambda chance: self._swallow_early(chance, Kind.SUBACK),
            "split": lambda chance: [
                self._busy(chance, Split(chance.randint(2, 20), chance.choice([1, 7, 50])))
            ],
            "glue": lambda chance: [self._busy(chance, Glue(chance.randint(2, 15)))],
            "forget-session": lambda chance: [self._busy(chance, ForgetSession())],
            "refuse": lambda chance: [
                self._busy(
                    chance,
                    Refuse(chance.randint(1, 3), chance.choice(["reset", "close", "connack"])),
                )
            ],
        }

    def _nth(self, chance: random.Random) -> int:
        return chance.randint(*self.gap)

    def _busy(self, chance: random.Random, action: Action) -> Fault:
        return Fault(action, *chance.choice(_BUSY), self._nth(chance))

    def _cut(self, chance: random.Random) -> list[Fault]:
        return [self._busy(chance, Cut(chance.choice(_PLACES), chance.random() < 0.3))]

    def _cut_early(self, chance: random.Random) -> list[Fault]:
        """Cut, and cut the next connection before it is up."""
        early = Cut(chance.choice(_PLACES), chance.random() < 0.3)
        return [*self._cut(chance), Fault(early, *chance.choice(_EARLY))]

    def _swallow_puback(self, chance: random.Random) -> list[Fault]:
        """Either side's; the session goes on for a while, and is cut then."""
        direction = chance.choice((UP, DOWN))
        other = DOWN if direction is UP else UP
        swallow = Fault(Swallow(), direction, Kind.PUBACK, self._nth(chance))
        return [swallow, Fault(Cut(), other, Kind.PUBLISH, chance.randint(1, 15))]

    def _swallow_early(self, chance: random.Random, kind: Kind) -> list[Fault]:
        """The device has to give up that connection by itself."""
        return [*self._cut(chance), Fault(Swallow(), DOWN, kind)]


KINDS = tuple(Schedule(0)._makers())
