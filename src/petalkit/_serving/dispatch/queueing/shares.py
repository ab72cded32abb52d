"""How much one petal may take of the room for waiting commands: its commands, and their bytes.

The rule: what waits for one petal leaves room for what comes for another, however slow the first
is. So each has a share, by default an equal part, and the channel is full for a petal when its
share is. Where a setting gives them more than there is, first come, first served.
"""

from __future__ import annotations

import math

from ...._values.settings.settings import Settings
from ..execution import PetalState

ROUNDING = 1e-9  # a third and a third and a third are one


class Shares:
    """See the module.

    Args:
        settings: how much there is.
        sharing: how many petals it is divided among.
        served: how many there are, with those who only stand for others that are not known yet.

    Attributes:
        are_several: whether there is anybody to hold up.
        most: commands of one petal in the channel.
        most_bytes: of their payloads.
        most_on_disk: commands of one petal in the backlog on disk.
        reserve: commands of one petal that may be in the channel beyond that, if they cannot wait
            on disk.
        spare: the same for callers who have nothing waiting.
        all: commands of all petals in the channel, where that is less than all shares.
        all_bytes: of their payloads.
        ample: where fewer commands wait, of all petals, no share is used and there is room for all.
        ample_bytes: the same of their payloads.
    """

    def __init__(self, settings: Settings, sharing: int, served: int) -> None:
        self.are_several = sharing > 1
        parts = max(sharing, 1)
        self._share = settings.petal_share or 1 / parts
        self.most = self._of(settings.channel_capacity)
        self.most_bytes = self._of(settings.channel_bytes)
        self.most_on_disk = self._of(settings.journal_backlog)
        self.reserve = math.ceil(settings.channel_reserve / parts)
        self.spare = min(self.reserve, self.most // 8)
        # Where they do not, each petal has room for one, also where there is room for less.
        overlap = self._share * served > 1 + ROUNDING
        self.all = settings.channel_capacity if overlap else served * self.most
        self.all_bytes = settings.channel_bytes if overlap else served * self.most_bytes
        self.ample = min(self.most, self.all)
        self.ample_bytes = min(self.most_bytes, self.all_bytes)

    def are_used(self, petal: PetalState, more: int = 0) -> bool:
        """Whether no further command of a petal is to be accepted.

        Args:
            petal: whose.
            more: how many are allowed beyond its share; of twice the size then.
        """
        most_bytes = 2 * self.most_bytes if more else self.most_bytes
        return petal.waiting >= self.most + more or petal.waiting_bytes >= most_bytes

    def _of(self, whole: int) -> int:
        return max(min(1, whole), int(whole * self._share + ROUNDING))
