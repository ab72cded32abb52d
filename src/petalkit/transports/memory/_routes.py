"""Who gets what is published on a topic: subscriptions, shared ones among them, and observers.

The rule: it is looked up once for each topic, and anew when anything changed.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from ..._values.topics import TopicFilter, check_topic
from ._observer import Observer
from ._session import Session

_ROUTES_MAX = 4096  # remembered topics; forgotten all at once


class Group:
    """The members of one shared subscription, served in turn."""

    def __init__(self) -> None:
        self.members: list[tuple[Session, int]] = []
        self._turn = 0

    def next(self) -> tuple[Session, int]:
        """The next member; one that is connected goes before one that is not."""
        count = len(self.members)
        for step in range(count):
            member = self.members[(self._turn + step) % count]
            if member[0].connection is not None:
                self._turn += step + 1
                return member
        self._turn += 1
        return self.members[self._turn % count]


@attrs.frozen
class Route:
    """Who gets what is published on one topic."""

    sessions: tuple[tuple[Session, int], ...]
    groups: tuple[Group, ...]
    observers: tuple[Observer, ...]
    rejected: int  # reason code, 0 for none


class Routes:
    """See the module.

    Args:
        sessions: all that there are, by client ID; kept by whoever made this.
        rejected: reason codes of what may not be published; `changed` is called after a change.

    Attributes:
        known: what was looked up, by topic; to ask here first saves `find`.
    """

    def __init__(
        self, sessions: Mapping[str, Session], rejected: Mapping[TopicFilter, int]
    ) -> None:
        self._sessions = sessions
        self._rejected = rejected
        self._groups: dict[TopicFilter, Group] = {}
        self._observers: list[Observer] = []
        self.known: dict[str, Route] = {}

    def changed(self) -> None:
        """Look everything up anew."""
        self.known.clear()

    def find(self, topic: str) -> Route:
        """Who gets it.

        Raises:
            TopicError: nothing can be published on that topic.
        """
        return self.known.get(topic) or self._look_up(topic)

    def join(self, session: Session, topic_filter: TopicFilter, qos: int) -> bool:
        """Subscribe a session; whether that filter is new to it."""
        new = topic_filter not in session.subscriptions
        if new and topic_filter.share is not None:
            group = self._groups.setdefault(topic_filter, Group())
            group.members.append((session, qos))
        if session.subscriptions.get(topic_filter) != qos:
            session.subscriptions[topic_filter] = qos
            self.changed()
        return new

    def leave(self, session: Session, topic_filter: TopicFilter) -> None:
        """Unsubscribe a session."""
        if session.subscriptions.pop(topic_filter, None) is None:
            return
        if (group := self._groups.get(topic_filter)) is not None:
            group.members = [member for member in group.members if member[0] is not session]
            if not group.members:
                del self._groups[topic_filter]
        self.changed()

    def add_observer(self, observer: Observer) -> None:
        """Have it see what is published."""
        self._observers.append(observer)
        self.changed()

    def remove_observer(self, observer: Observer) -> None:
        """It sees no more."""
        self._observers.remove(observer)
        self.changed()

    def _look_up(self, topic: str) -> Route:
        check_topic(topic)
        wanted = [
            (session, max(found))
            for session in self._sessions.values()
            # Overlapping filters of one client: one copy, with the highest QoS.
            if (
                found := [
                    qos
                    for topic_filter, qos in session.subscriptions.items()
                    if topic_filter.share is None and topic_filter.matches(topic)
                ]
            )
        ]
        route = Route(
            sessions=tuple(wanted),
            groups=tuple(group for shared, group in self._groups.items() if shared.matches(topic)),
            observers=tuple(o for o in self._observers if o.filter.matches(topic)),
            rejected=next((code for f, code in self._rejected.items() if f.matches(topic)), 0),
        )
        if len(self.known) >= _ROUTES_MAX:
            self.known.clear()
        self.known[topic] = route
        return route
