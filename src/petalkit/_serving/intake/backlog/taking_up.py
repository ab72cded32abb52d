"""From a record of the ledger to a command in its line, or to the reason why it is not started.

Much can have changed since it was accepted: who the device is, what is served, the limits, and in
another run the settings too.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

import attrs
import trio

from ...._authoring.registry import CommandSpec
from ...._values.codec import InvalidEnvelope
from ...._values.errors import ErrorCode
from ...._values.messages import Command, Identity
from ...._values.request import Wishes
from ...._values.settings.settings import Settings
from ...dispatch.dispatcher import Dispatcher
from ...dispatch.execution import Execution
from ...dispatch.execution import logger as commands_logger
from ...ledger.contract import Ledger
from ...ledger.forms import command_of, identity_of
from ...ledger.records import CommandRecord
from ..parked import limits_of
from ..recovery import Recovery

logger = logging.getLogger("petalkit.journal")

IDENTITIES_MAX = 16  # that were left and are remembered


@attrs.frozen
class _Ending:
    """Why a command is not started."""

    code: ErrorCode
    text: str
    details: Mapping[str, Any] | None = None


class TakingUp:
    """See the module.

    Args:
        settings: limits and topics.
        dispatcher: takes commands up.
        recovery: ends those that cannot be taken up.
        ledger: knows what an earlier run has left.
    """

    def __init__(
        self,
        settings: Settings,
        dispatcher: Dispatcher,
        recovery: Recovery,
        ledger: Ledger[Execution],
    ) -> None:
        self._settings = settings
        self._limits = limits_of(settings)
        self._dispatcher = dispatcher
        self._recovery = recovery
        self._catalog = recovery.catalog
        self._outbox = recovery.responses.outbox
        self._ledger = ledger
        self._ended: deque[tuple[str, str]] = deque(maxlen=IDENTITIES_MAX)

    def end_identity(self, identity: Identity) -> None:
        """The device is another now, and has waited long enough."""
        self._ended.append((identity.organization_id, identity.device_id))

    def take_up(self, record: CommandRecord, current: Identity, wishes: Wishes | None) -> bool:
        """Take one up, or end it; False when there is no place for its answers.

        Args:
            record: of it.
            current: who the device is now.
            wishes: of its sender, if it came in this run.
        """
        replies = self._recovery.replies(record)
        places = int(record.wait_response) + len(replies)
        if places and not self._outbox.reserve(places):
            return False
        try:
            found = self._judge(record, current)
        except Exception:  # a petal's own code may be asked; and a disk may have changed a byte
            logger.exception("a command of the journal cannot be taken up")
            found = _Ending(ErrorCode.UNAVAILABLE, "what the journal has of it cannot be used")
        if isinstance(found, _Ending):
            self._recovery.end(record, found.code, found.text, details=found.details, reserved=True)
            return True
        command, spec, identity = found
        if self._dispatcher.backlog.is_full(spec.petal):  # another than the one it waited for
            for _ in range(places):
                self._outbox.release()
            return False
        execution = Execution(
            command,
            record.payload,
            spec,
            identity,
            identity.topic(self._settings.response_topic),
            trio.current_time(),
            trio.lowlevel.current_clock(),
            wait_response=record.wait_response,
            logged=commands_logger.isEnabledFor(logging.INFO),
            replies=replies,
            number=record.number,
            recorded=True,
            on_disk=True,
            # A start that nobody waited for may be missing in what an earlier run has left.
            restarted=record.starts > 0 or record.number <= self._ledger.earlier_to,
        )
        execution.wishes = wishes
        if wishes is None and record.expires_at is not None:
            needs_clock = self._needs_clock(record, spec)
            execution.wishes = Wishes(expires_at=record.expires_at, needs_clock=needs_clock)
        self._dispatcher.take_up(execution)
        if execution.logged:
            execution.log_received()
        return True

    def _judge(
        self, record: CommandRecord, current: Identity
    ) -> tuple[Command, CommandSpec, Identity] | _Ending:
        """What it is, who serves it, and for whom it came; or why it is not started."""
        whose = record.organization_id, record.device_id
        if whose != (current.organization_id, current.device_id) and (
            whose in self._ended or record.number <= self._ledger.earlier_to
        ):
            text = f"the device left organization {record.organization_id!r}"
            return _Ending(ErrorCode.CANCELLED, text)
        try:
            command = command_of(record, self._limits)
        except InvalidEnvelope as error:
            return _Ending(error.code, error.message)
        spec = self._catalog.table.lookup(command.command)
        if spec is None:
            name = command.command
            details = self._catalog.details(name)
            return _Ending(ErrorCode.UNKNOWN_COMMAND, self._catalog.text(name), details)
        return command, spec, identity_of(record)

    def _needs_clock(self, record: CommandRecord, spec: CommandSpec) -> bool:
        """Whether one that can expire is not to be run while the device's clock is not set.

        Not one that an earlier run has left: nobody knows how long the power was off.
        """
        is_left = record.number <= self._ledger.earlier_to
        return not spec.urgent and (is_left or self._settings.clock_unset == "refuse")
