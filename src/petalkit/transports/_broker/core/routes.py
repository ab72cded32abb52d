"""Who gets what is published on a topic: subscriptions, shared ones among them, and observers.

The rule: it is looked up once for each topic, and anew when anything changed. Where filters of one
client overlap it gets one copy: with the highest QoS, and every subscription identifier.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs

from ...._values.topics import TopicFilter, check_topic
from .policy import Policy
from .session import Session
from .subscriptions import Group, Subscriptions
from .values import Publication, Subscription

_ROUTES_MAX = 4096  # remembered topics; forgotten all at once
_TARGETS_MAX = 65_536  # of them together
_ENTRY, _LEVEL = 700, 500  # bytes of the objects of a subscription, and of a level of its filter
_TOPIC_MAX = 512  # characters; longer topics are not remembered


class Tap(Protocol):
    """Sees what is published, without a session."""

    def matches(self, topic: str) -> bool:
        """Whether it wants to see what is published there."""
        ...

    def see(self, publication: Publication) -> None:
        """A message on a matching topic."""


@attrs.frozen
class Target:
    """What of a topic one session gets."""

    qos: int
    identifiers: tuple[int, ...]
    keeps_retain: bool


@attrs.frozen
class Route:
    """Who gets what is published on one topic; with no local, a session gets none of its own."""

    targets: tuple[tuple[Session, Target], ...]
    no_local: dict[Session, Target | None]
    groups: tuple[Group, ...]
    taps: tuple[Callable[[Publication], None], ...]
    rejected: int  # reason code, 0 for none


class Routes:
    """See the module.

    Args:
        policy: says what may be published; `changed` is called after a change.

    Attributes:
        known: what was looked up, by topic; to ask here first saves `find`.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._subscriptions = Subscriptions()
        self._taps: list[Tap] = []
        self._targets = 0
        self.known: dict[str, Route] = {}

    def changed(self) -> None:
        """Look everything up anew."""
        self.known.clear()
        self._targets = 0

    def find(self, topic: str) -> Route:
        """Who gets it.

        Raises:
            TopicError: nothing can be published on that topic.
        """
        return self.known.get(topic) or self._look_up(topic)

    def join(self, session: Session, subscription: Subscription) -> bool:
        """Subscribe a session; whether that filter is new to it."""
        topic_filter = subscription.filter
        before = session.subscriptions.get(topic_filter)
        if before != subscription:
            session.subscriptions[topic_filter] = subscription
            if before is None:
                session.keep(size_of(topic_filter))
            self._subscriptions.add(session, subscription)
            self.changed()
        return before is None

    def leave(self, session: Session, topic_filter: TopicFilter) -> bool:
        """Unsubscribe a session; whether it was subscribed."""
        if session.subscriptions.pop(topic_filter, None) is None:
            return False
        session.keep(-size_of(topic_filter))
        self._subscriptions.remove(session, topic_filter)
        self.changed()
        return True

    def add_tap(self, tap: Tap) -> None:
        """Have it see what is published."""
        self._taps.append(tap)
        self.changed()

    def remove_tap(self, tap: Tap) -> None:
        """It sees no more."""
        self._taps.remove(tap)
        self.changed()

    def _look_up(self, topic: str) -> Route:
        check_topic(topic)
        found, groups = self._subscriptions.find(topic)
        wanted: dict[Session, list[Subscription]] = {}
        for session, subscription in found:
            wanted.setdefault(session, []).append(subscription)
        ordered = sorted(wanted, key=lambda session: session.number)
        route = Route(
            targets=tuple((session, _merged(wanted[session])) for session in ordered),
            no_local={
                session: _merged(others)
                if (others := [one for one in theirs if not one.no_local])
                else None
                for session, theirs in wanted.items()
                if any(one.no_local for one in theirs)
            },
            groups=tuple(groups),
            taps=tuple(tap.see for tap in self._taps if tap.matches(topic)),
            rejected=self._policy.publish_code(topic),
        )
        if len(topic) > _TOPIC_MAX:
            return route
        self._targets += len(ordered)
        if len(self.known) >= _ROUTES_MAX or self._targets > _TARGETS_MAX:
            self.changed()
            self._targets = len(ordered)
        self.known[topic] = route
        return route


def size_of(topic_filter: TopicFilter) -> int:
    """Bytes that a subscription takes, about: its text twice, and a node for each level."""
    return _ENTRY + 2 * len(topic_filter.text) + _LEVEL * len(topic_filter.levels)


def _merged(subscriptions: list[Subscription]) -> Target:
    return Target(
        qos=max(one.qos for one in subscriptions),
        identifiers=tuple(one.identifier for one in subscriptions if one.identifier),
        keeps_retain=any(one.retain_as_published for one in subscriptions),
    )
