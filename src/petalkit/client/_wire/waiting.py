"""Calls that wait, and which response is whose.

The rule: a response belongs to the call that waits for its `messageId`, or on a topic of the
client's own for its Correlation Data, and only if it comes from the device that was asked. What
nobody waits for is dropped and counted. The traps: on `response` are the answers to all callers,
and a device that is asked to answer on two topics does so.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator

import trio

from ..._values.codec import Limits, decode_response
from ..._values.dialects import is_receipt
from ..._values.error_codes import backwards
from ..._values.errors import ErrorCode, PayloadError, RejectedByBroker, TransportError
from ..._values.messages import Message, Response
from ..._values.settings.settings import Settings
from ...transports import Delivery
from ...transports._reason_codes import Refusal, refusal_of
from .commands import CommandEncoder, Sent, with_expiry
from .routes import Asks, Route
from .statistics import Counters

logger = logging.getLogger("petalkit.client")

SAID_EVERY = 10.0  # seconds between two lines about what cannot be read


class Call:
    """One command under way: until it is settled, by a response or an error.

    Args:
        route: to which device.
        said: what it says.
        encoder: how.
        wants: whether a response is awaited, and not the broker's acknowledgement alone; `2` for
            that of the second phase of a command that has two.

    Raises:
        PayloadError: JSON cannot say it, or it is over the size bound.

    Attributes:
        sent: whether it was handed to a link.
        asked_twice: whether an answer was asked for on two topics.
        expires_at: as it was said to the device.
        refusal: the broker's last word, while it is one.
        news: set when it is settled, or the broker wants it later.
    """

    __slots__ = (
        "_encoder", "_payload", "_waits", "asked_twice", "error", "expires_at", "news", "refusal",
        "response", "route", "said", "sent", "settled", "wants",
    )  # fmt: skip

    def __init__(self, route: Route, said: Sent, encoder: CommandEncoder, wants: int) -> None:
        self.route = route
        self.said = said
        self.wants = wants
        self.news = trio.Event()
        self.settled = False
        self.sent = False
        self.asked_twice = False
        self.response: Response | None = None
        self.error: Exception | None = None
        self.refusal: RejectedByBroker | None = None
        self.expires_at: str | None = None
        self._encoder = encoder
        self._encode(bool(wants) and route.asks is not Asks.OWN)

    def _encode(self, wait_response: bool) -> None:
        self._waits = wait_response
        self._payload, self.expires_at = self._encoder.encode(
            self.route.identity.device_id, self.said, wait_response=wait_response
        )

    def message(self) -> Message:
        """How it is said now: see `Posting`."""
        route, said, asks = self.route, self.said, self.route.asks
        wait_response = bool(self.wants) and asks is not Asks.OWN
        if wait_response is not self._waits:
            with contextlib.suppress(PayloadError):  # one byte more is too many: then as before
                self._encode(wait_response)
        self.asked_twice = asks is Asks.BOTH
        payload, properties = self._payload, said.properties
        if properties is not None:
            if self.wants and asks is not Asks.SHARED:
                data = said.message_id.encode()
                properties = with_expiry(properties, said.lasts, route.own_topic, data)
            else:
                properties = with_expiry(properties, said.lasts)
        return Message(route.command, payload, 1, False, properties)

    def published(self, error: TransportError | None) -> None:
        """What the broker says of it: see `Posting`."""
        if error is None:
            self.refusal = None  # from here on it is the device that has not answered
            if not self.wants:
                self.settle(None, None)
        elif isinstance(error, RejectedByBroker) and _wants_it_later(error) and self.wants:
            self.refusal = error
            self.news.set()
        else:
            self.settle(None, error)

    def settle(self, response: Response | None, error: Exception | None) -> None:
        """Say what has become of it; the first counts."""
        if not self.settled:
            self.settled = True
            self.response, self.error = response, error
            self.news.set()


def _wants_it_later(error: RejectedByBroker) -> bool:
    return refusal_of(error.reason_code) is not Refusal.FINAL


class Waiting:
    """The calls that wait, by their `messageId`.

    Args:
        settings: the bounds of a response.
        counters: what is dropped is counted.
        prefix: of the messageIds that the client makes.
        on_own: called with a device when it has answered on a topic of the client's own.
    """

    def __init__(
        self, settings: Settings, counters: Counters, prefix: str, on_own: Callable[[Route], None]
    ) -> None:
        self._calls: dict[str, Call] = {}
        self._codes = backwards(settings.error_codes)
        self._limits = Limits(
            settings.payload_max, max(settings.depth_max, 2), settings.message_id_max
        )
        self._counters = counters
        self._prefix = prefix
        self._on_own = on_own
        self._closed: Exception | None = None
        self._said_at = -math.inf

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(list(self._calls.values()))

    def check_open(self) -> None:
        """Raise what the link was lost or left with, if it was for good."""
        if self._closed is not None:
            raise self._closed

    def add(self, call: Call) -> None:
        """It waits from now on.

        Raises:
            ValueError: another one of this ID does.
        """
        self.check_open()
        message_id = call.said.message_id
        if message_id in self._calls:
            raise ValueError(f"another call waits for messageId {message_id!r} already")
        self._calls[message_id] = call

    def remove(self, call: Call) -> None:
        """It waits no more."""
        del self._calls[call.said.message_id]

    def close(self, error: Exception) -> None:
        """Fail those that wait and those that would come; the first error counts."""
        if self._closed is None:
            self._closed = error
        for call in self._calls.values():
            call.settle(None, error)

    # -- what comes

    def take(self, delivery: Delivery, route: Route, *, own: bool) -> None:
        """A message where a device answers.

        Args:
            delivery: it.
            route: of which device.
            own: whether it came on the client's own topic.
        """
        try:
            if delivery.fault is not None:
                raise PayloadError(ErrorCode.TOO_LARGE, delivery.fault.text)
            response = decode_response(delivery.payload, self._limits, self._codes)
        except PayloadError as error:
            self._unreadable(error.message)
            call = self._by_correlation(delivery) if own else None
            if call is not None and call.route is route:
                call.settle(None, error)
            return
        message_id = response.message_id
        call = self._calls.get(message_id) if type(message_id) is str else None
        if call is None and own:
            call = self._by_correlation(delivery)
        if own and route.asks is Asks.BOTH:
            self._on_own(route)
        if call is None:
            self._nobodys(message_id, route, own=own)
        elif call.route is not route:
            self._counters.misdirected += 1
        elif not is_receipt(response.fields):
            route.seconds += call.asked_twice and not own
            self._settle(call, response)

    def take_second(self, message_id: str, response: Response, route: Route) -> bool:
        """Take a second phase, as everybody is told of it; whether a call waits for it."""
        call = self._calls.get(message_id)
        if call is None or call.wants != 2 or call.route is not route:
            return False
        self._settle(call, response)
        return True

    def _settle(self, call: Call, response: Response) -> None:
        if call.wants == 2 and response.fields.get("pending") is True and response.success:
            return  # the first phase: what it comes to is still to be said
        call.settle(response, None)

    def _by_correlation(self, delivery: Delivery) -> Call | None:
        data = None if delivery.properties is None else delivery.properties.correlation_data
        return None if data is None else self._calls.get(data.decode("utf-8", "replace"))

    def _nobodys(self, message_id: object, route: Route, *, own: bool) -> None:
        if own and route.seconds:
            route.seconds -= 1  # it was answered on the other topic too
            return
        if own:
            self._counters.late += 1
            return
        is_ours = isinstance(message_id, str) and message_id.startswith(self._prefix)
        if is_ours and route.asks is Asks.SHARED:  # or it was answered on the other topic too
            self._counters.late += 1

    def _unreadable(self, text: str) -> None:
        # Not answerable and not ours to judge: whose it may be runs into its limit.
        self._counters.unreadable += 1
        now = trio.current_time()
        if now >= self._said_at + SAID_EVERY:
            self._said_at = now
            logger.warning("ignored a response that cannot be read: %s", text)
