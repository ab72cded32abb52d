"""Sending a command, and waiting for what becomes of it.

The rule: the response counts, however the broker's acknowledgement went; and what the broker
refuses for now, or a lost link may have swallowed, is sent again as the same command, which the
device runs once.
"""

from __future__ import annotations

import itertools
import random
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import trio

from ..._serving.sending.state.deferred import wait_after
from ..._values.errors import RejectedByBroker
from ..._values.messages import Identity, Response
from ..._values.settings.settings import Settings
from ..._values.topics import TopicFilter
from ...transports import Delivery
from .._errors import CallTimeout
from .commands import CommandEncoder, Sent, Terms, checked
from .connection import Connection
from .routes import Asks, Route
from .statistics import Counters
from .waiting import Call, Waiting

# Seconds between copies of what waits, after another link was made.
DOUBTS = (1.0, 2.0, 4.0, 8.0, 15.0)
ROUTES_IDLE_MAX = 1000  # devices whose answers are still subscribed to, though nobody calls them


class Calling:
    """See the module.

    Args:
        settings: topics and bounds.
        identity: the device that is meant where none is named.
        client_id: of the client.
        counters: what happens is counted.

    Attributes:
        identity: the device that is meant where none is named.
        waiting: the calls that wait.
        on_topic: what is done with what comes on a topic.
    """

    connection: Connection  # set when there is one, before anything is called

    def __init__(
        self, settings: Settings, identity: Identity, client_id: str, counters: Counters
    ) -> None:
        self.identity = identity
        self._settings = settings
        self._client_id = client_id
        self.counters = counters
        self._encoder = CommandEncoder(settings)
        self._turns = trio.Semaphore(settings.call_concurrency)
        self._prefix = f"{secrets.token_hex(8)}-"
        self._numbers = itertools.count(1)
        self._routes: OrderedDict[Identity, Route] = OrderedDict()
        self._home: Route | None = None
        self.waiting = Waiting(settings, counters, self._prefix, self._answered_on_own)
        self.on_topic: dict[str, Callable[[Delivery], object]] = {}

    def new_id(self) -> str:
        """A new `messageId`, or ID of a reader."""
        return f"{self._prefix}{next(self._numbers)}"

    # -- devices

    def route(self, device: str | Identity | None) -> Route:
        """Those of a device; None for the one that the client was opened for.

        Raises:
            TopicError: the ID cannot stand in a topic.
        """
        if device is None and self._home is not None:
            return self._home  # without hashing an identity for each call
        if isinstance(device, Identity):
            identity = device
        elif device is None or device == self.identity.device_id:
            identity = self.identity
        else:
            base = self._settings.base_topic
            identity = Identity(self.identity.organization_id, device, base_topic=base)
        route = self._routes.get(identity)
        if route is None:
            route = self._routes[identity] = Route(identity, self._settings, self._client_id)
            if identity == self.identity:
                self._home = route
            if len(self._routes) > ROUTES_IDLE_MAX:
                self._forget_idle(route)
        return route

    def _forget_idle(self, but: Route) -> None:
        for identity, route in self._routes.items():
            if not route.uses and route is not but and identity != self.identity:
                del self._routes[identity]
                self._release(route)
                return

    def _release(self, route: Route) -> None:
        route.ready = False
        for one in (route.own, route.response):
            if self.on_topic.pop(str(one), None) is not None:
                self.connection.interests.drop(one)

    async def prepare(self, route: Route) -> None:
        """Be subscribed to where a device answers. The caller bounds it.

        Raises:
            RejectedByBroker: the broker refuses that.
        """
        async with route.preparing:
            if route.asks is not Asks.SHARED:
                try:
                    await self._listen(route, route.own, own=True)
                except RejectedByBroker:
                    route.refuse_own()
            if route.asks is not Asks.OWN:
                try:
                    await self._listen(route, route.response, own=False)
                except RejectedByBroker:
                    if route.asks is Asks.SHARED:
                        raise
                    route.asks = Asks.OWN
            route.ready = True

    def expect(self, route: Route) -> None:
        """Let the first link be subscribed to where a device answers, or be none."""
        self._want(route, route.response, own=False)
        if route.asks is not Asks.SHARED:
            self._want(route, route.own, own=True)

    def _want(self, route: Route, filter_: TopicFilter, *, own: bool) -> None:
        if str(filter_) not in self.on_topic:
            self.on_topic[str(filter_)] = lambda one: self.waiting.take(one, route, own=own)
            self.connection.interests.want(filter_)

    async def _listen(self, route: Route, filter_: TopicFilter, *, own: bool) -> None:
        self._want(route, filter_, own=own)
        try:
            await self.connection.interests.wait(filter_)
        except RejectedByBroker:
            del self.on_topic[str(filter_)]
            self.connection.interests.drop(filter_)
            raise

    def _answered_on_own(self, route: Route) -> None:
        """The device answers on the client's own topic: the other is of no use any more."""
        route.asks = Asks.OWN
        if self.on_topic.pop(str(route.response), None) is not None:
            self.connection.interests.drop(route.response)

    def begin_anew(self) -> None:
        """There is another link: what was sent over the last one may be lost, so all is said again.

        A device that is asked on two topics answers on one of them, whatever it has become.
        """
        for route in self._routes.values():
            self.doubt_route(route)
        self._say_again()

    def doubt_route(self, route: Route) -> None:
        """A device may be another by now, or served in another way: it is asked as at first."""
        if route.forget() and route.uses:
            self._want(route, route.response, own=False)  # for those that wait, too

    def _say_again(self) -> None:
        for call in self.waiting:
            if call.sent and not call.settled:
                self.counters.sent_again += 1
                self.connection.outgoing.put(call)

    async def doubt(self) -> None:
        """Say again what waits, for a while after a link was lost; bounded.

        The trap: a broker that was restarted has lost the sessions of devices too. What comes
        before they are back goes nowhere, and is acknowledged all the same.
        """
        number = self.counters.links
        for pause in DOUBTS:
            await trio.sleep(pause)
            if self.counters.links != number:
                return  # another link, and doubts of its own
            self._say_again()

    # -- calls

    async def request(
        self, route: Route, command: str, data: Mapping[str, Any] | None, terms: Terms
    ) -> Response:
        """See `Client.request`."""
        message_id = terms.message_id
        now = terms.begun
        # Not before now: in a scope that was cancelled it is minus infinity.
        given_up = max(now, min(now + terms.timeout, trio.current_effective_deadline()))
        until = given_up if terms.expires_in is None else now + checked(terms.expires_in)
        self.waiting.check_open()
        self.counters.calls += 1
        route.uses += 1
        call: Call | None = None
        try:
            with trio.CancelScope(deadline=now + terms.timeout) as scope:
                try:
                    self._turns.acquire_nowait()
                except trio.WouldBlock:
                    await self._turns.acquire()
                try:
                    if not route.ready:
                        await self.prepare(route)
                    # Only now: ten thousand that wait for their turn are to be small.
                    extra = self._encoder.properties(terms.user_properties)
                    lasts = min(until, given_up)
                    said = Sent(command, data, message_id, until, lasts, extra)
                    call = Call(route, said, self._encoder, terms.phases)
                    self.waiting.add(call)
                    try:
                        # The response may be faster than the PUBACK, and is all that counts.
                        self.connection.outgoing.put(call)
                        await call.news.wait()
                        if not call.settled:
                            await self._wait_settled(call)
                    finally:
                        self.waiting.remove(call)
                        self.connection.outgoing.remove(call)
                finally:
                    self._turns.release()
        finally:
            route.uses -= 1
        if scope.cancelled_caught:
            self._give_up(command, terms, message_id, call)
        assert call is not None
        if call.error is not None:
            raise call.error
        assert call.response is not None
        self.counters.answered += 1
        return call.response

    def _give_up(self, command: str, terms: Terms, message_id: str, call: Call | None) -> None:
        self.counters.timeouts += 1
        sent, expires_at, link_error = False, None, self.connection.last_error
        if call is not None:
            self.doubt_route(call.route)
            if call.refusal is not None:
                raise call.refusal
            sent, expires_at = call.sent, call.expires_at
        raise CallTimeout(
            command,
            message_id,
            terms.timeout,
            sent=sent,
            expires_at=expires_at,
            link_error=None if link_error is None else str(link_error),
        )

    async def _wait_settled(self, call: Call) -> None:
        """Wait for the end of a call; send it again while the broker refuses it for now.

        The device knows a copy by its `messageId`: it runs once, though the broker may have passed
        on what it has refused.
        """
        tries = 0
        while not call.settled:
            call.news = trio.Event()
            tries += 1
            with trio.move_on_after(wait_after(tries, random.random)):
                await call.news.wait()
            if not call.settled:
                self.connection.outgoing.put(call)
                await call.news.wait()

    async def send(
        self, route: Route, command: str, data: Mapping[str, Any] | None, terms: Terms
    ) -> None:
        """See `Client.send`."""
        life = terms.timeout if terms.expires_in is None else checked(terms.expires_in)
        properties = self._encoder.properties(terms.user_properties)
        until = trio.current_time() + life
        said = Sent(command, data, terms.message_id, until, until, properties)
        call = Call(route, said, self._encoder, 0)
        route.uses += 1
        try:
            async with self._turns:
                self.waiting.add(call)
                try:
                    self.connection.outgoing.put(call)
                    await call.news.wait()  # no limit of its own: the docs say so
                finally:
                    self.waiting.remove(call)
                    self.connection.outgoing.remove(call)
        finally:
            route.uses -= 1
        if call.error is not None:
            raise call.error
