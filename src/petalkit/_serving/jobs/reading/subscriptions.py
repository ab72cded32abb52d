"""Who is told of jobs and streams, and how often: the latest value, at each one's own rate.

The rule: a value that nobody sees costs nothing, and none waits for another. A source says that it
has changed; for each of its readers the next turn is put down, unless it is already. When that
comes, the source is asked for what it is then. So between two messages any number of changes is
one, and a reader of a source that stands still gets nothing.

The trap is a link that is slow or away: what is published here replaces what has not left yet
(`latest` of the outbox), so a reader has one message there at most, and the newest. Where there is
no room even for that, it is tried again at a rate of our own: readers would try too often, or once
in an hour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import trio

from ...._values.messages import Identity
from .turns import Source as Source
from .turns import Subscription as Subscription
from .turns import Turn, Turns

RETRY = 0.5  # seconds until what had no room is tried again
STEP = 64  # turns that are taken without a checkpoint


class _Farewell:
    """What readers are told last who are dismissed."""

    says_last = True

    def __init__(self, say: Callable[[Subscription], bool]) -> None:
        self._say = say

    def tell(self, subscription: Subscription) -> bool:
        """See `Source`."""
        return self._say(subscription)


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
        self._turns = Turns()
        self._check_at = math.inf  # when one may be too old
        self._wake = trio.Event()
        # Whether readers of a topic are kept whatever their age: a job that runs for hours tells
        # them its end.
        self.is_kept: Callable[[str], bool] = lambda _: False
        # Called with one that has come or is renewed, and with one that is gone.
        self.on_reads: Callable[[Subscription], object] = lambda _: None
        self.on_gone: Callable[[Subscription], object] = lambda _: None
        # Called with a topic that has no readers any more.
        self.on_unread: Callable[[str], object] = lambda _: None
        # Called with a source when it has said its last to one reader, or that is gone.
        self.on_last: Callable[[Source], object] = lambda _: None

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
            if known.job_id != subscription.job_id:  # of others it is told no more
                known.turns = {one: turn for one, turn in known.turns.items() if one.says_last}
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
        if self._check_at == math.inf:
            self._check(subscription.renewed_at + self._age)
        self.on_reads(subscription)
        return subscription

    def remove(self, topic: str, stream_id: str | None = None) -> int:
        """Forget one reader of a topic, or all; how many that were."""
        readers = self._of.get(topic, {})
        gone = list(readers) if stream_id is None else [one for one in readers if one == stream_id]
        owed: list[Source] = []
        for one in gone:
            subscription = readers.pop(one)
            owed += [source for source in subscription.turns if source.says_last]
            subscription.turns.clear()
            self.on_gone(subscription)
        self._count -= len(gone)
        if gone and not readers:
            del self._of[topic]
            self.on_unread(topic)
        for source in owed:
            self.on_last(source)
        return len(gone)

    def dismiss(self, topic: str, tell: Callable[[Subscription], bool]) -> None:
        """Forget all readers of a topic, and tell each why, as soon as that can be done.

        Args:
            topic: of what.
            tell: publishes that to one; False when there is no room for it.
        """
        gone = list(self.of(topic))
        self.remove(topic)
        given_up = trio.current_time() + self._age

        def farewell(one: Subscription) -> bool:
            is_back = one.stream_id in self._of.get(topic, {})
            return is_back or trio.current_time() >= given_up or tell(one)

        for one in gone:
            source = _Farewell(farewell)
            if not source.tell(one):
                turn = one.turns[source] = Turn(one, source)
                self._put_down(turn, trio.current_time() + RETRY)

    def end_identity(self, identity: Identity) -> None:
        """The device is another now: nobody reads under this identity, but for ends of jobs."""
        for readers in self._of.values():
            for one in readers.values():
                if one.identity == identity:
                    one.renewed_at = -math.inf
        self._check(trio.current_time())

    def _check(self, at: float) -> None:
        self._check_at = at
        self._wake.set()

    def _next_check(self, now: float) -> float:
        """When one may be too old. Not more often than once a second."""
        ages = [
            now + self._age if self.is_kept(topic) else self._lasts_until(one)
            for topic, readers in self._of.items()
            for one in readers.values()
        ]
        return max(now + 1, min(ages)) if ages else math.inf

    def forget_old(self, now: float) -> None:
        """Forget those that nobody has renewed for too long."""
        for topic, readers in list(self._of.items()):
            for one in list(readers.values()):
                if self._is_old(one, now):
                    self.remove(topic, one.stream_id)

    def _is_old(self, subscription: Subscription, now: float) -> bool:
        return (
            self._lasts_until(subscription) <= now
            and not self.is_kept(subscription.topic)
            and not any(source.says_last for source in subscription.turns)  # it is owed an end
        )

    def _lasts_until(self, subscription: Subscription) -> float:
        renewed_at = subscription.renewed_at
        return renewed_at if renewed_at == -math.inf else renewed_at + self._age

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

    def ended(self, topic: str, source: Source, job_id: str | None = None) -> bool:
        """Tell what is said of it last: now, whatever the rates, or as soon as that can be done.

        Returns:
            Whether all its readers have been told.
        """
        all_told = True
        for turn in self._turns_of(topic, source, job_id):
            if source.tell(turn.subscription):
                del turn.subscription.turns[source]
            else:
                all_told = False
                self._put_down(turn, trio.current_time() + RETRY)
        return all_told

    def owes(self, topic: str, source: Source) -> bool:
        """Whether a reader is still to be told of it."""
        return any(source in one.turns for one in self._of.get(topic, {}).values())

    def _turns_of(self, topic: str, source: Source, job_id: str | None) -> Iterator[Turn]:
        for subscription in list(self._of.get(topic, {}).values()):
            if subscription.job_id is None or subscription.job_id == job_id:
                turn = subscription.turns.get(source)
                if turn is None:
                    turn = subscription.turns[source] = Turn(subscription, source)
                yield turn

    def _put_down(self, turn: Turn, at: float) -> None:
        if self._turns.put_down(turn, at):
            self._wake.set()

    async def run(self) -> None:
        """Tell readers until cancelled. It waits for turns without a limit: none may ever come."""
        while True:
            await trio.lowlevel.checkpoint()
            now = trio.current_time()
            if now >= self._check_at:
                self.forget_old(now)
                self._check_at = self._next_check(now)
            for _ in range(STEP):
                if self._turns.next_at > now:
                    break
                taken = self._turns.take()
                if taken is not None:
                    self._take(*taken, now)
            else:
                continue
            self._wake = trio.Event()
            until = min(self._check_at, self._turns.next_at)
            with trio.CancelScope(deadline=until):
                await self._wake.wait()

    def _take(self, turn: Turn, at: float, now: float) -> None:
        subscription = turn.subscription
        if self._is_old(subscription, now):
            self.remove(subscription.topic, subscription.stream_id)
            return
        # Counted from when it was due, or it would be a little late every time.
        turn.last = max(at, now - 1 / subscription.rate)
        if not turn.source.tell(subscription):
            self._put_down(turn, now + RETRY)
        elif turn.source.says_last:
            subscription.turns.pop(turn.source, None)
            self.on_last(turn.source)
