"""What is served here, and what is said of a command that no petal serves."""

from __future__ import annotations

import logging
from typing import Any

from ..._authoring.context import NotServed
from ..._authoring.registry import CommandTable
from ..._values.settings.settings import AnswerUnknown

logger = logging.getLogger("petalkit.answers")


class Catalog:
    """See the module.

    Args:
        rule: which unknown ones are answered.
        table: what is served; its changes are seen.
    """

    def __init__(self, rule: AnswerUnknown, table: CommandTable) -> None:
        self._rule = rule
        self.table = table

    def are_answered(self, name: str) -> bool:
        """Whether a command of that name is answered."""
        if self._rule != "own":
            return self._rule == "all"
        return self._is_under_own_prefix(name)

    def may_be_anothers(self, name: str) -> bool:
        """Whether a command of that name may be served by another program, and by nobody here.

        Then that answers, and no failure of ours is to stand beside it.
        """
        if self._rule == "all":
            return False
        try:
            if self._is_under_own_prefix(name):
                return False
            spec = self.table.lookup(name)
        except Exception:  # a petal's own code may be asked; others are not to pay for it
            logger.exception("nobody can say who serves %r", name)
            return False  # two answers are better than none
        return spec is None or spec.guessed

    def _is_under_own_prefix(self, name: str) -> bool:
        return self.table.is_under_prefix(name)

    @staticmethod
    def text(name: str) -> str:
        """For people; the guide's words."""
        return f"Unknown command: {name}"

    def details(self, name: str) -> dict[str, Any]:
        """More fields of the answer; its length and what it costs do not grow with the table."""
        near = self.table.near(name)
        found: dict[str, Any] = {} if near is None else {"did_you_mean": near}
        found["available_commands"], left_out = self.table.some_names(name)
        if left_out:
            found["available_commands_left_out"] = left_out
        return found

    def not_served(self, name: str) -> NotServed:
        """For a handler to raise."""
        answered = self.are_answered(name)
        details = self.details(name) if answered else None
        return NotServed(self.text(name), answered=answered, details=details)
