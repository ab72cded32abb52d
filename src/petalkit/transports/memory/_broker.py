"""The broker as a test sees it: a client of its own, what there is, and every fault on demand.

A value: no sockets and no real time. How it treats clients is `_core`; a fault takes effect there.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import attrs

from ..._values.messages import Message, Properties
from ..._values.topics import TopicFilter
from ._connection import Connection
from ._core import BrokerCore
from ._faults import Swallowed
from ._observer import Observer
from ._views import BrokerStatistics, SessionView


class MemoryBroker(BrokerCore):
    """An in-process MQTT broker for tests and benchmarks.

    Clients come through `MemoryTransport`; a test itself uses `publish_nowait` and `observe`.
    It must be used inside one `trio.run`.

    Args:
        window: unacknowledged QoS 1 messages under way to one client, at most; with MQTT 5 the
            client's receive maximum, if that is lower.
        max_queued: QoS 1 messages kept for one client beyond that.
        session_expiry: seconds for which the session of an absent 3.1.1 client is kept; MQTT 5
            clients say it themselves.
        session_expiry_max: seconds that it grants to MQTT 5 clients, at most.
        history: messages that `published` remembers.

    Attributes:
        delay: seconds by which every packet from the broker to a client is late.
        published: the last messages accepted, at most `history` of them.
    """

    # -- the test as a client

    def publish_nowait(
        self,
        topic: str,
        payload: bytes | str,
        *,
        qos: int = 1,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> None:
        """Publish as some other client would; it is routed before this returns.

        With properties that other client speaks MQTT 5. They reach links of MQTT 5 only.

        Raises:
            TopicError: nothing can be published on that topic.
        """
        data = payload.encode() if isinstance(payload, str) else payload
        self._publish(Message(topic, data, qos, retain, properties))

    @contextmanager
    def observe(self, topic_filter: str, *, limit: int = 100_000) -> Generator[Observer]:
        """See every message on a filter while the block runs, without a client.

        Args:
            topic_filter: with wildcards if need be.
            limit: messages to keep; what comes later is counted in `Observer.dropped`.
        """
        observer = Observer(TopicFilter(topic_filter), limit)
        self._core.routes.add_tap(observer)
        try:
            yield observer
        finally:
            self._core.routes.remove_tap(observer)

    # -- what there is

    @property
    def clients(self) -> tuple[str, ...]:
        """The client IDs that are connected."""
        return tuple(name for name, session in self._core.sessions.items() if session.wire)

    @property
    def sessions(self) -> Mapping[str, SessionView]:
        """Every session that is kept, by client ID."""
        self._core.expire()
        for session in self._core.sessions.values():
            session.drop_expired()
        return {
            client_id: SessionView(
                connected=session.wire is not None,
                subscriptions=tuple(session.subscriptions),
                queued=len(session.queue),
                unacknowledged=len(session.inflight),
            )
            for client_id, session in self._core.sessions.items()
        }

    @property
    def retained(self) -> Mapping[str, Message]:
        """The retained messages, by topic."""
        retained = self._core.retained
        retained.drop_expired()
        return {topic: publication.origin for topic, publication in retained.by_topic.items()}

    def unacknowledged(self, client_id: str) -> tuple[Message, ...]:
        """The QoS 1 messages sent to a client whose PUBACK is owed, in order."""
        session = self._core.sessions.get(client_id)
        sent = session.inflight.values() if session else ()
        return tuple(packet.publication.origin for packet in sent)

    def statistics(self) -> BrokerStatistics:
        """The counters, as they are now."""
        counters = self._core.counters
        names = (field.name for field in attrs.fields(BrokerStatistics))
        return BrokerStatistics(**{name: getattr(counters, name) for name in names})

    # -- faults

    def drop_links(
        self,
        *client_ids: str,
        reason: str = "the broker dropped the link",
        reason_code: int | None = None,
    ) -> int:
        """Cut the links of these clients, or of all; wills are published.

        Args:
            client_ids: of whom; of all when there are none.
            reason: for the log of the other side.
            reason_code: of the DISCONNECT that says so, to clients of MQTT 5; None just closes.

        Returns:
            How many there were.
        """
        connections = [
            connection
            for connection in self._connections()
            if not client_ids or connection.session.client_id in client_ids
        ]
        for connection in connections:
            self._lose(connection, reason, reason_code)
        return len(connections)

    def _connections(self) -> list[Connection]:
        wires = [session.wire for session in self._core.sessions.values()]
        return [wire for wire in wires if isinstance(wire, Connection)]

    def refuse_connections(
        self, times: float = math.inf, *, reason_code: int | None = None
    ) -> None:
        """Let the next `times` connects fail.

        Args:
            times: how many; infinite until `accept_connections`.
            reason_code: as a CONNACK says it (`RejectedByBroker`); None is a closed port
                (`ConnectFailed`).
        """
        self._faults.refusals = times
        self._faults.refusal_code = reason_code

    def accept_connections(self) -> None:
        """Take connections again."""
        self._faults.refusals = 0

    def swallow(self, packet: Swallowed, times: int = 1) -> None:
        """Lose the next `times` packets of a kind on their way; 0 ends it.

        A message whose PUBACK is swallowed has been published, a filter whose SUBACK is swallowed
        is subscribed. `"client PUBACK"` are those from clients: the message is then sent again to
        the next link of the session.
        """
        self._faults.swallowing[packet] = times

    def duplicate_next(self, times: int = 1) -> None:
        """Deliver the next `times` messages twice: with a new packet ID and without DUP.

        That is how AWS IoT Core may do it, and the hardest case for the receiver.
        """
        self._faults.duplicates = times

    def reject_publish(self, topic_filter: str, reason_code: int | None = 0x87) -> None:
        """Refuse what is published on matching topics; None takes it again.

        An MQTT 5 client gets the reason code in its PUBACK. The PUBACK of 3.1.1 cannot say no:
        such a client is told that all is well, and the message is gone.
        """
        _set(self._faults.rejected_publishes, TopicFilter(topic_filter), reason_code)
        self._core.routes.changed()

    def reject_subscribe(self, topic_filter: str, reason_code: int | None = 0x80) -> None:
        """Refuse subscriptions to exactly this filter; None takes them again."""
        _set(self._faults.rejected_subscriptions, TopicFilter(topic_filter), reason_code)

    def limit_qos(self, topic_filter: str, qos: int | None = 0) -> None:
        """Grant subscriptions to exactly this filter no more than this QoS; None ends it."""
        _set(self._faults.granted, TopicFilter(topic_filter), qos)

    def stop(self, *, keep_sessions: bool = True) -> None:
        """End as a process does: links are lost, no will is published, connects fail.

        Args:
            keep_sessions: False forgets the sessions and the retained messages, as a broker
                without persistence does.
        """
        self._running = False
        for session in self._core.sessions.values():
            session.delayed_will = None
        for connection in self._connections():
            connection.will = None
            self._lose(connection, "the broker has stopped")
        if not keep_sessions:
            for session in list(self._core.sessions.values()):
                self._core.forget(session)
            self._core.retained.clear()

    def start(self) -> None:
        """Be there again after `stop`."""
        self._running = True


def _set(table: dict[TopicFilter, int], topic_filter: TopicFilter, code: int | None) -> None:
    if code is None:
        table.pop(topic_filter, None)
    else:
        table[topic_filter] = code
