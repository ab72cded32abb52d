"""What a page of the console asks: JSON over its WebSocket."""

from __future__ import annotations

import contextlib

from petalkit.cli._console.asked import (
    CALL_TIMEOUT_MAX,
    NAME_MAX,
    Call,
    NotUnderstood,
    Open,
    Unwatch,
    Watch,
    arguments_of,
    read_asked,
)


def asked(data: bytes) -> None:
    """It is one of the questions, within its bounds, or nothing that is understood."""
    try:
        found = read_asked(data)
    except NotUnderstood:
        return
    match found:
        case Call():
            assert 0 < found.timeout <= CALL_TIMEOUT_MAX
            assert 0 <= found.id < 2**53  # which JavaScript does not round
            with contextlib.suppress(NotUnderstood):
                assert type(arguments_of(found)) is dict
            names = [found.device, found.command]
        case Open():
            names = [found.device]
        case Watch():
            assert 0 < found.rate <= 100
            names = [found.stream]
        case Unwatch():
            names = [found.stream]
    assert all(0 < len(one) <= NAME_MAX for one in names)
