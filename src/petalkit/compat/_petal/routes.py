"""Which petal of the guide a command belongs to, and what is done when none says so.

The rule: one command, one response, however many petals have a master handler. Its owner is the
petal that has its name as a key, else the one whose prefix it has, else the masters are asked in
turn, and their "Unknown command" is kept from the caller while another may know.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from typing import Protocol

import attrs
import msgspec

from ..._authoring.context import CommandContext, NotServed, OwnWords, PetalHost
from ..._authoring.registry import CommandSpec
from ..._values.errors import CommandError, ErrorCode
from ..._values.messages import Command
from .exchange import Claim, Exchange

logger = logging.getLogger("petalkit.compat")

NOBODYS = "petals-of-the-guide"  # in whose name a command runs that no petal is known to serve


class Routed(Protocol):
    """What routing needs of a petal."""

    name: str

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
    def is_served(self) -> bool:
        """Whether it is in service."""
        ...

    @property
    def is_starting(self) -> bool:
        """Whether it is in service, and its commands wait for the rest of its start."""
        ...

    @property
    def may_know(self) -> bool:
        """Whether it is in service and has handlers, or is still getting them."""
        ...

    def spec(self, name: str) -> CommandSpec | None:
        """What the runtime needs to run a command in its name; None while it is not served."""
        ...

    def begin(self, command: Command, context: CommandContext, claim: Claim) -> Exchange:
        """Give it a command."""
        ...

    async def finish(self, exchange: Exchange) -> None:
        """Wait for its answer, or its silence."""


def as_asked(command: Command) -> Command:
    """The command as handlers of the guide ask for it: who names a Response Topic waits."""
    if command.wait_response or command.properties.response_topic is None:
        return command
    return msgspec.structs.replace(command, wait_response=True)


class Routes:
    """The petals of the guide that are served together; a `CommandResolver`."""

    name = NOBODYS

    def __init__(self) -> None:
        self._petals: list[Routed] = []
        self._host: PetalHost | None = None

    def add(self, petal: Routed) -> None:
        """One more."""
        self._petals.append(petal)

    def is_first(self, petal: object) -> bool:
        """Whether it speaks for all where one has to: the first that is in service."""
        return next((one for one in self._petals if one.is_served), None) is petal

    def serve_with(self, host: PetalHost) -> None:
        """One of them is served from now on, by this host: any is as good as the others."""
        self._host = host

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
        owner = self._by_key(name)
        if owner is None:
            owner = self._by_prefix(name)
            # One with keys would have it among them. Another may be about to have it.
            if owner is not None and owner.key_names() and self._is_one_starting():
                owner = None
        if owner is not None:
            return owner.spec(name)
        for petal in self._petals:
            spec = petal.spec(name) if petal.may_know else None
            if spec is not None:
                return attrs.evolve(spec, petal=self.name, handler=self._serve_nobodys)
        return None

    def names(self) -> Iterator[str]:
        """See `CommandResolver.names`."""
        for petal in self._petals:
            yield from petal.key_names()

    def prefixes(self) -> Iterator[str]:
        """See `CommandResolver.prefixes`."""
        for petal in self._petals:
            yield from petal.prefixes()

    # -- owners

    def _is_one_starting(self) -> bool:
        return any(petal.is_starting for petal in self._petals)

    def _by_key(self, name: str) -> Routed | None:
        return next((petal for petal in self._petals if petal.has_key(name)), None)

    def _by_prefix(self, name: str) -> Routed | None:
        best: tuple[int, Routed] | None = None
        for petal in self._petals:
            for prefix in petal.prefixes():
                if name.startswith(prefix + "/") and (best is None or len(prefix) > best[0]):
                    best = len(prefix), petal
        return None if best is None else best[1]

    # -- serving

    async def serve(
        self, me: Routed, host: PetalHost, command: Command, context: CommandContext
    ) -> OwnWords | None:
        """Serve a command that is one petal's, by key or by prefix.

        Args:
            me: that petal.
            host: of it.
            command: what came.
            context: how.
        """
        command = as_asked(command)
        name = command.command
        if not me.has_key(name):
            return await self._ask_in_turn(me, host, command, context)
        exchange = me.begin(command, context, "key")
        await me.finish(exchange)
        if not exchange.calls:
            text = f"petal {me.name!r} has no handler registered"
            raise CommandError(ErrorCode.UNAVAILABLE, text, retryable=True)
        answer = exchange.words or exchange.unknown
        return answer if answer or not command.wait_response else _no_response(me, command)

    async def _serve_nobodys(self, command: Command, context: CommandContext) -> OwnWords | None:
        """Serve a command that no petal is known to serve."""
        command = as_asked(command)
        assert self._host is not None  # or there would be no line
        return await self._ask_in_turn(None, self._host, command, context)

    async def _ask_in_turn(
        self, first: Routed | None, host: PetalHost, command: Command, context: CommandContext
    ) -> OwnWords | None:
        """Ask the petal whose prefix it is, and then every other that may know it."""
        others = [petal for petal in self._petals if petal is not first and petal.may_know]
        asked = others if first is None else [first, *others]
        turn = _Turn(host, command)
        for petal in asked:
            claim: Claim = "prefix" if petal is first else "none"
            try:
                exchange = petal.begin(command, context, claim)
                await petal.finish(exchange)
            except Exception as error:
                if petal is first:
                    raise
                text = "petal %r failed at a command that may be none of its own"
                logger.exception(text, petal.name, extra={"petal": petal.name})
                turn.error = error
                continue
            if exchange.words is not None:
                return exchange.words
            if petal is first and not command.wait_response and not petal.key_names():
                return None  # under its name, and it need not say anything
            turn.take(petal, exchange)
        if turn.unknown is not None:
            return turn.unknown
        if first is not None and first in turn.silent:
            return _no_response(first, command)
        raise turn.end()


class _Turn:
    """What the masters have said of one command, which none has answered."""

    def __init__(self, host: PetalHost, command: Command) -> None:
        self._host = host
        self._command = command
        self.unknown: OwnWords | None = None  # in the words of the petal whose prefix it is
        self.silent: list[Routed] = []  # those that may have served it without a word
        self.error: Exception | None = None

    def take(self, petal: Routed, exchange: Exchange) -> None:
        """One has been asked, and has not answered."""
        if exchange.claim == "prefix":
            self.unknown = exchange.unknown
        # One with keys would have it among them, if it knew it.
        if exchange.silent and exchange.calls and not petal.key_names():
            self.silent.append(petal)

    def end(self) -> Exception:
        """What to raise."""
        unserved: NotServed = self._host.not_served(self._command.command)
        unserved.may_have_run = bool(self.silent) or self.error is not None
        if self.error is not None and unserved.answered:
            return self.error
        return unserved


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
