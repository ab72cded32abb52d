"""What stays, whatever there is too much of: a command that is owed an answer."""

from __future__ import annotations


class Owed:
    """How many messages that answer a command are not settled, by command.

    `in` tells whether any is.
    """

    def __init__(self) -> None:
        self._answers: dict[int, int] = {}  # by message
        self._count: dict[int, int] = {}

    def __contains__(self, command: object) -> bool:
        return command in self._count

    def of(self, command: int) -> int:
        """How many."""
        return self._count.get(command, 0)

    def command(self, message: int) -> int | None:
        """The command that a message answers; None of another message."""
        return self._answers.get(message)

    def add(self, message: int, command: int) -> None:
        """A message that answers a command is to be sent; again is nothing."""
        if message in self._answers:
            return
        self._answers[message] = command
        self._count[command] = self._count.get(command, 0) + 1

    def settle(self, message: int) -> int | None:
        """A message need not be sent any more; of one that answers nothing, this is nothing.

        Returns:
            The command that it answers.
        """
        command = self._answers.pop(message, None)
        if command is not None:
            left = self._count.pop(command) - 1
            if left:
                self._count[command] = left
        return command


class OwedLater:
    """The same, with changes that count when `apply` is called.

    Args:
        owed: what is changed then.
    """

    def __init__(self, owed: Owed) -> None:
        self._owed = owed
        self._steps: list[tuple[int, int | None]] = []
        self._added: dict[int, int] = {}

    def add(self, message: int, command: int) -> None:
        """See `Owed`."""
        self._added[message] = command
        self._steps.append((message, command))

    def settle(self, message: int) -> int | None:
        """See `Owed`."""
        self._steps.append((message, None))
        return self._added.pop(message, None) or self._owed.command(message)

    def apply(self) -> None:
        """What was put down is on disk."""
        for message, command in self._steps:
            if command is None:
                self._owed.settle(message)
            else:
                self._owed.add(message, command)
