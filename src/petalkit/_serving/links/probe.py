"""Notices a link on which nothing but pings moves, by a message to ourselves that has to come back.

The rule: off unless asked for, since it costs a message each time and a right at the broker. A link
is ended only where nothing at all was delivered meanwhile, for so long: a message that stands
behind thousands of commands is late, and the link is good. And only where a probe has come back
before under this identity: a broker may drop what it does not allow, and say nothing.

The trap: a broker that has stopped to deliver looks like one that has nothing to deliver. It
answers PINGREQ, and acknowledges what we publish (mosquitto before 2.0.13 can do so for a client
that has announced a Maximum Packet Size). While reading is paused nothing can come back.
"""

from __future__ import annotations

import logging
import secrets

import trio

from ..._values.errors import ConnectionLost, RejectedByBroker, TransportError
from ..._values.messages import Identity, Message
from ..._values.settings.settings import Settings
from ..._values.statistics import Counters
from ..._values.topics import TopicFilter
from ...transports import Link
from ...transports._line.patience import Patience
from ...transports._reason_codes import Refusal, refusal_of
from ..intake.intake import Intake

logger = logging.getLogger("petalkit.link")


class Probe:
    """See the module.

    Args:
        settings: whether, how often, and how long it may take.
        intake: reads the link.
        counters: know whether anything has come.
    """

    def __init__(self, settings: Settings, intake: Intake, counters: Counters) -> None:
        self._settings = settings
        self._intake = intake
        self._counters = counters
        self._awaited = b""
        self._done = trio.Event()
        self._came_back = False
        self._refusal: TransportError | None = None
        self._worked: Identity | None = None  # under which one has come back, on any link
        self._told: Identity | None = None  # under which it was told that none does
        intake.unexpected.on_probe = self._came

    async def run(self, link: Link, identity: Identity, scope: trio.CancelScope) -> None:
        """Try one link. Returns at once where that is off, or not allowed.

        Args:
            link: tried.
            identity: under whose topics.
            scope: cancelled when the topics are left.

        Raises:
            ConnectionLost: nothing comes any more.
        """
        if self._settings.probe_interval and not link.retries_by_itself:
            with scope:
                await self._run(link, identity)

    async def _run(self, link: Link, identity: Identity) -> None:
        settings = self._settings
        topic = identity.topic(settings.probe_topic)
        try:
            with self._intake.reading_on():
                await link.subscribe([TopicFilter(topic)])
        except RejectedByBroker as error:
            self._tell_refusal(topic, error)
            return
        self._refusal = None
        while self._refusal is None:
            await trio.sleep(settings.probe_interval)
            await self._try_once(link, topic, identity)
        self._tell_refusal(topic, self._refusal)

    async def _try_once(self, link: Link, topic: str, identity: Identity) -> None:
        self._came_back = False
        self._awaited = secrets.token_hex(8).encode()
        self._done = trio.Event()
        try:
            link.publish_nowait(Message(topic, self._awaited, qos=1), self._answered)
        except trio.WouldBlock:
            return  # the watch over PUBACKs has an eye on that
        limit = self._settings.probe_timeout
        seen, good_at = self._counters.received, trio.current_time()
        patience: Patience | None = None
        while not self._done.is_set():
            with trio.move_on_after(limit / 4):
                await self._done.wait()
            now = trio.current_time()
            if (
                self._intake.paused
                or self._intake.may_fill_window
                or self._counters.received != seen
            ):
                seen, good_at = self._counters.received, now
            if patience is None or patience.since != good_at:
                patience = link.patience(limit, good_at)
            if not self._done.is_set() and patience.is_over(now):
                if self._worked != identity:
                    self._tell_silence(topic, identity)
                    return
                self._counters.links_stalled += 1
                raise ConnectionLost(
                    f"a message to ourselves has not come back within {limit:g} s, and nothing "
                    "else has come: the broker does not deliver any more"
                )

        if self._came_back:
            self._worked = identity

    def _tell_silence(self, topic: str, identity: Identity) -> None:
        if self._told != identity:
            self._told = identity
            logger.warning(
                "no message to ourselves (probe_interval) has ever come back on %r: the broker may "
                "not allow it. No link is ended for that until one has",
                topic,
            )

    def _came(self, payload: bytes) -> None:
        """Something is on the topic; it may be of an earlier link."""
        if payload == self._awaited:
            self._came_back = True
            self._done.set()

    def _answered(self, error: TransportError | None) -> None:
        """The PUBACK, or that there is none. A link that is lost is told of by others."""
        if error is not None:
            if isinstance(error, RejectedByBroker):
                final = refusal_of(error.reason_code) is Refusal.FINAL
                self._refusal = error if final else None
            self._done.set()

    @staticmethod
    def _tell_refusal(topic: str, error: TransportError | None) -> None:
        logger.warning(
            "the link is not probed (probe_interval), because the broker does not allow %r: %s",
            topic,
            error,
        )
