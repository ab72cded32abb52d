"""When a petal that has failed is started again: after a wait that grows, and not for ever.

The rule: a device that is not plugged in yet, or lost for a minute, costs that minute and no visit;
a petal that fails and fails is given up, so that whoever supervises the process is told.
"""

from __future__ import annotations

from ..._values.errors import ConfigError, RegistrationError
from ..._values.settings.settings import RestartPolicy, Settings
from ..failures import single

# What no waiting changes, when a petal raises it before it was ever in service: a mistake in it.
MISTAKES = (
    *(TypeError, NameError, AttributeError, ImportError, SyntaxError, NotImplementedError),
    *(RegistrationError, ConfigError),
)


class Restarts:
    """The failures of one petal.

    Args:
        policy: the petal's own; None for that of the settings.
        settings: waits and bounds.

    Attributes:
        in_a_row: starts since it was last in service for `petal_restart_window`.
        limit: how many there may be.
    """

    def __init__(self, policy: RestartPolicy | None, settings: Settings) -> None:
        self._wanted = (policy or settings.petal_restart) == "on-failure"
        self._first = settings.petal_restart_delay_min
        self._longest = settings.petal_restart_delay_max
        self._window = settings.petal_restart_window
        self.limit = settings.petal_restart_max
        self.in_a_row = 0
        self._served = False
        self._since: float | None = None  # when it entered service, if it is in it

    def entered(self, now: float) -> None:
        """It is in service."""
        self._served = True
        self._since = now

    def wait_after(self, error: BaseException | None, now: float) -> float | None:
        """It has failed: seconds until it is started again; None when it is not.

        Args:
            error: why, where there is one.
            now: Trio's clock.
        """
        if self._since is not None and now >= self._since + self._window:
            self.in_a_row = 0
        self._since = None
        mistake = error is not None and issubclass(type(single(error)), MISTAKES)
        if not self._wanted or (mistake and not self._served) or self.in_a_row >= self.limit:
            return None
        # Not 2.0 ** n, which is too large for a float at some time.
        wait = self._first
        for _ in range(self.in_a_row):
            wait = min(2 * wait, self._longest)
            if wait == self._longest:
                break
        self.in_a_row += 1
        return wait
