"""When a delivery is acknowledged, of the table in `ledger/acknowledgement.py`."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from petalkit import Settings
from petalkit._serving.ledger.acknowledgement import Acknowledgements
from petalkit.transports import AckWindow, Delivery


@attrs.define
class Running:
    deliveries: tuple[Delivery, ...] = ()
    recorded: bool = True
    on_disk: bool = False
    finished: bool = False


@pytest.mark.parametrize(
    ("acknowledge", "session_ends", "acknowledged"),
    [
        ("accepted", False, True),
        ("handled", False, False),
        # Its acceptance was waited for, as for every command of a session that is about to end.
        ("handled", True, True),
    ],
)
def test_a_running_command_whose_record_the_disk_has_lost(
    acknowledge: Any, session_ends: bool, acknowledged: bool
) -> None:
    sent: list[str] = []
    window = AckWindow(lambda: sent.append("PUBACK"))
    acknowledgements = Acknowledgements(Settings(acknowledge=acknowledge), lambda one: one.ack())
    acknowledgements.session_begins(kept=True)
    delivery = Delivery("t", b"", qos=1, window=window, packet_id=1)
    command = Running()
    acknowledgements.owe(command, delivery)
    if session_ends:
        acknowledgements.session_ends()
    assert not sent
    command.recorded = False
    acknowledgements.unrecorded(command)
    assert bool(sent) is acknowledged
