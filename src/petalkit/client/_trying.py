"""Trying again: which "no" may become a yes, and how it is asked for.

The rule: only what a device runs once is sent again by itself. A "no" that says `same_id` was not
started, and is sent again under its `messageId`. `BUSY` starts nothing either, and where its answer
is recorded it takes another one. Whatever may have done part of its work is repeated for those
alone who say that it may be run twice.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import attrs
import trio

from .._serving.sending.state.deferred import wait_after
from .._values.errors import ErrorCode
from .._values.messages import Response
from ._errors import refusal
from ._reading.told import Readers
from ._wire.calling import Calling, Terms
from ._wire.routes import Route


class Tries:
    """See the module.

    Args:
        calling: sends commands.
        readers: hear of second phases.
    """

    def __init__(self, calling: Calling, readers: Readers) -> None:
        self._calling = calling
        self._readers = readers

    async def request(
        self, route: Route, command: str, data: Mapping[str, Any] | None, terms: Terms
    ) -> Response:
        """See `Client.request`."""
        if terms.phases == 1:
            return await self._calling.request(route, command, data, terms)
        leave = self._readers.hold(route)
        try:
            with trio.move_on_after(terms.timeout):  # then the call's own limit has its say
                await self._readers.wait(route)
            return await self._calling.request(route, command, data, terms)
        finally:
            leave()

    async def call(
        self,
        route: Route,
        command: str,
        data: Mapping[str, Any] | None,
        terms: Terms,
        retries: int,
        *,
        repeatable: bool,
    ) -> Response:
        """See `Client.call`."""
        begun = trio.current_time()
        until = begun + terms.timeout
        own_id = terms.message_id is not None
        if not own_id:
            terms = with_id(terms, self._calling.new_id())
        tries = 0
        while True:
            response = await self.request(route, command, data, terms)
            if response.success:
                return response
            tries += 1
            same = response.retry == "same_id"
            safe = same or repeatable or response.error_code == ErrorCode.BUSY
            wait = wait_after(tries, random.random)
            late = trio.current_time() + wait >= min(until, trio.current_effective_deadline())
            if response.retry is None or not safe or (own_id and not same):
                raise refusal(command, response)
            if tries > retries or late:
                raise refusal(command, response)
            await trio.sleep(wait)
            self._calling.counters.retried += 1
            if not same:
                terms = with_id(terms, self._calling.new_id())
            terms = attrs.evolve(terms, timeout=until - trio.current_time())
            if terms.expires_in is not None and terms.expires_in != math.inf:
                passed, begun = trio.current_time() - begun, trio.current_time()
                if passed >= terms.expires_in:
                    raise refusal(command, response)
                terms = attrs.evolve(terms, expires_in=terms.expires_in - passed)


def with_id(terms: Terms, message_id: str) -> Terms:
    """The same under a `messageId`."""
    return Terms(terms.timeout, message_id, terms.user_properties, terms.expires_in, terms.phases)
