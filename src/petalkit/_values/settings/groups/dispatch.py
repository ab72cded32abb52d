"""Dispatch: how many commands run at once."""

from __future__ import annotations

import attrs

from ..checks import at_least, count, mqtt_text, seconds
from ..fields import setting


@attrs.frozen(kw_only=True, slots=False)
class DispatchSettings:
    """Dispatch: how many commands run at once."""

    concurrency: int = setting(64, "Commands running at once.", check=count)
    petal_concurrency: int = setting(16, "Commands of one petal running at once.", check=count)
    callers_max: int = setting(
        64,
        "Callers whose waiting commands are told apart in each line, so that each has its turn; "
        "what more callers send shares one turn. 0 for none: order of arrival.",
        check=at_least(0, at_most=10_000),
    )
    caller_property: str = setting(
        "caller",
        "User property by which a caller says who it is (MQTT 5); else its Response Topic tells, "
        "else the topic.",
        check=mqtt_text,
    )
    urgent_concurrency: int = setting(
        64, "Urgent and built-in commands running at once, beside all others.", check=count
    )
    urgent_redelivery_wait: float = setting(
        1.0,
        "Longest wait of an urgent command that the broker may have delivered before, until its "
        "record or its acknowledgement is safe: it may have killed the process. One that comes for "
        "the first time waits for nothing.",
        unit="s",
        check=seconds,
    )
