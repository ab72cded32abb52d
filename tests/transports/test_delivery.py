"""What a link keeps of what it has handed over."""

from __future__ import annotations

import tracemalloc

from petalkit.transports._delivery import AckWindow, Delivery


def test_an_acknowledgement_that_waits_for_its_turn_keeps_no_bytes() -> None:
    """Thousands may wait behind one that is not given."""
    window = AckWindow(lambda: None)
    first = Delivery("t", b"", qos=1, window=window, packet_id=1)
    tracemalloc.start()
    try:
        for packet_id in range(2, 102):
            Delivery("t", bytes(100_000), qos=1, window=window, packet_id=packet_id).ack()
        current, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert current < 200_000
    assert len(window) == 101
    first.ack()
    assert window.take_ready() == list(range(1, 102))
