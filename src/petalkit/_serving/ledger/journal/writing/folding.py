"""Folds what is in the log into the database, and makes room there, beside what is written.

In a thread of its own: a transaction of thousands of rows takes long, and nobody waits for it.
The trap: it takes the GIL from the event loop; so it goes in short steps, one statement each.

A database that takes nothing is tried again, later and later. What is in the log is safe meanwhile;
when that is full, writing goes through the database too, and fails.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from ....._values.settings.settings import Settings
from ...records import JournalError
from .known import KnownCommands, Pruned
from .upkeep import Upkeep
from .writer import DiskWork

logger = logging.getLogger("petalkit.journal")

RETRY_MAX = 30.0  # seconds between two attempts, at most


class Folding:
    """See the module. `run` folds.

    Args:
        settings: how long until it is tried again.
        known: forgets what is pruned.
        upkeep: folds, and makes room.

    Attributes:
        disk: does the work; set before `run`.
        on_room: called after each time.
    """

    disk: DiskWork

    def __init__(self, settings: Settings, known: KnownCommands, upkeep: Upkeep) -> None:
        self._settings = settings
        self._known = known
        self._upkeep = upkeep
        self.on_room: Callable[[], object] = lambda: None
        self._wanted = False
        self._idle = trio.lowlevel.ParkingLot()
        self._failed = False

    def want(self) -> None:
        """Look soon what there is to do."""
        if not self._wanted:
            self._wanted = True
            self._idle.unpark()

    async def run(self, running: trio.CancelScope) -> None:
        """Fold again and again until `running` is cancelled. What the thread does, it ends."""
        with running:
            delay = 0.0
            while True:
                while not self._wanted:
                    await self._idle.park()
                self._wanted = False
                if await self._fold():
                    delay = 0.0
                    continue
                delay = min(max(2 * delay, self._settings.journal_retry), RETRY_MAX)
                await trio.sleep(delay)
                self._wanted = True

    async def _fold(self) -> bool:
        store = self._upkeep.store
        if store is None:
            return True
        try:
            pruned: Pruned = await self.disk.do(self._upkeep.next_fold())
        except JournalError as error:
            if not self._failed:
                logger.warning("%s; what is new stays in its log until it can be moved", error)
            self._failed = True
            return False
        self._failed = False
        store.folded()
        self._known.prune(pruned)
        self._wanted = self._wanted or self._upkeep.has_more(pruned) or store.can_fold
        self.on_room()
        return True
