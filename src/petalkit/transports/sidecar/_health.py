"""Whether the sidecar is well, and still subscribed for us.

The rules:

* Only the probe here ends the link. Whoever gets no answer asks for one (`suspect`).
* A subscription is not believed. The sidecar forgets it when it restarts, which may be over between
  two probes; and it may accept one before it has a broker. So every topic is subscribed again when
  nothing has come on it for a while, and all of them after any connection that broke.
* One request about subscriptions at a time, and whether a topic is still wanted is looked at within
  that: else one that is under way could subscribe what has just been unsubscribed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import attrs
import trio

from ..._values.errors import RejectedByBroker
from ..._values.settings.settings import Settings
from ._answers import Away, SidecarError, Unreachable
from ._client import SidecarClient

logger = logging.getLogger("petalkit.transport")

PROBES_FAILED = 2  # in a row, after which the link is lost; one is enough if nobody is there
PROBE_AGAIN = 1.0  # seconds until the next probe after one that failed
PROBE_GAP = 0.5  # seconds between two probes, whoever asks for them


@attrs.define
class _Subscription:
    """What is known of one that was accepted; times are Trio's.

    Attributes:
        asked_at: when it was asked for last.
        good_at: when it was last known to be good.
        again_after: seconds of quiet after which it is repeated.
        breaks: how many connections had broken when it was asked for.
    """

    asked_at: float
    good_at: float
    again_after: float
    breaks: int


class Health:
    """See the module; `run` is its one task.

    Args:
        client: asks.
        settings: how often, and how long.
        callback_url: where the sidecar is to send messages.
    """

    def __init__(self, client: SidecarClient, settings: Settings, callback_url: str) -> None:
        self._client = client
        self._settings = settings
        self._callback_url = callback_url
        self._subscriptions: dict[str, _Subscription] = {}
        self._suspicion = trio.Event()
        self._breaks = 0  # connections; a subscription that was asked for before one is due again
        self._asking = trio.Lock()

    # -- subscriptions

    def topics(self) -> list[str]:
        """The topic filters that are subscribed."""
        return list(self._subscriptions)

    async def subscribe(self, topic: str) -> None:
        """Have the sidecar subscribe, and keep that up.

        Raises:
            SidecarError, RejectedByBroker: see `SidecarClient.subscribe`.
        """
        async with self._asking:
            breaks = self._breaks
            await self._client.subscribe(topic, self._callback_url)
            now, first = trio.current_time(), self._settings.sidecar_probe_interval
            self._subscriptions[topic] = _Subscription(now, now, first, breaks)

    async def unsubscribe(self, topic: str) -> None:
        """Keep it up no more, and have the sidecar unsubscribe.

        Raises:
            SidecarError, RejectedByBroker: see `SidecarClient.unsubscribe`.
        """
        self._subscriptions.pop(topic, None)
        async with self._asking:
            await self._client.unsubscribe(topic)

    def heard(self, topic: str) -> None:
        """Something has come on a topic, so it is subscribed."""
        subscription = self._subscriptions.get(topic)
        if subscription is None:
            return
        now, first = trio.current_time(), self._settings.sidecar_probe_interval
        subscription.good_at = now
        # A retained message comes with every subscription, and must not bring the next one about.
        if now - subscription.asked_at >= first:
            subscription.again_after = first

    # -- health

    def suspect(self) -> None:
        """A connection broke: it may have restarted, or be gone."""
        self._breaks += 1
        self._suspicion.set()

    async def run(self, lose: Callable[[str], object]) -> None:
        """Probe its health, and subscribe again where that is due, until the link is lost.

        Args:
            lose: called with the reason when the link is over.
        """
        interval = self._settings.sidecar_probe_interval
        failures = 0
        while True:
            with trio.move_on_after(min(interval, PROBE_AGAIN) if failures else interval):
                await trio.sleep(PROBE_GAP)
                await self._suspicion.wait()
            self._suspicion = trio.Event()
            try:
                await self._client.check_health()
            except Away as error:
                lose(f"the sidecar is away: {error}")
                return
            except SidecarError as error:
                failures += 1
                logger.warning("the sidecar is not well: %s", error)
                if failures >= PROBES_FAILED:
                    lose(f"the sidecar is not well: {error}")
                    return
            else:
                failures = 0
                await self._subscribe_again()

    async def _subscribe_again(self) -> None:
        for topic, subscription in list(self._subscriptions.items()):
            try:
                async with self._asking:
                    await self._repeat(topic, subscription)
            except Unreachable as error:
                logger.warning("could not subscribe to %r again: %s", topic, error)
                return  # all that is due is tried after the next probe
            except (SidecarError, RejectedByBroker) as error:
                logger.warning("could not subscribe to %r again: %s", topic, error)

    async def _repeat(self, topic: str, subscription: _Subscription) -> None:
        """Subscribe again, if that is due and the topic still wanted."""
        if self._subscriptions.get(topic) is not subscription:
            return
        longest = self._settings.sidecar_subscribe_interval
        now, breaks = trio.current_time(), self._breaks
        quiet = longest > 0 and now >= subscription.good_at + subscription.again_after
        if subscription.breaks == breaks and not quiet:
            return
        subscription.asked_at = now
        await self._client.subscribe(topic, self._callback_url)
        subscription.breaks = breaks
        subscription.good_at = trio.current_time()
        subscription.again_after = min(2 * subscription.again_after, longest)
