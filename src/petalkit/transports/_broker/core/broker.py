"""The broker itself: sessions and what happens to them. No I/O, and no clock of its own.

The rule: everything happens inside the call that causes it, or in `run_due` at a time of the clock
that it was given; so a test says what happens and when. Who calls is a door: `memory`, which hands
over messages, or `protocol`, which reads bytes.

The trap: a broker that is kinder than a real one hides bugs, so this one holds back at a window,
drops what a full queue cannot hold (and counts it), and delivers again what was not acknowledged.
"""

from __future__ import annotations

import heapq
import itertools
import math
import weakref
from collections.abc import Callable, Sequence

import attrs

from ...._values.errors import SESSION_TAKEN_OVER
from ...._values.topics import TopicFilter
from .bounds import Bounds
from .policy import Policy
from .retained import RetainedMessages
from .routes import Routes, size_of
from .session import Session
from .shared import Shared
from .values import (
    FAILURE,
    NO_MATCHING_SUBSCRIBERS,
    NO_SUBSCRIPTION_EXISTED,
    QUOTA_EXCEEDED,
    SUCCESS,
    TOPIC_FILTER_INVALID,
    End,
    Hello,
    Publication,
    Refused,
    Subscription,
    Will,
    Wire,
)

_WILLS_SPARE = 64


class Broker:
    """See the module.

    Args:
        bounds: what it may hold.
        clock: seconds, such as `trio.current_time`.
        policy: who may do what.

    Attributes:
        sessions: by client ID.
        on_will: called with the time when `run_due` has a will to publish.
    """

    def __init__(self, bounds: Bounds, clock: Callable[[], float], policy: Policy) -> None:
        self.shared = Shared(bounds, clock)
        self.bounds = bounds
        self.counters = self.shared.counters
        self.clock = clock
        self.policy = policy
        self.routes = Routes(policy)
        self.retained = RetainedMessages(self.shared)
        self.sessions: dict[str, Session] = {}
        self.on_will: Callable[[float], None] = _nothing
        self._numbers = itertools.count()
        # A heap. Most are of clients that came back: so it is not what keeps them.
        self._wills: list[tuple[float, int, Session, weakref.ref[Will]]] = []
        self._next_expiry = math.inf

    # -- connections

    def connect(self, hello: Hello, wire: Wire) -> tuple[Session, bool]:
        """A CONNECT came: its session, taken over from its last connection; present or not.

        What the session is owed is sent by `Session.resume`, after the CONNACK.

        Raises:
            Refused: there are as many sessions or wills as there may be.
        """
        self.expire()
        session = self.sessions.get(hello.client_id)
        if session is not None and session.wire is not None:
            # MQTT 5.0, section 3.1.4: DISCONNECT 0x8E; 3.1.1 just closes.
            text = "another client took over the session"
            self.lose(session.wire, session, End(text, SESSION_TAKEN_OVER))
            session = self.sessions.get(hello.client_id)  # unless it ended with its connection
        if session is not None and hello.clean_start:
            self.forget(session)
            session = None
        present = session is not None
        if session is None:
            if len(self.sessions) >= self.bounds.max_sessions:
                raise Refused(QUOTA_EXCEEDED, "there are as many sessions as there may be")
            session = Session(hello.client_id, next(self._numbers), self.shared)
        size = 0 if hello.will is None else hello.will.publication.size
        if not session.may_keep(size - session.will_bytes):
            raise Refused(QUOTA_EXCEEDED, "there are as many wills as there may be")
        session.keep_will(size)
        self.sessions[hello.client_id] = session
        session.lifetime = hello.lifetime
        wire.will = hello.will
        session.attach(wire)
        return session, present

    def lose(self, wire: Wire, session: Session, end: End) -> None:
        """A connection ends; its will is published, now or later, unless it was taken away."""
        if wire.lost is not None:
            return
        will, wire.will = wire.will, None
        session.wire = None
        if session.lifetime == 0:
            self.forget(session)
        else:
            session.expires_at = self.clock() + session.lifetime
            self._next_expiry = min(self._next_expiry, session.expires_at)
        wire.close(end)
        if will is None:
            session.keep_will(0)
            return
        # MQTT 5.0, section 3.1.3.2.2: at the end of the session, if that is earlier.
        delay = min(will.delay, session.lifetime)
        if delay > 0:
            self._delay_will(session, will, self.clock() + delay)
        else:
            session.keep_will(0)
            self._publish_will(will, session)

    def _delay_will(self, session: Session, will: Will, due: float) -> None:
        session.delayed_will = will
        if len(self._wills) > 2 * len(self.sessions) + _WILLS_SPARE:
            self._wills = [one for one in self._wills if one[2].delayed_will is one[3]()]
            heapq.heapify(self._wills)
        heapq.heappush(self._wills, (due, next(self._numbers), session, weakref.ref(will)))
        self.on_will(due)

    def forget(self, session: Session) -> None:
        """The session ends, and with it the delay of its will."""
        will, session.delayed_will = session.delayed_will, None
        for topic_filter in list(session.subscriptions):
            self.routes.leave(session, topic_filter)
        if self.sessions.get(session.client_id) is session:
            del self.sessions[session.client_id]
        session.discard()
        if will is not None:
            self._publish_will(will, session)

    # -- time

    @property
    def next_due(self) -> float:
        """When `run_due` has something to do, at the earliest."""
        return min(self._wills[0][0] if self._wills else math.inf, self._next_expiry)

    def run_due(self) -> None:
        """Publish the wills whose delay has passed, and end the sessions whose time has."""
        now = self.clock()
        while self._wills and self._wills[0][0] <= now:
            _, _, session, kept = heapq.heappop(self._wills)
            will = kept()
            if will is not None and session.delayed_will is will:
                session.delayed_will = None
                session.keep_will(0)
                self._publish_will(will, session)
        self.expire()

    def expire(self) -> None:
        """End the sessions whose time has passed."""
        now = self.clock()
        if now < self._next_expiry:
            return
        for session in list(self.sessions.values()):
            if session.expires_at <= now:
                self.forget(session)
        self._next_expiry = min(
            (session.expires_at for session in self.sessions.values()), default=math.inf
        )

    # -- subscriptions

    def subscribe(
        self, session: Session, subscriptions: Sequence[Subscription]
    ) -> tuple[list[int], list[Subscription]]:
        """A SUBSCRIBE came.

        Returns:
            The SUBACK's codes, and which of the subscriptions are to get retained messages, by
            `send_retained`.
        """
        codes: list[int] = []
        wanted: list[Subscription] = []
        self.shared.work += len(subscriptions)
        for asked in subscriptions:
            code = self.policy.grant(asked.filter, asked.qos)
            if code < FAILURE:
                code = self._check_bounds(session, asked.filter) or code
            codes.append(code)
            if code >= FAILURE:
                continue
            granted = asked if asked.qos == code else attrs.evolve(asked, qos=code)
            new = self.routes.join(session, granted)
            handling = granted.retain_handling
            if granted.filter.share is None and (handling == 0 or (handling == 1 and new)):
                wanted.append(granted)
        return codes, wanted

    def _check_bounds(self, session: Session, topic_filter: TopicFilter) -> int:
        if len(topic_filter.levels) > self.bounds.max_topic_levels:
            code = TOPIC_FILTER_INVALID
        elif topic_filter not in session.subscriptions and (
            len(session.subscriptions) >= self.bounds.max_subscriptions
            or not session.may_keep(size_of(topic_filter))
        ):
            code = QUOTA_EXCEEDED
        else:
            return 0
        self.counters.refused += 1
        return code

    def send_retained(self, session: Session, subscriptions: Sequence[Subscription]) -> None:
        """Send the retained messages that match."""
        self.retained.drop_expired()
        for one in subscriptions:
            identifiers = (one.identifier,) if one.identifier else ()
            for publication in self.retained.matching(one.filter):
                qos = min(publication.qos, one.qos)
                session.push(publication, qos, retain=True, identifiers=identifiers)

    def unsubscribe(self, session: Session, filters: Sequence[TopicFilter]) -> list[int]:
        """An UNSUBSCRIBE came. Returns the UNSUBACK's codes."""
        self.shared.work += len(filters)
        return [
            SUCCESS if self.routes.leave(session, one) else NO_SUBSCRIPTION_EXISTED
            for one in filters
        ]

    # -- messages

    def _publish_will(self, will: Will, session: Session) -> None:
        """As the client itself would: with no local, it does not get it."""
        publication = will.publication
        publication.expires_at = self.clock() + will.expiry
        self.publish(publication, session)

    def publish(self, publication: Publication, publisher: Session | None) -> int:
        """Give a message to everybody who wants it. Returns the reason code of its PUBACK."""
        topic = publication.topic
        route = self.routes.known.get(topic) or self.routes.find(topic)
        if route.rejected:
            return route.rejected
        retain = publication.retain
        if retain and not self.retained.keep(publication):
            self.counters.refused += 1
            return QUOTA_EXCEEDED
        self.counters.published += 1
        self.shared.work += 1 + len(route.targets)
        for see in route.taps:
            see(publication)
        copies = self.policy.copies() if route.targets or route.groups else 1
        qos = publication.qos
        for _ in range(copies):
            for session, target in route.targets:
                if route.no_local and session is publisher and session in route.no_local:
                    own = route.no_local[session]
                    if own is None:
                        continue
                    target = own
                session.push(
                    publication,
                    qos if qos < target.qos else target.qos,
                    retain=retain and target.keeps_retain,
                    identifiers=target.identifiers,
                )
        for group in route.groups:
            session, subscription = group.next()
            identifiers = (subscription.identifier,) if subscription.identifier else ()
            for _ in range(copies):
                session.push(
                    publication,
                    min(qos, subscription.qos),
                    retain=retain and subscription.retain_as_published,
                    identifiers=identifiers,
                )
        if route.targets or route.groups:
            return SUCCESS
        return NO_MATCHING_SUBSCRIBERS


def _nothing(_: float) -> None:
    """The default of `on_will`, for who calls `run_due` anyway."""
