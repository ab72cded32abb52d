"""A request on its way: nobody waits for who has ended, and all that came is read."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from petalkit.compat._http.inbox import EVENTS_MAX, Inbox

pytestmark = pytest.mark.trio
PART = {"type": "http.request", "body": b"x", "more_body": True}
GONE = {"type": "http.disconnect"}


async def fill(inbox: Inbox) -> None:
    for _ in range(EVENTS_MAX):
        await inbox.put(PART)


async def test_a_sender_waits_while_too_many_wait(nursery: Any) -> None:
    inbox = Inbox()
    await fill(inbox)
    nursery.start_soon(inbox.put, {**PART, "body": b"last"})
    await wait_all_tasks_blocked()
    for _ in range(EVENTS_MAX):
        assert (await inbox.get())["body"] == b"x"
    assert (await inbox.get())["body"] == b"last"


async def test_a_disconnect_does_not_wait_and_comes_last() -> None:
    inbox = Inbox()
    await fill(inbox)
    with trio.fail_after(1):
        await inbox.put(GONE)
        await inbox.put(PART)  # dropped: nothing comes behind it
    found = [(await inbox.get())["type"] for _ in range(EVENTS_MAX + 2)]
    assert found == ["http.request"] * EVENTS_MAX + ["http.disconnect"] * 2


async def test_nobody_waits_for_an_application_that_has_ended(nursery: Any) -> None:
    """Hypercorn's own channel would leave the connection's reader there for ever."""
    inbox = Inbox()
    await fill(inbox)
    ended = trio.Event()

    async def put() -> None:
        await inbox.put(PART)
        ended.set()

    nursery.start_soon(put)
    await wait_all_tasks_blocked()
    assert not ended.is_set()
    inbox.close()
    with trio.fail_after(1):
        await ended.wait()
        await inbox.put(PART)
