"""Where tasks rest until there is something for them to do.

The rule: a flag says whether one may be there, so that telling nobody costs next to nothing: it is
done for each message and each PUBACK, and Trio's own answer would be one more call of Python.
"""

from __future__ import annotations

import trio


class Rest:
    """See the module.

    Attributes:
        taken: whether somebody may rest here.
    """

    __slots__ = ("_lot", "taken")

    def __init__(self) -> None:
        self._lot = trio.lowlevel.ParkingLot()
        self.taken = False

    async def park(self) -> None:
        """Wait until the next `wake`. The caller bounds it, or says why not."""
        self.taken = True
        await self._lot.park()

    def wake(self) -> None:
        """Wake all who are here."""
        if self.taken:
            self.taken = False
            self._lot.unpark_all()
