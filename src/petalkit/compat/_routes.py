"""Which petal of the guide a command belongs to, and what is done when none says so.

The rule: one command, one response, however many petals have a master handler. Its owner is the
petal that has its name as a key, else the one whose prefix it has, else the masters are asked in
turn, and their "Unknown command" is kept from the caller while another may know.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Collection, Iterator
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from .._context import CommandContext, OwnWords
from .._errors import CommandError, ErrorCode
from .._messages import Command
from .._registry import CommandSpec
from .._waiting import wait_any
from ._exchange import Claim, Exchange

logger = logging.getLogger("petalkit.compat")


class Routed(Protocol):
    """What routing needs of a petal."""

    name: str
    settled: trio.Event  # its start is over, well or not

    def key_names(self) -> Collection[str]:
        """The commands that it has handlers for, now."""
        ...

    def has_key(self, name: str) -> bool:
        """Whether it has a handler for that command, now."""
        ...

    def prefixes(self) -> set[str]:
        """What its commands start with, without the slash."""
        ...

    @property
    def may_know(self) -> bool:
        """Whether it has handlers, or is still getting them."""
        ...

    def spec(self, name: str) -> CommandSpec | None:
        """What the runtime needs to run a command in its name; None while it is not served."""
        ...

    @property
    def is_registered(self) -> bool:
        """Whether it has a handler."""
        ...

    async def wait_registered(self) -> None:
        """Wait until it has a handler, or is not going to have one. Has a limit."""

    def begin(self, command: Command, context: CommandContext, claim: Claim) -> Exchange:
        """Give it a command."""
        ...

    async def finish(self, exchange: Exchange) -> None:
        """Wait for its answer, or its silence."""

    def not_served(self, name: str) -> Exception:
        """What to raise for a command that nobody serves."""
        ...


class Routes:
    """The petals of the guide that are served together; a `CommandResolver`."""

    def __init__(self) -> None:
        self._petals: list[Routed] = []
        self._turns: dict[str, trio.StrictFIFOLock] = {}  # of what waits for handlers, by prefix

    def add(self, petal: Routed) -> None:
        """One more."""
        self._petals.append(petal)

    def is_first(self, petal: object) -> bool:
        """Whether it speaks for all where one has to."""
        return self._petals[0] is petal

    def also_served_by(self, petal: Routed) -> dict[str, str]:
        """The keys of a petal that an earlier one has too, and which one: that is given them."""
        found: dict[str, str] = {}
        for other in self._petals:
            if other is petal:
                break
            found.update({key: other.name for key in petal.key_names() if other.has_key(key)})
        return found

    # -- what the table of commands asks

    def resolve(self, name: str) -> CommandSpec | None:
        """See `CommandResolver.resolve`."""
        owner = self._by_key(name) or self._by_prefix(name)
        if owner is None:
            owner = next((petal for petal in self._petals if petal.may_know), None)
        return None if owner is None else owner.spec(name)

    def names(self) -> Iterator[str]:
        """See `CommandResolver.names`."""
        for petal in self._petals:
            yield from petal.key_names()

    def prefixes(self) -> Iterator[str]:
        """See `CommandResolver.prefixes`."""
        for petal in self._petals:
            yield from petal.prefixes()

    # -- owners

    def _by_key(self, name: str) -> Routed | None:
        return next((petal for petal in self._petals if petal.has_key(name)), None)

    def _by_prefix(self, name: str) -> Routed | None:
        best: tuple[int, Routed] | None = None
        for petal in self._petals:
            for prefix in petal.prefixes():
                if name.startswith(prefix + "/") and (best is None or len(prefix) > best[0]):
                    best = len(prefix), petal
        return None if best is None else best[1]

    def _claim(self, petal: Routed, name: str) -> Claim:
        if petal.has_key(name):
            return "key"
        return "prefix" if petal is self._by_prefix(name) else "none"

    # -- serving

    async def serve(self, me: Routed, command: Command, context: CommandContext) -> OwnWords | None:
        """Find the owner, and the answer.

        Args:
            me: in whose name it runs.
            command: what came.
            context: how.
        """
        name = command.command
        async with self._turn(name):  # the handlers of what has waited start in its order
            owner = self._by_key(name)
            asked = [owner] if owner is not None else self._in_turn(name)
            if not asked:
                raise me.not_served(name)
            exchange = asked[0].begin(command, context, self._claim(asked[0], name))
        if owner is None:
            return await self._ask_in_turn(me, asked, exchange, context)
        await owner.finish(exchange)
        if not exchange.calls:
            text = f"petal {owner.name!r} has no handler registered"
            raise CommandError(ErrorCode.UNAVAILABLE, text, retryable=True)
        answer = exchange.words or exchange.unknown
        return answer if answer or not command.wait_response else _no_response(owner, command)

    # -- waiting for handlers

    @asynccontextmanager
    async def _turn(self, name: str) -> AsyncGenerator[None]:
        """Wait until whoever may have a handler for it has its handlers; at once if they do.

        Trio shuffles who wakes up in one tick, so those of one prefix wait one behind the other.
        """
        prefix = name.rpartition("/")[0]
        if prefix not in self._turns and self._is_ready(name):
            yield
            return
        turn = self._turns.setdefault(prefix, trio.StrictFIFOLock())
        try:
            async with turn:
                await self._wait_ready(name)
                yield
        finally:
            if not turn.locked() and self._turns.get(prefix) is turn:
                del self._turns[prefix]

    def _is_ready(self, name: str) -> bool:
        owner = self._by_key(name) or self._by_prefix(name)
        if owner is not None:
            return owner.is_registered and owner.settled.is_set()
        return all(petal.settled.is_set() for petal in self._petals)

    async def _wait_ready(self, name: str) -> None:
        """Each petal's start has its limits, and so has this."""
        while True:
            owner = self._by_key(name) or self._by_prefix(name)
            if owner is not None:
                await owner.wait_registered()
                return
            starting = [petal for petal in self._petals if not petal.settled.is_set()]
            if not starting:
                return
            await wait_any(*(petal.settled.wait for petal in starting))

    # -- asking in turn

    def _in_turn(self, name: str) -> list[Routed]:
        first = self._by_prefix(name)
        others = [petal for petal in self._petals if petal is not first and petal.may_know]
        return others if first is None else [first, *others]

    async def _ask_in_turn(
        self, me: Routed, asked: list[Routed], exchange: Exchange, context: CommandContext
    ) -> OwnWords | None:
        command = exchange.command
        first = self._by_prefix(command.command)
        unknown: OwnWords | None = None
        silent = False
        for petal in asked:
            try:
                if petal is not asked[0]:
                    exchange = petal.begin(command, context, "none")
                await petal.finish(exchange)
            except Exception:
                if petal is first:
                    raise
                text = "petal %r failed at a command that may be none of its own"
                logger.exception(text, petal.name, extra={"petal": petal.name})
                continue
            if exchange.words is not None:
                return exchange.words
            if petal is first and not command.wait_response and not petal.key_names():
                return None  # under its name, and it need not say anything
            if petal is first:
                unknown = exchange.unknown
                # Without keys nobody can tell whether it knew the command, and said nothing.
                silent = unknown is None and bool(exchange.calls) and not petal.key_names()
        if unknown is not None:
            return unknown
        if first is None or not silent:
            raise me.not_served(command.command)
        return _no_response(first, command)


def _no_response(petal: Routed, command: Command) -> OwnWords | None:
    """Answer for a handler that did not.

    Raises:
        CommandError: always.
    """
    extra = {
        "petal": petal.name,
        "command": command.command,
        "message_id": command.message_id,
        "error_code": str(ErrorCode.NO_RESPONSE),
    }
    logger.error("a handler ended without an answer, and is answered for", extra=extra)
    raise CommandError(
        ErrorCode.NO_RESPONSE, f"{command.command} ended without an answer from petal {petal.name}"
    )
