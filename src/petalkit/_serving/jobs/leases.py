"""Leases: when an operation has to end unless it is renewed, by time that passes in suspend too.

The rule: a lease counts the time in which the device was suspended. The trap is that no deadline
does: Trio's clock, and whatever waits in the operating system, stands still then, so a job would go
on for what was left of its lease before. So while there are leases, it is looked often how long the
device has slept, and their deadlines are moved.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

LOOK = 0.1  # seconds between two looks: a suspended device goes on for so long at most


class Lease:
    """One lease.

    Args:
        seconds: how long it lasts, from now and from each renewal.
        suspended: seconds for which the device has been suspended so far.
    """

    def __init__(self, seconds: float, suspended: Callable[[], float]) -> None:
        self._seconds = seconds
        self._suspended = suspended
        self.renew()

    def renew(self) -> None:
        """It lasts for its whole length from now on."""
        self._begun = trio.current_time()
        self._suspended_before = self._suspended()

    @property
    def until(self) -> float:
        """When it runs out, on Trio's clock, if the device is not suspended meanwhile."""
        slept = max(0.0, self._suspended() - self._suspended_before)
        return self._begun + self._seconds - slept


class Leases:
    """All of a runtime, and the task that looks after them.

    Args:
        suspended: seconds for which the device has been suspended so far; None where nobody knows.
    """

    def __init__(self, suspended: Callable[[], float] | None) -> None:
        self._suspended = suspended
        self._held: list[Callable[[], bool]] = []
        self._some = trio.Event()

    def begin(self, seconds: float, look: Callable[[], bool]) -> Lease:
        """One more.

        Args:
            seconds: see `Lease`.
            look: moves the deadline of its job; False when there is nothing more to look after.
        """
        if self._suspended is None:
            return Lease(seconds, lambda: 0.0)
        self._held.append(look)
        self._some.set()
        return Lease(seconds, self._suspended)

    async def run(self) -> None:
        """Look after them until cancelled; it waits without a limit while there is none."""
        while True:
            await self._some.wait()
            while self._held:
                await trio.sleep(LOOK)
                self._held = [look for look in self._held if look()]
            self._some = trio.Event()
