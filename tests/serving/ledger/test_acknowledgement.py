"""When a delivery is acknowledged, of the table in `ledger/acknowledgement.py`."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import attrs
import pytest

import petalkit
from petalkit import Settings
from petalkit._serving.ledger import acknowledgement
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
    acknowledgements = Acknowledgements(Settings(acknowledge=acknowledge), lambda then: then())
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


# Who acknowledges what a link has brought: the rule, the links themselves, and two who have a link
# of their own and serve nothing: a caller, and the doctor.
MAY_ACKNOWLEDGE = {
    "_serving/ledger/acknowledgement.py",
    "client/_wire/connection.py",
    "cli/_checks/broker/rights.py",
}


def _acknowledges(path: Path) -> bool:
    """Whether a module calls, or hands on, something's `ack`; a dialect's is another matter."""
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == "ack"
        and not ast.unparse(node.value).endswith("dialect")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
    )


def test_nobody_who_serves_acknowledges_but_by_the_rule() -> None:
    package = Path(petalkit.__file__).parent
    paths = [*package.rglob("*.py")]
    found = {path.relative_to(package).as_posix() for path in paths if _acknowledges(path)}
    assert {one for one in found if not one.startswith("transports/")} == MAY_ACKNOWLEDGE


def test_every_case_stands_in_the_table_and_every_row_has_its_method() -> None:
    rows = set(re.findall(r"^\|[^|]*\| `(\w+)` \|", acknowledgement.__doc__ or "", re.MULTILINE))
    methods = {name for name in vars(Acknowledgements) if not name.startswith("_")}
    # What becomes of the link, and of a command whose deliveries are owed: of the columns.
    others = {"session_begins", "session_ends", "comes_again", "come_no_more", "settle"}
    assert rows == methods - others - {"accepted", "unrecorded"}


@pytest.mark.parametrize(
    ("kept", "first_qos", "comes_again", "first_stays", "copy_stays"),
    [
        (True, 1, True, True, False),
        (True, 0, False, False, True),
        (True, 1, False, False, True),  # of a session that is gone
        (False, 1, False, True, False),  # nothing comes again: there is nothing to wait for
    ],
)
def test_of_what_is_parked_and_its_copy_the_one_that_comes_again_is_owed(
    kept: bool, first_qos: int, comes_again: bool, first_stays: bool, copy_stays: bool
) -> None:
    acknowledgements = Acknowledgements(Settings(), lambda then: then())
    acknowledgements.session_begins(kept=kept)
    window = AckWindow(lambda: None)
    first = Delivery("t", b"", qos=first_qos, window=window if first_qos else None, packet_id=1)
    copy = Delivery("t", b"", qos=1, window=window, packet_id=2)
    owed = acknowledgements.copy_of_parked(first, copy, comes_again=comes_again)
    assert owed is (copy if copy_stays else first)
    assert (not first.is_acked, not copy.is_acked) == (first_stays, copy_stays)
