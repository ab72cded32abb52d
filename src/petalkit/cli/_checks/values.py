"""One check as a value: its verdict, what was found, and what to do."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

import attrs

from ..._values.basics.words import counted as counted

CALL = "call"  # the check that is made only when it is asked for
NAMES_SHOWN = 20  # of a list that a device or a file can make long
TEXT_SHOWN = 500  # characters of a text that somebody else wrote


class Verdict(enum.StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@attrs.frozen
class Check:
    """What one check came to.

    Attributes:
        id: names the check; `petal` comes once per TARGET.
        verdict: how it ended.
        found: one line.
        todo: what to do, one thing each; for `ok` a note.
    """

    id: str
    verdict: Verdict
    found: str
    todo: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return {
            "id": self.id,
            "verdict": str(self.verdict),
            "found": self.found,
            "todo": list(self.todo),
        }


def ok(check_id: str, found: str, *todo: str) -> Check:
    """Nothing is wrong."""
    return Check(check_id, Verdict.OK, found, todo)


def warning(check_id: str, found: str, *todo: str) -> Check:
    """It works, or may work, and something is to be looked at."""
    return Check(check_id, Verdict.WARNING, found, todo)


def failed(check_id: str, found: str, *todo: str) -> Check:
    """`petalkit run` cannot work like this."""
    return Check(check_id, Verdict.FAILED, found, todo)


def skipped(check_id: str, reason: str, *todo: str) -> Check:
    """It could not be checked, or there is nothing to check."""
    return Check(check_id, Verdict.SKIPPED, reason, todo)


def not_made(check_id: str, reason: str) -> Check:
    """A check of the device that cannot be made.

    Those that we make unasked are skipped. A call was asked for, so without it there is no success.
    """
    if check_id != CALL:
        return skipped(check_id, reason)
    todo = "The command was not sent: the other checks say what is in the way."
    return failed(check_id, f"not called: {reason}", todo)


_RANKS = {Verdict.SKIPPED: 0, Verdict.OK: 1, Verdict.WARNING: 2, Verdict.FAILED: 3}


class Findings:
    """Several findings that make one check: the worst gives the verdict, and stands first.

    Args:
        check_id: of the check.
    """

    def __init__(self, check_id: str) -> None:
        self._id = check_id
        self._found: list[tuple[Verdict, str]] = []
        self._todo: list[str] = []

    def ok(self, found: str, *todo: str) -> None:
        """See the function of this name."""
        self._add(Verdict.OK, found, todo)

    def warn(self, found: str, *todo: str) -> None:
        """See `warning`."""
        self._add(Verdict.WARNING, found, todo)

    def fail(self, found: str, *todo: str) -> None:
        """See `failed`."""
        self._add(Verdict.FAILED, found, todo)

    def take(self, check: Check) -> None:
        """A check that is a part of this one."""
        self._add(check.verdict, check.found, check.todo)

    def _add(self, verdict: Verdict, found: str, todo: Iterable[str]) -> None:
        self._found.append((verdict, found))
        self._todo += [one for one in todo if one not in self._todo]

    def check(self, *, nothing: str) -> Check:
        """The check; skipped, with the reason `nothing`, when there was no finding."""
        if not self._found:
            return skipped(self._id, nothing)
        worst_first = sorted(self._found, key=lambda one: -_RANKS[one[0]])
        text = "; ".join(found for _, found in worst_first)
        return Check(self._id, worst_first[0][0], text, tuple(self._todo))


def worst(checks: Iterable[Check]) -> Verdict:
    """The verdict of them all; skipped ones do not count against it."""
    ranked = max(checks, key=lambda check: _RANKS[check.verdict], default=None)
    return Verdict.OK if ranked is None or not _RANKS[ranked.verdict] else ranked.verdict


def shortened(text: str, most: int = TEXT_SHOWN) -> str:
    """At most so many characters."""
    return text if len(text) <= most else text[: most - 3] + "..."


def listed(names: Iterable[str]) -> str:
    """Names with commas, at most `NAMES_SHOWN` of them."""
    every = [shortened(name, 100) for name in names]
    shown = ", ".join(every[:NAMES_SHOWN])
    return shown + f" and {len(every) - NAMES_SHOWN} more" if len(every) > NAMES_SHOWN else shown
