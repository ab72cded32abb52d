"""Keys of a command's `data` that its handler has no use for: named in the log, or refused.

The default is to ignore them. Commands come from clients that are updated at other times than
devices, and those of the guide put more into `data` than a petal declares: to refuse would stop
what works today. But a misspelt optional argument must not vanish without a word, so each unknown
key of each command is named in the log, once, with the known key that it may have meant.
"""

from __future__ import annotations

import logging

from .._values.messages import Command
from .._values.settings.settings import UnknownKeysRule as UnknownKeysRule
from .._values.types.invalid import MAX_KEY, Problem, one_line
from .._values.types.models.objects import near_key, unknown_keys

logger = logging.getLogger("petalkit.commands")

RULES = ("ignore", "refuse")
MAX_NAMED = 32  # different keys of one command that the log names


class UnknownKeys:
    """See the module.

    Args:
        known: the keys that the handler has a use for.
        rule: what to do with others.
        petal: whose command it is.
    """

    def __init__(self, known: frozenset[str], rule: UnknownKeysRule, petal: str) -> None:
        self.known = known
        self._rule = rule
        self._petal = petal
        self._named: set[str] = set()

    def judge(self, command: Command) -> list[Problem]:
        """What the sender is told of a command that has unknown keys; nothing is for the log."""
        if self._rule == "refuse":
            return unknown_keys(command.data, self.known)
        for key in command.data:
            if len(self._named) >= MAX_NAMED:
                break
            # Cut: these are kept, and a sender chooses how long they are.
            name = key[:MAX_KEY]
            if key not in self.known and name not in self._named:
                self._named.add(name)
                self._name(command, name)
        return []

    def _name(self, command: Command, name: str) -> None:
        near = near_key(name, self.known)
        hint = "" if near is None else f"; did the sender mean {near!r}?"
        more = "; no more of this command are named" if len(self._named) == MAX_NAMED else ""
        logger.warning(
            "ignored data.%s, which the command does not know%s%s",
            one_line(name),
            hint,
            more,
            extra={
                "petal": self._petal,
                "command": command.command,
                "message_id": command.message_id,
            },
        )
