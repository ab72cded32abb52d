"""Jobs: how many run, who may watch them, and how long their ends are kept."""

from __future__ import annotations

import attrs

from ..checks import count, seconds
from ..fields import setting


@attrs.frozen(kw_only=True, slots=False)
class JobSettings:
    """Jobs: how many run, who may watch them, and how long their ends are kept."""

    job_concurrency: int = setting(
        256, "Jobs of all petals running at once; a start beyond is answered `BUSY`.", check=count
    )
    job_results: int = setting(
        100, "Ended jobs that are remembered with their results, of each kind.", check=count
    )
    job_result_age: float = setting(
        86400.0, "How long the result of a job is remembered.", unit="s", check=seconds
    )
    subscriptions: int = setting(
        200, "Subscriptions to jobs and streams, all together; another is refused.", check=count
    )
    subscription_age: float = setting(
        3600.0,
        "How long a subscription lasts that nobody renews by subscribing again: its reader may be "
        "gone, and MQTT does not say so. To jobs it lasts at least until the last one has ended.",
        unit="s",
        check=seconds,
    )
