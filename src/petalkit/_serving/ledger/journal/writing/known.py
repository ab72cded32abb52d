"""What the journal knows without a look at the disk: which commands it has, and how many.

The trap: an ID is known from the moment its command is put down, and until that is pruned or taken
back; what is on disk is known a little later, and forgotten a little earlier.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...records import Accepted, Found
from ..operations import Finished, Forgotten, Operation

Pruned = Sequence[tuple[int, str | None]]
"""Number and `messageId` of each command that was pruned."""


class KnownCommands:
    """See the module.

    Attributes:
        under_way: commands that were accepted, and have not finished.
        queued: commands accepted, and not yet written.
        queued_bytes: of their payloads.
        written_to: the number of the last command that is on disk.
        unpruned: commands finished since it was last looked what is too much.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self.under_way = 0
        self.queued = 0
        self.queued_bytes = 0
        self.written_to = 0
        self.unpruned = 0

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._numbers

    def restore(self, found: Found) -> None:
        """Begin with what is on disk."""
        self._numbers = dict(found.remembered)
        self.under_way = found.not_started + len(found.running)
        self.written_to = found.last

    def number(self, message_id: str) -> int | None:
        """The number of the last command of that ID."""
        return self._numbers.get(message_id)

    def forget(self, message_id: str, number: int) -> None:
        """A later command of that ID is no duplicate of that one."""
        if self._numbers.get(message_id) == number:
            del self._numbers[message_id]

    # -- what becomes of a command

    def accept(self, operation: Accepted) -> None:
        """It is put down."""
        self.under_way += 1
        self.queued += 1
        self.queued_bytes += len(operation.payload)
        if operation.message_id is not None:
            self._numbers[operation.message_id] = operation.number

    def finish(self) -> None:
        """The end of one is put down."""
        self.unpruned += 1
        self.under_way -= 1

    def written(self, batch: Iterable[Operation]) -> None:
        """A batch is on disk."""
        for operation in batch:
            if type(operation) is Accepted:
                self._count_written(operation)
                self.written_to = operation.number

    def prune(self, pruned: Pruned) -> None:
        """These are not on disk any more."""
        for number, message_id in pruned:
            if message_id is not None:
                self.forget(message_id, number)

    def take_back(self, operations: Iterable[Operation]) -> set[int]:
        """Of what could not be written, forget what was accepted. The numbers of those."""
        unwritten: set[int] = set()
        finished: set[int] = set()
        for operation in operations:
            if type(operation) is Accepted:
                unwritten.add(operation.number)
                self._count_written(operation)
                if operation.message_id is not None:
                    self.forget(operation.message_id, operation.number)
            elif type(operation) is Finished or type(operation) is Forgotten:
                finished.add(operation.number)
        self.under_way -= len(unwritten - finished)
        return unwritten

    def _count_written(self, operation: Accepted) -> None:
        self.queued -= 1
        self.queued_bytes -= len(operation.payload)
