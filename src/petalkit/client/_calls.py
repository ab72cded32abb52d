"""Calls that wait, and the one task that gives each its response.

The rule: a response belongs to the call that waits for its `messageId`; what nobody waits for is
another client's answer and is ignored. Once the link is lost, nobody waits for ever: each call is
told so, those that come later too.
"""

from __future__ import annotations

import logging

import trio

from .._values.codec import Limits, decode_response
from .._values.dialects import is_receipt
from .._values.error_codes import backwards
from .._values.errors import ConnectionLost, PayloadError, RejectedByBroker
from .._values.messages import Response
from .._values.settings.settings import Settings
from ..transports import Link

logger = logging.getLogger("petalkit.client")


class Call:
    """One call that waits: for its response, or for the news that none will come."""

    __slots__ = ("error", "news", "refusal", "response", "sent", "settled")

    def __init__(self) -> None:
        self.news = trio.Event()  # it is settled, or the broker wants it later
        self.settled = False
        self.sent = False
        self.response: Response | None = None
        self.error: Exception | None = None
        self.refusal: RejectedByBroker | None = None  # the broker's last word, while it is one

    def refuse(self, error: RejectedByBroker) -> None:
        """The broker wants it later."""
        self.refusal = error
        self.news.set()

    def settle(self, response: Response | None, error: Exception | None) -> None:
        if not self.settled:
            self.settled = True
            self.response, self.error = response, error
            self.news.set()


class Calls:
    """The calls that wait for one link's responses.

    Attributes:
        waiting: they, by their `messageId`.
    """

    def __init__(self, settings: Settings) -> None:
        self.waiting: dict[str, Call] = {}
        self._codes = backwards(settings.error_codes)
        self._limits = Limits(
            settings.payload_max, max(settings.depth_max, 2), settings.message_id_max
        )
        self._closed: Exception | None = None

    def check_open(self) -> None:
        """Raise what the link was lost or left with, if it was."""
        if self._closed is not None:
            raise self._closed

    async def take_responses(self, link: Link) -> None:
        """Give responses to their calls until the link is lost; then fail those that wait."""
        try:
            while True:
                for delivery in await link.receive():
                    delivery.ack()
                    if delivery.fault is None:
                        self._settle(delivery.payload)
                    else:
                        text = delivery.fault.text
                        logger.warning("ignored a response that cannot be read: %s", text)
        except ConnectionLost as error:
            self.close(error)

    def _settle(self, payload: bytes) -> None:
        try:
            response = decode_response(payload, self._limits, self._codes)
        except PayloadError as error:
            # Not answerable and not ours to judge: the call it may belong to runs into its limit.
            logger.warning("ignored a response that cannot be read: %s", error.message)
            return
        if is_receipt(response.fields):
            return  # the response is still to come
        message_id = response.message_id
        call = self.waiting.get(message_id) if isinstance(message_id, str) else None
        if call is not None:
            call.settle(response, None)

    def close(self, error: Exception) -> None:
        """Fail those that wait and those that would come; the first error counts."""
        if self._closed is None:
            self._closed = error
        for call in self.waiting.values():
            call.settle(None, error)
