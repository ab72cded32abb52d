"""Dispatch: how many commands run at once."""

from __future__ import annotations

import attrs

from ..checks import count
from ..fields import setting


@attrs.frozen(kw_only=True, slots=False)
class DispatchSettings:
    """Dispatch: how many commands run at once."""

    concurrency: int = setting(64, "Commands running at once.", check=count)
    petal_concurrency: int = setting(16, "Commands of one petal running at once.", check=count)
    urgent_concurrency: int = setting(
        64, "Urgent and built-in commands running at once, beside all others.", check=count
    )
