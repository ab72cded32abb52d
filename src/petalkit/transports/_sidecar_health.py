"""Whether the sidecar is well, and still subscribed for us.

The rules:

* Only the probe here ends the link. Whoever gets no answer asks for one (`suspect`).
* A subscription is not believed. The sidecar forgets it when it restarts, which may be over between
  two probes; and it may accept one before it has a broker. So every topic is subscribed again when
  nothing has come on it for a while, and all of them after any connection that broke.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import attrs
import trio

from .._errors import RejectedByBroker
from .._settings import Settings
from ._sidecar_answers import Away, SidecarError
from ._sidecar_client import SidecarClient

logger = logging.getLogger("petalkit.transport")

PROBES_FAILED = 2  # in a row, after which the link is lost; one is enough if nobody is there
PROBE_AGAIN = 1.0  # seconds until the next probe after one that failed
PROBE_GAP = 0.5  # seconds between two probes, whoever asks for them


@attrs.define
class _Subscription:
    """When it was last good, on Trio's clock, and after how many quiet seconds it is repeated."""

    good_at: float
    again_after: float


class Health:
    """See the module; `run` is its one task.

    Args:
        client: asks.
        settings: how often, and how long.
        callback_url: where the sidecar is to send messages.
        lose: called with the reason when the link is over.
    """

    def __init__(
        self,
        client: SidecarClient,
        settings: Settings,
        callback_url: str,
        lose: Callable[[str], object],
    ) -> None:
        self._client = client
        self._settings = settings
        self._callback_url = callback_url
        self._lose = lose
        self._subscriptions: dict[str, _Subscription] = {}
        self._suspicion = trio.Event()
        self._all_due = False  # whether every topic is to be subscribed again

    # -- subscriptions

    def topics(self) -> list[str]:
        """The topic filters that are subscribed."""
        return list(self._subscriptions)

    def add(self, topic: str) -> None:
        """The sidecar has accepted a subscription: keep it."""
        first = self._settings.sidecar_probe_interval
        self._subscriptions[topic] = _Subscription(trio.current_time(), first)

    def remove(self, topic: str) -> None:
        """Keep it no more."""
        self._subscriptions.pop(topic, None)

    def heard(self, topic: str) -> None:
        """Something has come on a topic, so it is subscribed."""
        subscription = self._subscriptions.get(topic)
        if subscription is not None:
            subscription.good_at = trio.current_time()
            subscription.again_after = self._settings.sidecar_subscribe_interval

    async def ask_for(self, topic: str) -> None:
        """Have the sidecar subscribe.

        Raises:
            SidecarError, RejectedByBroker: see `SidecarClient.subscribe`.
        """
        await self._client.subscribe(topic, self._callback_url)

    # -- health

    def suspect(self) -> None:
        """A connection broke: it may have restarted, or be gone."""
        self._all_due = True
        self._suspicion.set()

    async def run(self) -> None:
        """Probe its health, and subscribe again where that is due, until the link is lost."""
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
                self._lose(f"the sidecar is away: {error}")
                return
            except SidecarError as error:
                failures += 1
                logger.warning("the sidecar is not well: %s", error)
                if failures >= PROBES_FAILED:
                    self._lose(f"the sidecar is not well: {error}")
                    return
            else:
                failures = 0
                await self._subscribe_again()

    async def _subscribe_again(self) -> None:
        longest = self._settings.sidecar_subscribe_interval
        everything, self._all_due = self._all_due, False
        for topic, subscription in list(self._subscriptions.items()):
            now = trio.current_time()
            quiet = longest > 0 and now >= subscription.good_at + subscription.again_after
            if topic not in self._subscriptions or not (everything or quiet):
                continue
            try:
                await self.ask_for(topic)
            except (SidecarError, RejectedByBroker) as error:
                logger.warning("could not subscribe to %r again: %s", topic, error)
                self._all_due = self._all_due or everything  # at the next probe
                return
            subscription.good_at = trio.current_time()
            subscription.again_after = min(2 * subscription.again_after, longest)
