"""Who has subscribed to what: a tree of topic levels (MQTT 5.0, section 4.7).

The rule: to look a topic up costs what matches it, not what there is. The trap: wildcards at the
first level do not match topics that begin with `$`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...._values.topics import TopicFilter
from .session import Session
from .values import Subscription


class Group:
    """The members of one shared subscription, served in turn."""

    def __init__(self) -> None:
        self.members: dict[Session, Subscription] = {}
        self._turn = 0

    def next(self) -> tuple[Session, Subscription]:
        """The next member; one that is connected goes before one that is not."""
        members = list(self.members.items())
        count = len(members)
        for step in range(count):
            member = members[(self._turn + step) % count]
            if member[0].wire is not None:
                self._turn += step + 1
                return member
        self._turn += 1
        return members[self._turn % count]


class _Node:
    __slots__ = ("below", "groups", "here")

    def __init__(self) -> None:
        self.below: dict[str, _Node] = {}
        self.here: dict[Session, Subscription] = {}
        self.groups: dict[str, Group] = {}


class Subscriptions:
    """See the module."""

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, session: Session, subscription: Subscription) -> None:
        """Subscribe, or change what was subscribed with the same filter."""
        node = self._root
        for level in subscription.filter.levels:
            node = node.below.setdefault(level, _Node())
        share = subscription.filter.share
        if share is None:
            node.here[session] = subscription
        else:
            node.groups.setdefault(share, Group()).members[session] = subscription

    def remove(self, session: Session, topic_filter: TopicFilter) -> None:
        """Unsubscribe; what nobody uses any more goes with it."""
        way = [self._root]
        for level in topic_filter.levels:
            way.append(way[-1].below[level])
        node, share = way[-1], topic_filter.share
        if share is None:
            del node.here[session]
        else:
            del node.groups[share].members[session]
            if not node.groups[share].members:
                del node.groups[share]
        for level in reversed(topic_filter.levels):
            node = way.pop()
            if node.below or node.here or node.groups:
                return
            del way[-1].below[level]

    def find(self, topic: str) -> tuple[list[tuple[Session, Subscription]], list[Group]]:
        """Every subscription that matches, and every group with one."""
        found: list[tuple[Session, Subscription]] = []
        groups: list[Group] = []
        for node in self._matching(topic):
            found.extend(node.here.items())
            groups.extend(node.groups.values())
        return found, groups

    def _matching(self, topic: str) -> Iterator[_Node]:
        nodes = [self._root]
        root = self._root if topic.startswith("$") else None
        for level in topic.split("/"):
            nodes_below: list[_Node] = []
            for node in nodes:
                below = node.below
                if node is not root:
                    if (rest := below.get("#")) is not None:
                        yield rest
                    if (one := below.get("+")) is not None:
                        nodes_below.append(one)
                if (same := below.get(level)) is not None:
                    nodes_below.append(same)
            nodes = nodes_below
            if not nodes:
                return
        for node in nodes:
            yield node
            if (rest := node.below.get("#")) is not None:  # `a/#` matches `a`
                yield rest
