"""One command in the hands of one petal: its first real answer, and the rest held back.

The rule: a command is answered once. "Unknown command" is no answer while somebody else may have
one; the first other answer counts, and what comes after it goes nowhere, loudly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import trio

from ..._authoring.context import OwnWords
from ..._values.codec import encode_json
from ..._values.dialects import outcome_of
from ..._values.errors import ErrorCode, PayloadError
from ..._values.messages import Command, Identity
from .._loop.calls import Call, Owner

NO_MESSAGE_ID = "unknown"  # the guide's word

# How sure it is that a command is the petal's: it has it as a key, it has its prefix, or neither.
Claim = Literal["key", "prefix", "none"]


class Exchange(Owner):
    """See the module. Owns the tasks that the petal's handlers start for it.

    Attributes:
        command: what came.
        claim: how sure it is that it is the petal's.
        identity: under which it came.
        acknowledged: whether the runtime tells of its arrival, so that the petal need not.
        words: the answer, once there is one.
        unknown: the petal's "Unknown command".
        unsayable: why its answer cannot be sent.
        calls: of the handlers; each tells `on_end`.
        closed: nothing more can be answered.
        abandoned: the petal has ended, and its handlers with it.
    """

    def __init__(
        self,
        command: Command,
        claim: Claim,
        identity: Identity,
        *,
        acknowledged: bool = False,
    ) -> None:
        super().__init__()
        self.command = command
        self.claim = claim
        self.identity = identity
        self.acknowledged = acknowledged
        self.words: OwnWords | None = None
        self.unknown: OwnWords | None = None
        self.unsayable: PayloadError | None = None
        self.calls: list[Call] = []
        self.closed = False
        self.abandoned = False
        self._change = trio.Event()

    def on_quiet(self) -> None:
        """See `Owner.on_quiet`."""
        self._change.set()

    @property
    def silent(self) -> bool:
        """Whether the petal has not answered in any way."""
        return self.words is None and self.unknown is None and self.unsayable is None

    @property
    def has_left_tasks(self) -> bool:
        """Whether tasks run for it beside those of the calls, which may be just about to end."""
        return not self.tasks.issubset(call.task for call in self.calls)

    @property
    def message_id(self) -> str:
        """As the petal sees it."""
        return self.command.message_id or NO_MESSAGE_ID

    def answer(self, fields: Mapping[str, Any], device_id: str | None) -> bool:
        """Take a response of the petal; False when there was one already.

        Args:
            fields: of the response.
            device_id: written over the petal's, as every version of the host does.

        Raises:
            PayloadError: it cannot be encoded as JSON.
        """
        if self.closed or self.words is not None:
            return False
        # As it is now: the petal may go on and change what it has sent.
        try:
            said: dict[str, Any] = msgspec.json.decode(encode_json(dict(fields)))
            said["deviceId"] = device_id
        except PayloadError as error:
            self.unsayable = error
            raise
        code = outcome_of(said)
        if code is not None and _is_unknown(said, code):
            if "error_code" not in said:
                said["error_code"] = ErrorCode.UNKNOWN_COMMAND
            self.unknown = OwnWords(said, str(ErrorCode.UNKNOWN_COMMAND))
        else:
            self.words = OwnWords(said, code)
            self._change.set()
        return True

    def on_end(self, _: Call) -> None:
        """One of its calls has ended."""
        self._change.set()

    def abandon(self) -> None:
        """The petal has ended: nobody will answer, nor end."""
        self.closed = self.abandoned = True
        self._change.set()

    @property
    def _may_answer(self) -> bool:
        return self.words is None and not self.abandoned

    def _is_running(self) -> bool:
        return any(not call.done.is_set() for call in self.calls)

    async def wait(self) -> None:
        """Wait until there is an answer, or all handlers have ended. The caller bounds it."""
        while self._may_answer and self._is_running():
            await self._wait_change()

    async def wait_late_answer(self, grace: float) -> None:
        """Wait for an answer from what the handlers have left running, and so long beyond it."""
        while self._may_answer and self.tasks:
            await self._wait_change()
        with trio.move_on_after(grace):
            while self._may_answer:
                await self._wait_change()

    async def _wait_change(self) -> None:
        # No nursery here: a cancellation has to come out as it is.
        self._change = trio.Event()
        await self._change.wait()


def _is_unknown(fields: Mapping[str, Any], code: str) -> bool:
    """Whether a petal says that a command is none of its own."""
    if code == ErrorCode.UNKNOWN_COMMAND:
        return True
    texts = (fields.get("error"), fields.get("message"))
    return any(
        isinstance(text, str) and text.casefold().startswith("unknown command") for text in texts
    )


def message_of(command: Command, device_id: str, timestamp: str) -> dict[str, Any]:
    """The message as handlers of the guide and its host read it.

    The arguments stand under both names that are in use, and what the host's own client always
    sends is filled in where this sender left it out.
    """
    message: dict[str, Any] = {
        "deviceId": device_id,
        "payload": command.data,
        **command.extra,
        "command": command.command,
        "messageId": command.message_id or NO_MESSAGE_ID,
        "waitResponse": command.wait_response,
        "data": command.data,
        "timestamp": timestamp if command.timestamp is None else command.timestamp,
    }
    return message
