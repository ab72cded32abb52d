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
from typing import Any, NamedTuple

import trio

from .._serving.sending.state.deferred import wait_after
from .._values.errors import ErrorCode
from .._values.messages import Response
from ._errors import refusal
from ._reading.told import Readers
from ._wire.calling import Calling
from ._wire.commands import Terms
from ._wire.routes import Route


class Policy(NamedTuple):
    """What may be tried again.

    Attributes:
        retries: how often at most.
        repeatable: whether it may be run more than once.
        own_id: whether the `messageId` is the caller's, and no other is wanted.
    """

    retries: int
    repeatable: bool
    own_id: bool


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

    async def again(
        self,
        route: Route,
        command: str,
        data: Mapping[str, Any] | None,
        terms: Terms,
        response: Response,
        policy: Policy,
    ) -> Response:
        """What a call comes to that was answered with a "no"; see `Client.call`.

        Raises:
            CommandRefused: it is final, or there was no other answer.
        """
        until = terms.begun + terms.timeout
        wanted_until = math.inf if terms.expires_in is None else terms.begun + terms.expires_in
        tries = 0
        while not response.success:
            tries += 1
            same = response.retry == "same_id"
            safe = same or policy.repeatable or response.error_code == ErrorCode.BUSY
            if response.retry is None or not safe or (policy.own_id and not same):
                raise refusal(command, response)
            wait = wait_after(tries, random.random)
            given_up = min(until, wanted_until, trio.current_effective_deadline())
            if tries > policy.retries or trio.current_time() + wait >= given_up:
                raise refusal(command, response)
            await trio.sleep(wait)
            self._calling.counters.retried += 1
            now = trio.current_time()
            terms = terms._replace(
                begun=now,
                timeout=until - now,
                message_id=terms.message_id if same else self._calling.new_id(),
                expires_in=None if terms.expires_in is None else wanted_until - now,
            )
            response = await self.request(route, command, data, terms)
        return response
