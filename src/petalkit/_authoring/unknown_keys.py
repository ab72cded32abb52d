"""Keys of a command's `data`, and of models in it, that its handler has no use for.

The default is to ignore them. Commands come from clients that are updated at other times than
devices, and those of the guide put more into `data` than a petal declares: to refuse would stop
what works today. But a misspelt optional argument must not vanish without a word, so each unknown
key of each command is named in the log, once, with the known key that it may have meant; and the
sender is told of those of its own command in each response.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable
from typing import Any

from .._values.messages import Command
from .._values.settings.settings import UnknownKeysRule as UnknownKeysRule
from .._values.types.invalid import (
    MAX_KEY,
    MAX_REPORTED_ERRORS,
    Problem,
    one_line,
    short_path,
    unknown_field,
)
from .._values.types.models.extra_keys import Extra
from .._values.types.models.objects import near_key, unknown_keys

logger = logging.getLogger("petalkit.commands")

RULES = ("ignore", "refuse")
MAX_NAMED = 32  # different keys of one command that the log names
_MAX_PLACE = 256  # characters
IGNORED_FIELD = "unknown_keys"  # of a response


class UnknownKeys:
    """See the module.

    Args:
        known: the keys of `data` that the handler has a use for; None when it may have one for any.
        rule: what to do with others.
        petal: whose command it is.

    Attributes:
        refuses: whether what is found is the sender's mistake.
    """

    def __init__(self, known: frozenset[str] | None, rule: UnknownKeysRule, petal: str) -> None:
        self.known = known
        self.refuses = rule == "refuse"
        self._petal = petal
        self._near: dict[str, str | None] = {}
        self._new: list[str] = []  # found in this command, and not told yet

    def judge(self, command: Command) -> list[Problem]:
        """What the sender is told of a command that has unknown keys, whether refused or not."""
        if self.known is None:
            return []
        if self.refuses:
            return unknown_keys(command.data, self.known)
        found: list[Problem] = []
        for key in command.data:
            if key in self.known:
                continue
            found.append(self._problem(command, Extra("", "", key, self.known)))
            if len(found) >= MAX_REPORTED_ERRORS:
                break
        self._tell(command)
        return found

    def judge_within(self, command: Command, extra: Iterable[Extra]) -> list[Problem]:
        """The same of keys of the models within its data."""
        found = [
            unknown_field(one.path, one.key, near_key(one.key, one.known))
            if self.refuses
            else self._problem(command, one)
            for one in itertools.islice(extra, MAX_REPORTED_ERRORS)
        ]
        self._tell(command)
        return found

    def _problem(self, command: Command, extra: Extra) -> Problem:
        """What is said of one that is ignored; the first time in the log too."""
        # Cut: these are kept, and a sender chooses how long they are.
        key, place = extra.key[:MAX_KEY], extra.place[:_MAX_PLACE]
        name = f"{place}.{key}"
        if name in self._near:
            near = self._near[name]
        elif len(self._near) < MAX_NAMED:
            # Kept: to look for a near one takes longer than all else here.
            near = self._near[name] = near_key(key, extra.known)
            self._new.append(name)
        else:
            near = None
        return unknown_field(extra.path, key, near)

    def _tell(self, command: Command) -> None:
        """Of all that is new in it, in one line."""
        if not self._new:
            return
        names, self._new = self._new, []
        near = [(name, self._near[name]) for name in names]
        hint = ", ".join(repr(one) for _, one in near if one is not None)
        more = "; no more of this command are named" if len(self._near) == MAX_NAMED else ""
        logger.warning(
            "ignored %s, which the command does not know%s%s",
            ", ".join(f"data{one_line(name)}" for name in names),
            f"; did the sender mean {hint}?" if hint else "",
            more,
            extra={
                "petal": self._petal,
                "command": command.command,
                "message_id": command.message_id,
            },
        )


def ignored_fields(ignored: Iterable[Problem]) -> dict[str, Any]:
    """What a response says of keys that were ignored, in the form of `errors`."""
    return {
        IGNORED_FIELD: [
            {"path": f"data{short_path(path)}", "message": text} for path, text, _ in ignored
        ]
    }
