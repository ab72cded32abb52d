"""Birth and `offline`: what the device says of itself, retained, until the broker has taken it.

The trap: a DISCONNECT takes the will away, so `offline` has to be said before it; and what a broker
refuses for now it takes a moment later, while it retains the opposite.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable

import attrs
import msgspec
import trio

from ..._values.codec import encode_json
from ..._values.errors import ConnectionLost, RejectedByBroker
from ..._values.messages import Identity, Message
from ..._values.settings.settings import Settings
from ...transports import Link
from ...transports._reason_codes import Refusal, refusal_of
from ..intake.intake import Intake
from ..sending.state.deferred import wait_after

logger = logging.getLogger("petalkit.link")

OFFLINE_AGAIN = 0.25  # seconds after which a refused `offline` is said again; then twice as long


@attrs.frozen
class Says:
    """What a status is made of.

    Attributes:
        petals: name and version of each.
        schema_hash: of what is served now.
        timestamps: now, as on the wire.
    """

    petals: list[dict[str, str]]
    schema_hash: Callable[[], str]
    timestamps: Callable[[], str]


class Status:
    """See the module.

    Args:
        settings: the topic, and limits.
        says: what it is made of.
        intake: reads on while an answer is awaited.
        jitter: a random number in [0, 1).
    """

    def __init__(
        self,
        settings: Settings,
        says: Says,
        intake: Intake,
        jitter: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._says = says
        self._intake = intake
        self._jitter = jitter
        self._said = ""  # the last one handed to the present link

    def _message(self, identity: Identity, status: str, *, with_timestamp: bool = True) -> Message:
        payload: dict[str, object] = {"status": status}
        if with_timestamp:
            payload["timestamp"] = self._says.timestamps()
        payload["petals"] = self._says.petals
        if status == "online":
            payload["schema_hash"] = self._says.schema_hash()
        topic = identity.topic(self._settings.status_topic)
        return Message(topic, encode_json(payload), qos=1, retain=self._settings.status_retain)

    def will(self, identity: Identity, qos: int) -> Message:
        """What the broker says when the link dies."""
        message = self._message(identity, "offline", with_timestamp=False)
        return msgspec.structs.replace(message, qos=qos)

    def begin(self) -> None:
        """Nothing has been said on this link."""
        self._said = ""

    def say_offline_in_a_hurry(self, link: Link, identity: Identity) -> None:
        """Say it all the same where `online` was the last word: a DISCONNECT takes the will."""
        if self._said == "online":
            with contextlib.suppress(trio.WouldBlock, ConnectionLost):
                link.publish_nowait(self._message(identity, "offline"), lambda _: None)

    async def say_online(self, link: Link, identity: Identity) -> bool:
        """Say it once; False when the broker did not take it.

        Raises:
            ConnectionLost: as `_publish`.
        """
        return await self._publish(link, identity, "online") is None

    async def say_online_again(
        self, link: Link, identity: Identity, scope: trio.CancelScope
    ) -> None:
        """Say `online` until the broker takes it, or the link ends: it retains `offline` else."""
        with scope:
            tries = 1
            while True:
                await trio.sleep(wait_after(tries, self._jitter))
                with self._intake.reading_on():
                    refusal = await self._publish(link, identity, "online", quiet=True)
                if refusal is None:
                    logger.info("the broker takes the status message now")
                    return
                tries += 1

    async def say_offline(self, link: Link, identity: Identity) -> None:
        """Say `offline`; again while the broker refuses it, and `disconnect_timeout` lasts.

        It retains `online` else: the DISCONNECT that follows takes the will away.

        Raises:
            ConnectionLost: as `_publish`.
        """
        deadline = trio.current_time() + self._settings.disconnect_timeout
        wait = OFFLINE_AGAIN
        refusal = await self._publish(link, identity, "offline")
        while refusal not in (None, Refusal.FINAL) and trio.current_time() + wait < deadline:
            await trio.sleep(wait)
            left = deadline - trio.current_time()
            refusal = await self._publish(link, identity, "offline", quiet=True, limit=left)
            wait *= 2

    async def _publish(
        self,
        link: Link,
        identity: Identity,
        status: str,
        *,
        quiet: bool = False,
        limit: float | None = None,
    ) -> Refusal | None:
        """Say how it stands; None when the broker has taken that.

        Args:
            link: where.
            identity: of whom.
            status: what.
            quiet: whether a refusal is no line in the log.
            limit: seconds for `offline`; None for `disconnect_timeout`.

        Raises:
            ConnectionLost: the link is gone, or there was no PUBACK in time.
        """
        settings = self._settings
        # The one is a limit of silence: its PUBACK may stand behind a replayed session. The other
        # is a time, because a stop has to end.
        if status == "offline":
            silence = math.inf
            limit = settings.disconnect_timeout if limit is None else limit
        else:
            silence, limit = settings.subscribe_timeout, math.inf
        self._said = status
        try:
            with trio.fail_after(limit):
                await link.publish(self._message(identity, status), limit=silence)
        except RejectedByBroker as error:
            if not quiet:
                logger.warning("the broker refused the status message: %s", error)
            return refusal_of(error.reason_code)
        except trio.TooSlowError:
            raise ConnectionLost(
                f"no PUBACK for {status!r} within {min(silence, limit):g} s"
            ) from None
        return None
