"""What outlives a link, by client ID: lent to one link at a time, and kept for the next.

The trap: a link may be made while an older one of the same client ID is still there (a session
taken over). The newer one knows better, so what the older brings back is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

S = TypeVar("S")

SESSIONS_KEPT = 16  # of client IDs that were used in turn


class KeptSessions(Generic[S]):
    """See the module.

    Args:
        make: a new one.
    """

    def __init__(self, make: Callable[[], S]) -> None:
        self._make = make
        self._kept: dict[str, S] = {}
        self._newest: dict[str, S] = {}  # of the links that live

    def __len__(self) -> int:
        return len(self._kept)

    def lend(self, client_id: str) -> S:
        """The one that is kept, or a new one."""
        session = self._kept.pop(client_id, None) or self._make()
        self._newest[client_id] = session
        return session

    def take_back(self, client_id: str, session: S, *, worth_keeping: bool) -> None:
        """The link is gone."""
        if self._newest.get(client_id) is not session:
            return
        del self._newest[client_id]
        if worth_keeping:
            self._kept[client_id] = session
            if len(self._kept) > SESSIONS_KEPT:
                del self._kept[next(iter(self._kept))]
