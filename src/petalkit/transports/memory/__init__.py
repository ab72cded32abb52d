"""A broker in this process, for tests: deterministic, in Trio's time.

    _connection   the broker's end of a link, and the wire
    _observer     what a test sees of messages
    _faults       what it is to do wrong
    _views        what a test is told of it
    _core         the broker as its links see it
    _broker       the broker as a test sees it: `MemoryBroker`
    _link         one connection: `MemoryLink`
    _transport    `MemoryTransport`

It is a door to `_broker.core`, which does what a broker does. It may import that, the contract and
the delivery among the transports. Begin with `_core`.
"""

from __future__ import annotations

from ._broker import MemoryBroker as MemoryBroker
from ._link import MemoryLink as MemoryLink
from ._observer import Observer as Observer
from ._transport import MemoryTransport as MemoryTransport
