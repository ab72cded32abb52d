"""A broker in this process, for tests: deterministic, in Trio's time.

    _session     one client's session, and the wire to it
    _observer    what a test sees of messages
    _routes      who gets what is published on a topic
    _retained    retained messages
    _faults      what it is to do wrong
    _views       what a test is told of it
    _core        the broker as its clients see it
    _broker      the broker as a test sees it: `MemoryBroker`
    _link        one connection: `MemoryLink`
    _transport   `MemoryTransport`

It may import the contract and the delivery among the transports. Begin with `_core`.
"""

from __future__ import annotations

from ._broker import MemoryBroker as MemoryBroker
from ._link import MemoryLink as MemoryLink
from ._observer import Observer as Observer
from ._transport import MemoryTransport as MemoryTransport
