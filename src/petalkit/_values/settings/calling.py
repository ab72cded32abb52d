"""Calling: what one client of `petalkit.client` has under way, and what it keeps."""

from __future__ import annotations

import attrs

from .checks import at_least, count
from .fields import setting


@attrs.frozen(kw_only=True, slots=False)
class CallingSettings:
    """Calling: what one client of `petalkit.client` has under way, and what it keeps."""

    call_concurrency: int = setting(
        1000,
        "Calls of one client that wait for their answers at once; more wait for their turn.",
        check=count,
    )
    call_retries: int = setting(
        3,
        "How often a call is sent again that was answered with a `no` that can become a yes, where "
        "that is safe.",
        check=at_least(0),
    )
    call_buffer: int = setting(
        1000,
        "Events, values of a stream or reports of a job that wait to be read, of each reader; the "
        "oldest make room.",
        check=count,
    )
    call_devices: int = setting(
        10_000, "Devices of which a client keeps what their `status` says.", check=count
    )
