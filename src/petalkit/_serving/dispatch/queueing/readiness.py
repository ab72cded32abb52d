"""Petals that are not ready at once: their commands wait, and take no slots."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ...._authoring.registry import CommandSpec
from .queue import Backlog


class Readiness:
    """See the module.

    Args:
        backlog: where they wait.
        find: who serves a name now.
    """

    def __init__(self, backlog: Backlog, find: Callable[[str], CommandSpec | None]) -> None:
        self._backlog = backlog
        self._find = find
        self._held_until: dict[str, Collection[str]] = {}

    def hold(self, petal: str, until: Collection[str]) -> None:
        """Let the commands of a petal wait until `open`, of it or of all in `until`.

        One that has failed is not waited for.
        """
        self._backlog.petals[petal].ready = False
        if until:
            self._held_until[petal] = until

    def open(self, petal: str) -> None:
        """Let them start."""
        self._backlog.open(petal, self._find)
        self.open_followers()

    def open_followers(self) -> None:
        """A petal is ready, or has failed: nobody waits for it any more."""
        petals = self._backlog.petals
        for petal, until in list(self._held_until.items()):
            if all(petals[one].ready or petals[one].failed for one in until):
                del self._held_until[petal]
                self._backlog.open(petal, self._find)
