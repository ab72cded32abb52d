"""Whose turn it is, of several lines that could start something.

Petals have their turns, so that one with much to do holds up no other. Of one petal's lines, and of
those that wait for one group, whoever's they are, the oldest command is next.
"""

from __future__ import annotations

from ..execution import Line


class Turns:
    """See the module."""

    def __init__(self) -> None:
        self._last = 0

    def choose(self, ready: list[Line]) -> Line:
        """The next of these lines; there must be one."""
        if len(ready) == 1:
            return ready[0]
        chosen = min(ready, key=_turn)
        if chosen.group is not None:
            chosen = min((line for line in ready if line.group == chosen.group), key=oldest)
        self._last += 1
        chosen.petal.turn = self._last
        return chosen


def oldest(line: Line) -> int:
    """The number of the oldest command in a line; there must be one."""
    return line.waiting.oldest().number


def _turn(line: Line) -> tuple[int, int]:
    return line.petal.turn, oldest(line)
