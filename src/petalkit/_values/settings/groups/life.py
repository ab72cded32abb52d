"""Life: starts, stops, and petals that fail."""

from __future__ import annotations

from typing import Literal

import attrs

from ..checks import count, one_of, positive_seconds, seconds
from ..fields import setting

RestartPolicy = Literal["never", "on-failure"]
RESTART_POLICIES: tuple[RestartPolicy, ...] = ("never", "on-failure")


@attrs.frozen(kw_only=True, slots=False)
class LifeSettings:
    """Life: starts, stops, and petals that fail."""

    grace: float = setting(
        10.0,
        "How long running commands may go on at a stop before they are cancelled.",
        unit="s",
        check=seconds,
    )
    startup_timeout: float = setting(
        30.0, "Longest time for entering a petal's lifespan.", unit="s", check=positive_seconds
    )
    cleanup_timeout: float = setting(
        5.0,
        "Longest time for the clean-up of cancelled commands, and for leaving a lifespan.",
        unit="s",
        check=seconds,
    )
    petal_restart: RestartPolicy = setting(
        "on-failure",
        "Whether a petal that has failed is started again; a petal's own restart_policy takes "
        "precedence.",
        check=one_of(*RESTART_POLICIES),
    )
    petal_restart_delay_min: float = setting(
        1.0, "Wait before a petal is first started again.", unit="s", check=positive_seconds
    )
    petal_restart_delay_max: float = setting(
        60.0,
        "Longest wait before a petal is started again; it doubles with each failure in a row.",
        unit="s",
        check=positive_seconds,
    )
    petal_restart_max: int = setting(
        20, "How often in a row a petal is started again; then it is out of service.", check=count
    )
    petal_restart_window: float = setting(
        600.0,
        "Time in service after which a failure is the first of its row again.",
        unit="s",
        check=positive_seconds,
    )
    compat_timeout: float = setting(
        600.0,
        "Longest time for a handler of a petal written for the guide to answer.",
        unit="s",
        check=positive_seconds,
    )
    compat_answer_timeout: float = setting(
        10.0,
        "How long a handler of a petal written for the guide may still answer when it has "
        "returned.",
        unit="s",
        check=seconds,
    )
    compat_hook_timeout: float = setting(
        30.0,
        "Longest time for a hook of a petal written for the guide at its start, and for it to "
        "register a handler.",
        unit="s",
        check=positive_seconds,
    )
    watchdog: float = setting(
        1.0,
        "Report a handler that blocks the event loop for so long; 0 for never.",
        unit="s",
        check=seconds,
    )
    flush_timeout: float = setting(
        5.0, "Longest time for sending what is in the outbox at a stop.", unit="s", check=seconds
    )
