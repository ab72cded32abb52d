"""The command topics in a session: which they are, how they are left, and those of other days.

The rule: what was sent to a topic before its UNSUBACK is served. The trap: beyond its window the
broker sends on only when it is acknowledged, so the UNSUBACK is not the end of it.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable

import trio

from ..._values.messages import Identity
from ..._values.settings.settings import Settings
from ..._values.statistics import Counters
from ..._values.topics import TopicFilter
from ...transports import Link
from ...transports._contract import wait_within
from ..intake.intake import Intake
from ..waiting import wait_any

logger = logging.getLogger("petalkit.link")

DRAIN_SILENCE = 0.2  # seconds without a delivery after which an old topic counts as drained
OTHER_TOPICS_MAX = 16  # of other organizations, unsubscribed on one link


class Topics:
    """See the module.

    Args:
        settings: their names, and limits.
        intake: reads on while an answer is awaited.
        counters: know whether something has come.
    """

    def __init__(self, settings: Settings, intake: Intake, counters: Counters) -> None:
        self._settings = settings
        self._intake = intake
        self._counters = counters
        self._others: set[str] = set()  # noted on this link
        self._noted = trio.Event()

    def filters(self, identity: Identity) -> list[TopicFilter]:
        """Those of an identity."""
        return [TopicFilter(identity.topic(name)) for name in self._settings.command_topics]

    def _probed(self, identity: Identity) -> list[TopicFilter]:
        """What `probe` has subscribed to."""
        if not self._settings.probe_interval:
            return []
        return [TopicFilter(identity.topic(self._settings.probe_topic))]

    async def leave(
        self, link: Link, identity: Identity, *others: Callable[[], Awaitable[object]]
    ) -> bool:
        """Unsubscribe those of an identity, and take what was sent to them before that.

        Args:
            link: the device's, which is read meanwhile.
            identity: whose.
            others: what ends the wait before, each when it returns.

        Returns:
            Whether nothing more is to come.

        Raises:
            ConnectionLost: the link is gone.
        """
        silent = False

        async def wait_drained() -> None:
            nonlocal silent
            await self._wait_drained(link, silence)
            silent = True

        with self._intake.reading_on():
            asked = trio.current_time()
            await link.unsubscribe([*self.filters(identity), *self._probed(identity)])
            # Beyond its window the broker sends on only when it is acknowledged: a round trip.
            silence = max(DRAIN_SILENCE, 2 * (trio.current_time() - asked))
            self._intake.session_ends()
            # A broker that talks for ever has said all that stood there before, after a while.
            enough = functools.partial(
                wait_within, trio.Event(), link.patience(self._settings.grace)
            )
            await wait_any(wait_drained, enough, *others)
        return silent

    async def _wait_drained(self, link: Link, silence: float) -> None:
        """Wait until nothing has come for so long; on a slow line half a command counts, too."""
        seen = None
        while seen != (now := (self._counters.received, link.last_heard)):
            seen = now
            await trio.sleep(silence)

    def watch_others(self) -> None:
        """Note what the session of this link brings of another organization; see `leave_others`."""
        self._others = set()
        self._noted = trio.Event()
        self._intake.unexpected.on_other_organization = self._note_other

    def forget_others(self) -> None:
        """The link is gone."""
        self._intake.unexpected.on_other_organization = None

    def _note_other(self, topic: str) -> None:
        """The session is subscribed to it, because the client ID is the same for all."""
        if topic in self._others or len(self._others) >= OTHER_TOPICS_MAX:
            return
        self._others.add(topic)
        self._noted.set()
        logger.warning(
            "the session of this client ID is subscribed to %r, of an organization that the device "
            "has left: what was sent there is acknowledged and not run (unexpected_topic), and "
            "the topic is unsubscribed. Without the setting client_id each organization has a "
            "session of its own",
            topic,
        )

    async def leave_others(self, link: Link) -> None:
        """Unsubscribe what has been noted, until cancelled.

        Raises:
            ConnectionLost: the link is gone.
        """
        left: set[str] = set()
        while True:
            await self._noted.wait()
            self._noted = trio.Event()
            topics = sorted(self._others - left)
            left.update(topics)
            with self._intake.reading_on():
                await link.unsubscribe([TopicFilter(topic) for topic in topics])
