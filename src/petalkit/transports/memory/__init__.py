"""A broker in this process, for tests: deterministic, in Trio's time.

    _session     one client's session
    _broker      subscriptions, queues, retained messages, wills
    _transport   `MemoryBroker` and `MemoryTransport`

Begin with `_broker`.
"""

from __future__ import annotations

from ._transport import MemoryBroker as MemoryBroker
from ._transport import MemoryLink as MemoryLink
from ._transport import MemoryTransport as MemoryTransport
from ._transport import Observer as Observer
