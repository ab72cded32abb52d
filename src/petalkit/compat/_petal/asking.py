"""Giving a command to one petal: its handlers called, its answer awaited, the rest looked after.

A command ends with its answer. A handler may go on after that, as it may in the host; it is the
petal's then, and ends with it.
"""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Callable
from typing import Any

import trio

from ..._authoring.context import CommandContext
from ..._values.codec import Timestamps
from ..._values.errors import CommandError, ErrorCode
from ..._values.messages import Command
from ..._values.settings.settings import Settings
from .._loop.calls import Call
from .._loop.loop import PetalLoop
from .._loop.threads import call_handler
from .desk import Desk, Registration
from .exchange import Claim, Exchange, message_of

logger = logging.getLogger("petalkit.compat")

LEFT_MAX = 1000  # handlers of one petal that run on after their answer


class Asking:
    """See the module. For one petal, while it is served.

    Args:
        desk: where its handlers are.
        loop: its own.
        settings: the limits.
    """

    def __init__(self, desk: Desk, loop: PetalLoop, settings: Settings) -> None:
        self._desk = desk
        self._loop = loop
        self._settings = settings
        self._timestamps = Timestamps()
        self._left: set[Call] = set()

    def begin(self, command: Command, context: CommandContext, claim: Claim) -> Exchange:
        """Give a command to the petal: its handlers start in the order of these calls.

        Args:
            command: what came.
            context: how.
            claim: how sure it is that it is the petal's. If not at all, the petal is told that
                an answer is wanted, because only an answer tells whether it knows the command.

        Raises:
            CommandError: BUSY, too many of its handlers run on after their answers.
        """
        if len(self._left) >= LEFT_MAX:
            text = f"{LEFT_MAX} handlers of {self._desk.petal} run on after their end was told"
            raise CommandError(ErrorCode.BUSY, text, retryable=True)
        wants_ack = command.extra.get("waitAck") is True
        told = claim == "key" and wants_ack and self._desk.tells_receipts
        exchange = Exchange(command, claim, context.identity, acknowledged=told)
        self._desk.begin(exchange)
        self._call_handlers(exchange)
        return exchange

    async def finish(self, exchange: Exchange, *, has_keys: Callable[[], bool]) -> None:
        """Wait for the petal's answer, or its silence.

        Args:
            exchange: from `begin`.
            has_keys: tells whether the petal would have the command as a key, if it knew it.
                Else an answer may come after its handlers have ended.

        Cancellation: is passed on to the handlers.

        Raises:
            Exception: what a handler raised, if there is no answer.
        """
        try:
            await exchange.wait()
            if exchange.silent and exchange.command.wait_response:
                may_be_its = exchange.claim == "key" or not has_keys()
                # What a master has left to a task is waited for; one that only does not know
                # another's command is not.
                if may_be_its and (exchange.claim != "none" or exchange.has_left_tasks):
                    await self._wait_late_answer(exchange)
        except trio.Cancelled:
            await self._loop.end(exchange.calls)
            for call in exchange.calls:
                if not call.done.is_set():
                    self._leave(call, exchange)
                else:
                    self._report(call, exchange)
            raise
        finally:
            self._desk.end(exchange)
        self._look_after(exchange)

    def _call_handlers(self, exchange: Exchange) -> None:
        command, claim = exchange.command, exchange.claim
        registrations = list(self._desk.registrations.values())
        for registration in registrations:
            message = message_of(command, self._desk.device_id or "", self._timestamps())
            if claim == "none":
                message["waitResponse"] = True
            if claim != "key" or len(registrations) > 1:
                message = copy.deepcopy(message)  # each may change its own
            if registration.in_loop:
                function: Callable[..., Any] = registration.handler
                arguments: tuple[Any, ...] = (command.topic, message)
            else:
                function, arguments = _call, (registration, command.topic, message)
            call = self._loop.start(
                command.command, function, *arguments, owner_=exchange, on_end=exchange.on_end
            )
            exchange.calls.append(call)

    async def _wait_late_answer(self, exchange: Exchange) -> None:
        """Handlers may leave their answer to a task, a thread, or a callback of somebody."""
        if exchange.calls and not any(call.error for call in exchange.calls):
            await exchange.wait_late_answer(self._settings.compat_answer_timeout)

    def _look_after(self, exchange: Exchange) -> None:
        """Own what runs on, report what failed; raise that where there is no answer."""
        error: BaseException | None = exchange.unsayable
        for call in exchange.calls:
            if not call.done.is_set():
                self._leave(call, exchange)
            elif call.error is not None and exchange.words is None and error is None:
                error = call.error  # logged by whoever answers for it
            elif call.error is not None:
                self._report(call, exchange)
        if exchange.words is None and error is not None:
            if isinstance(error, Exception):
                raise error
            # Such as SystemExit, which is no more the process's than any other error of a handler.
            raise RuntimeError(f"the handler raised {type(error).__name__}") from error

    async def wait_left(self) -> None:
        """Wait until no handler runs on after its answer. The caller bounds it."""
        while self._left:
            await next(iter(self._left)).done.wait()

    async def end_left(self) -> None:
        """Cancel those that do, and wait for them, bounded."""
        for call in self._left:
            extra = {"petal": self._desk.petal, "command": call.name}
            logger.warning("a handler is cancelled that went on after its answer", extra=extra)
        await self._loop.end(list(self._left))

    def _end_left(self, exchange: Exchange, call: Call) -> None:
        self._left.discard(call)
        self._report(call, exchange)

    def _leave(self, call: Call, exchange: Exchange) -> None:
        """It runs on, with nobody waiting for it."""
        self._left.add(call)
        call.on_end = functools.partial(self._end_left, exchange)

    def _report(self, call: Call, exchange: Exchange) -> None:
        command = exchange.command
        self._loop.report_failed(call, command=command.command, message_id=command.message_id)


async def _call(registration: Registration, topic: str, message: dict[str, Any]) -> None:
    await call_handler(registration.handler, topic, message, cpu_heavy=registration.cpu_heavy)
