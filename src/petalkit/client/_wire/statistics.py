"""What a client has counted: nothing that comes is dropped without a number here."""

from __future__ import annotations

import attrs


@attrs.define
class Counters:
    """The running totals of one client. Only ever counted up."""

    calls: int = 0
    answered: int = 0
    timeouts: int = 0
    late: int = 0
    unreadable: int = 0
    misdirected: int = 0
    sent_again: int = 0
    retried: int = 0
    links: int = 0
    links_lost: int = 0
    dropped: int = 0
    devices_dropped: int = 0


@attrs.frozen(kw_only=True)
class ClientStatistics:
    """What `Client.statistics()` returns: totals since it was opened, and how it stands now."""

    calls: int
    """Commands of which an answer was wanted, each try of a call by itself."""
    answered: int
    """Those that got theirs, a `no` too."""
    timeouts: int
    """Those that were given up because their time was over."""
    late: int
    """Answers to commands of this client for which nobody waited any more, and second ones."""
    unreadable: int
    """Messages that say nothing that can be understood: no JSON, too large, or without a sense."""
    misdirected: int
    """Answers that came from another device than the one that was asked; nobody gets them."""
    sent_again: int
    """Commands sent once more under the same `messageId`, after a link was lost."""
    retried: int
    """Calls tried once more after a `no` that can become a yes."""
    links: int
    """Links to the broker that were ready."""
    links_lost: int
    """Links that were lost, not left."""
    dropped: int
    """Events, values and reports that nobody had read when newer ones needed their place."""
    devices_dropped: int
    """Devices of which nothing is kept, because there are more than `call_devices`."""
    waiting: int
    """Calls that wait for their answers now."""
    readers: int
    """Jobs, streams and readers of events that are open now."""
    connected: bool
    """Whether there is a link now."""
