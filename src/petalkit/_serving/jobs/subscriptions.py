"""Who is told of jobs and streams, and how often: the latest value, at each one's own rate.

The rule: a value that nobody sees costs nothing, and none waits for another. A source says that it
has changed; for each of its readers the next turn is put down, unless it is already. When that
comes, the source is asked for what it is then. So between two messages any number of changes is
one, and a reader of a source that stands still gets nothing.

The trap is a link that is slow or away: what is published here replaces what has not left yet
(`latest` of the outbox), so a reader has one message there at most, and the newest.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Protocol

import attrs
import trio

from ..._values.messages import Identity


class Source(Protocol):
    """What somebody can be told of."""

    @property
    def is_over(self) -> bool:
        """Whether it changes no more."""
        ...

    def tell(self, subscription: Subscription) -> bool:
        """Publish how it stands now to one reader; False when that cannot be done now."""
        ...


@attrs.define(eq=False)
class Subscription:
    """One reader of one topic of sources.

    Attributes:
        topic: of what: a kind of job, or a stream.
        stream_id: how the reader calls it.
        rate: messages per second of one source, at most.
        identity: under which it subscribed.
        renewed_at: when, on Trio's clock.
        job_id: the only job of that kind it is told of; None for all.
        plain: whether it wants plain events, and no envelope like that of a command.
    """

    topic: str
    stream_id: str
    rate: float
    identity: Identity
    renewed_at: float
    job_id: str | None = None
    plain: bool = False
    turns: dict[Source, _Turn] = attrs.field(factory=dict, init=False)


@attrs.define(eq=False)
class _Turn:
    """The turns of one source with one reader.

    Attributes:
        last: when the last one was due.
        at: when the next is, once it is put down; else None.
    """

    subscription: Subscription
    source: Source
    last: float = -math.inf
    at: float | None = None

    @property
    def earliest(self) -> float:
        """When the next may be."""
        return self.last + 1 / self.subscription.rate


class TooManySubscriptions(Exception):
    """There are as many as the settings allow."""


class Subscriptions:
    """All of a runtime.

    Args:
        most: how many there may be.
        age: seconds after which one is forgotten that is not renewed.
    """

    def __init__(self, most: int, age: float) -> None:
        self._most = most
        self._age = age
        self._of: dict[str, dict[str, Subscription]] = {}
        self._count = 0
        self._turns: list[tuple[float, int, _Turn]] = []
        self._numbers = itertools.count()
        self._wake = trio.Event()
        # Whether readers of a topic are kept whatever their age: a job that runs for hours tells
        # them its end.
        self.is_kept: Callable[[str], bool] = lambda _: False
        # Called with one that has come or is renewed, and with one that is gone.
        self.on_reads: Callable[[Subscription], object] = lambda _: None
        self.on_gone: Callable[[Subscription], object] = lambda _: None
        # Called with a topic that has no readers any more.
        self.on_unread: Callable[[str], object] = lambda _: None

    def __len__(self) -> int:
        return self._count

    def of(self, topic: str) -> Iterator[Subscription]:
        """Those of a topic."""
        yield from list(self._of.get(topic, {}).values())

    def add(self, subscription: Subscription) -> Subscription:
        """One more, or another rate of one that is there, which renews it.

        Raises:
            TooManySubscriptions: see there.
        """
        readers = self._of.get(subscription.topic, {})
        known = readers.get(subscription.stream_id)
        if known is not None:
            known.rate, known.job_id = subscription.rate, subscription.job_id
            known.renewed_at, known.identity = subscription.renewed_at, subscription.identity
            known.plain = subscription.plain
            for turn in known.turns.values():
                if turn.at is not None:
                    self._put_down(turn, max(known.renewed_at, turn.earliest))
            self.on_reads(known)
            return known
        self.forget_old(subscription.renewed_at)
        if self._count >= self._most:
            raise TooManySubscriptions
        readers = self._of.setdefault(subscription.topic, {})
        readers[subscription.stream_id] = subscription
        self._count += 1
        self.on_reads(subscription)
        return subscription

    def remove(self, topic: str, stream_id: str | None = None) -> int:
        """Forget one reader of a topic, or all; how many that were."""
        readers = self._of.get(topic, {})
        gone = list(readers) if stream_id is None else [one for one in readers if one == stream_id]
        for one in gone:
            subscription = readers.pop(one)
            subscription.turns.clear()
            self.on_gone(subscription)
        self._count -= len(gone)
        if gone and not readers:
            del self._of[topic]
            self.on_unread(topic)
        return len(gone)

    def forget_old(self, now: float) -> None:
        """Forget those that nobody has renewed for too long."""
        for topic, readers in list(self._of.items()):
            for one in list(readers.values()):
                if self._is_old(one, now):
                    self.remove(topic, one.stream_id)

    def _is_old(self, subscription: Subscription, now: float) -> bool:
        return subscription.renewed_at + self._age <= now and not self.is_kept(subscription.topic)

    def is_read(self, topic: str) -> bool:
        """Whether anybody is told of it."""
        return topic in self._of

    # -- turns

    def changed(self, topic: str, source: Source, job_id: str | None = None) -> None:
        """A source of a topic is not what it was.

        Args:
            topic: what its readers subscribe to.
            source: it.
            job_id: its own, where it is a job.
        """
        if topic not in self._of:
            return
        now = trio.current_time()
        for turn in self._turns_of(topic, source, job_id):
            if turn.at is None:
                self._put_down(turn, max(now, turn.earliest))

    def ended(self, topic: str, source: Source, job_id: str | None = None) -> None:
        """Tell what is said of it last: now, whatever the rates, or as soon as that can be done."""
        now = trio.current_time()
        for turn in self._turns_of(topic, source, job_id):
            if source.tell(turn.subscription):
                del turn.subscription.turns[source]
            else:
                turn.last = now
                self._put_down(turn, turn.earliest)

    def _turns_of(self, topic: str, source: Source, job_id: str | None) -> Iterator[_Turn]:
        for subscription in list(self._of.get(topic, {}).values()):
            if subscription.job_id is None or subscription.job_id == job_id:
                turn = subscription.turns.get(source)
                if turn is None:
                    turn = subscription.turns[source] = _Turn(subscription, source)
                yield turn

    def _put_down(self, turn: _Turn, at: float) -> None:
        turn.at = at
        heapq.heappush(self._turns, (at, next(self._numbers), turn))
        if self._turns[0][2] is turn:
            self._wake.set()

    async def run(self) -> None:
        """Tell readers until cancelled. It waits for turns without a limit: none may ever come."""
        while True:
            await trio.lowlevel.checkpoint()
            now = trio.current_time()
            while self._turns and self._turns[0][0] <= now:
                at, _, turn = heapq.heappop(self._turns)
                self._take(turn, at, now)
            self._wake = trio.Event()
            until = self._turns[0][0] if self._turns else math.inf
            with trio.CancelScope(deadline=until):
                await self._wake.wait()

    def _take(self, turn: _Turn, at: float, now: float) -> None:
        subscription = turn.subscription
        if turn.at != at:
            return  # it was put down again, for earlier
        turn.at = None
        if subscription.turns.get(turn.source) is not turn:
            return  # nobody reads it any more
        if self._is_old(subscription, now) and not turn.source.is_over:
            self.remove(subscription.topic, subscription.stream_id)
            return
        # Counted from when it was due, or it would be a little late every time.
        turn.last = max(at, now - 1 / subscription.rate)
        if not turn.source.tell(subscription):
            self._put_down(turn, turn.earliest)
        elif turn.source.is_over:
            del subscription.turns[turn.source]
