"""What reason codes say of a message: each of the specification's, and some that nobody knows."""

from __future__ import annotations

import pytest

from petalkit import ConnectionLost
from petalkit.transports._reason_codes import Blame, Refusal, blame_of, refusal_of

NOT_OURS = [0x00, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x93, 0x96, 0x97, 0x98, *range(0x9C, 0xA3), 0xFE]


@pytest.mark.parametrize("code", [0x81, 0x82, 0x87, 0x90, 0x95, 0x99, 0x9A, 0x9B])
def test_what_a_broker_will_never_take(code: int) -> None:
    assert refusal_of(code) is Refusal.FINAL


@pytest.mark.parametrize("code", [0x80, 0x83, 0x91, 0x88, 0xFE])
def test_what_it_may_take_later_and_what_nobody_knows(code: int) -> None:
    assert refusal_of(code) is Refusal.LATER


def test_a_quota_is_about_more_than_this_message() -> None:
    assert refusal_of(0x97) is Refusal.ALL_LATER


@pytest.mark.parametrize("code", [0x81, 0x82, 0x87, 0x90, 0x94, 0x95, 0x99, 0x9A, 0x9B])
def test_a_disconnect_that_speaks_of_a_packet(code: int) -> None:
    assert blame_of(ConnectionLost(reason_code=code)) is Blame.LIKELY


@pytest.mark.parametrize("code", NOT_OURS)
def test_a_disconnect_about_anything_else(code: int) -> None:
    assert blame_of(ConnectionLost(reason_code=code)) is Blame.NONE


@pytest.mark.parametrize(
    "loss",
    [
        ConnectionLost(closed=True),
        ConnectionLost(reason_code=0x80),
        ConnectionLost(reason_code=0x83),
    ],
)
def test_an_end_that_says_nothing(loss: ConnectionLost) -> None:
    assert blame_of(loss) is Blame.PERHAPS


def test_an_end_by_this_side_or_the_network() -> None:
    assert blame_of(ConnectionLost("no PUBACK within 60 s")) is Blame.NONE


def test_a_session_that_was_taken_over_is_told_by_its_code() -> None:
    assert ConnectionLost(reason_code=0x8E).taken_over
    assert not ConnectionLost(reason_code=0x8B).taken_over
