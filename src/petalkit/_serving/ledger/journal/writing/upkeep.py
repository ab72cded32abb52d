"""The store with what keeps it within its bounds: after how many commands it looks, and how old.

The trap: what is decided in Trio (the clocks, how many have finished) and what is done in the
thread (fold, prune) must not meet halfway. So `next_fold` decides, and returns what is to be done.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable

import trio

from ....._values.codec import Timestamps
from ....._values.settings.settings import Settings
from ...records import JournalError
from ..forgetting.age import Age
from ..store import PRUNED_AT_ONCE, JournalStore
from .known import KnownCommands, Pruned
from .writer import DiskWork

logger = logging.getLogger("petalkit.journal")

PRUNE_EVERY = 256  # commands finished between two looks at what is too old or too much, at least
PAUSE = 0.001  # seconds between two steps of folding, for whoever waits for the GIL
PRUNE_PART = 4  # and a quarter of those that are kept
FOLD_PART = 2  # half as many have finished when a part of the log is folded that is not full


def _pause(store: JournalStore) -> None:
    """Let the event loop and the thread that writes have their turns."""
    if store.has_time:
        time.sleep(PAUSE)


def _nothing() -> None:
    """Nobody has turns."""


class Upkeep:
    """See the module.

    Args:
        settings: bounds.
        timestamps: the wall clock.
        known: counts what has finished.

    Attributes:
        store: the file, while it is open.
    """

    def __init__(self, settings: Settings, timestamps: Timestamps, known: KnownCommands) -> None:
        self._settings = settings
        self._timestamps = timestamps
        self._known = known
        self.store: JournalStore | None = None
        self._prune_every = max(PRUNE_EVERY, settings.journal_count // PRUNE_PART)
        self._fold_from = max(PRUNE_EVERY, settings.journal_count // FOLD_PART)
        self._count_max = settings.journal_count + settings.replay_count
        self._age = Age(settings.journal_age, None, 0.0)

    def begin(self, newest: float | None) -> None:
        """The file is open; when the last record was made, on the wall clock, if there is one."""
        self._age = Age(self._settings.journal_age, newest, trio.current_time())

    @property
    def opened(self) -> JournalStore:
        """The file, which is open."""
        assert self.store is not None
        return self.store

    @property
    def nearly_full(self) -> bool:
        """Whether it is to be looked each time what can make room."""
        return self.store is not None and (self.store.nearly_full or self._is_crowded(self.store))

    def _is_crowded(self, store: JournalStore) -> bool:
        """Whether it is crowded, and what is in the log keeps it so: nothing else may ever come.

        Until when that stays is known only once it is in the database.
        """
        return store.finished_in_log > 0 and len(self._known) >= self._count_max

    @property
    def is_due(self) -> bool:
        """Whether something is to be folded, or to make room."""
        store = self.store
        return store is not None and (
            store.can_fold or self._known.unpruned >= self._prune_every or self.nearly_full
        )

    def next_fold(self) -> Callable[[], Pruned]:
        """What folds and makes room, in the thread: it returns what was pruned.

        That raises `JournalError` when what is in the log cannot be folded.
        """
        assert self.store is not None
        store = self.store
        if not store.can_fold and (self.nearly_full or store.finished_in_log >= self._fold_from):
            store.freeze()  # what has finished makes room only once it is in the database
        self._known.unpruned = 0
        return functools.partial(self._fold, self.store, self._oldest())

    async def prune_all(self, disk: DiskWork) -> None:
        """Let go what an earlier run has left too much of.

        Raises:
            JournalError: nothing more can be let go.
        """
        more = True
        while more:
            assert self.store is not None
            pruned = await disk.do(functools.partial(self._prune, self.store, self._oldest()))
            self._known.prune(pruned)
            self.store.folded()
            more = self.has_more(pruned)

    @staticmethod
    def has_more(pruned: Pruned) -> bool:
        """Whether there may be more to prune than that."""
        return len(pruned) >= PRUNED_AT_ONCE

    def _oldest(self) -> float:
        """Before when what has finished is too old to be remembered."""
        return self._age.oldest(self._timestamps.now(), trio.current_time())

    # -- in the thread

    def _fold(self, store: JournalStore, oldest: float) -> Pruned:
        store.fold(functools.partial(_pause, store) if self._settings.journal_thread else _nothing)
        try:
            return self._prune(store, oldest)
        except JournalError as error:  # what was folded is so all the same
            logger.warning("%s; nothing was made room for", error)
            return ()

    def _prune(self, store: JournalStore, oldest: float) -> Pruned:
        return store.prune(count=self._settings.journal_count, before=oldest)
