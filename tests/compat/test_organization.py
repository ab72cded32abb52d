"""`OrganizationManager`: who the device is, known now, late, or another from here on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from petalkit.compat import (
    OrganizationManager,
    adapt,
    get_organization_manager,
    set_organization_manager,
)
from petalkit.testing import open_harness

from .petals import GuidePetal

pytestmark = pytest.mark.trio


@pytest.fixture(autouse=True)
def fresh_manager() -> Iterator[None]:
    before = get_organization_manager()
    set_organization_manager(OrganizationManager())
    yield
    set_organization_manager(before)


async def test_what_it_knows_at_each_hook(autojump_clock: Any) -> None:
    seen: list[tuple[str | None, str | None]] = []

    class Look(GuidePetal):
        def startup(self) -> None:
            super().startup()
            self._look()

        async def _setup_mqtt_topics(self) -> None:
            await super()._setup_mqtt_topics()
            self._look()

        def _look(self) -> None:
            manager = get_organization_manager()
            seen.append((manager.organization_id, manager.machine_id))

    async with open_harness(*adapt(Look()), organization_id=None) as harness:
        await trio.sleep(10)
        await harness.set_organization("acme")
        await harness.wait_connected()
        await harness.call("example-petal/hello")
        info = get_organization_manager().organization_info
    assert seen == [(None, "1"), ("acme", "1")]
    assert (info.organization_id, info.machine_id) == ("acme", "1")
    assert info.last_updated > 0


async def test_waiting_for_it(autojump_clock: Any) -> None:
    waited: list[str | None] = []

    class Waiting(GuidePetal):
        def startup(self) -> None:
            super().startup()
            self.task = asyncio.create_task(self._wait())

        async def _wait(self) -> None:
            manager = get_organization_manager()
            waited.append(await manager.wait_for_organization_id(timeout=2))
            waited.append(await manager.wait_for_organization_id())
            waited.append(await manager.wait_for_organization_id())

    async with open_harness(*adapt(Waiting()), organization_id=None) as harness:
        await trio.sleep(33)
        assert waited == [None, None]  # two seconds, then thirty
        await harness.set_organization("acme")
        await trio.sleep(1)
    assert waited == [None, None, "acme"]


async def test_callbacks_hear_of_every_change_in_the_loop_of_their_petal(
    autojump_clock: Any,
) -> None:
    heard: list[tuple[str, str | None]] = []

    class Listening(GuidePetal):
        def startup(self) -> None:
            super().startup()
            get_organization_manager().register_callback(self._hear)

        async def _hear(self, organization_id: str | None) -> None:
            assert asyncio.get_running_loop() is self._loop
            heard.append((self.name, organization_id))

    petals = adapt(Listening("one"), Listening("two"))
    async with open_harness(*petals, organization_id=None) as harness:
        await trio.sleep(10)
        assert heard == []
        await harness.set_organization("acme")
        await trio.sleep(1)
        await harness.set_organization("other")
        await trio.sleep(60)
    assert sorted(heard) == [("one", "acme"), ("one", "other"), ("two", "acme"), ("two", "other")]


async def test_a_callback_does_not_hear_what_was_known_when_it_was_registered(
    autojump_clock: Any,
) -> None:
    """As in the host."""
    heard: list[str | None] = []

    class Listening(GuidePetal):
        async def async_startup(self) -> None:
            get_organization_manager().register_callback(self._hear)

        async def _hear(self, organization_id: str | None) -> None:
            heard.append(organization_id)

    async with open_harness(*adapt(Listening())) as harness:
        await trio.sleep(60)
        assert heard == []
        await harness.set_organization("other")
        await trio.sleep(60)
    assert heard == ["other"]


async def test_a_callback_that_was_unregistered_hears_nothing(autojump_clock: Any) -> None:
    heard: list[str | None] = []

    async def hear(organization_id: str | None) -> None:
        heard.append(organization_id)

    manager = get_organization_manager()
    manager.register_callback(hear)
    async with open_harness(*adapt(GuidePetal())) as harness:
        await harness.advance(1)
        manager.unregister_callback(hear)
        await harness.set_organization("other")
        await trio.sleep(60)
    assert heard == ["acme"]  # registered in no loop, and called in the first petal's


@pytest.mark.parametrize(
    "error", [LookupError("in a callback"), SystemExit("in a callback"),
              asyncio.CancelledError("in a callback")],
)  # fmt: skip
async def test_a_callback_that_fails_or_hangs_stops_nothing(
    error: BaseException, autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str | None] = []

    async def fail(organization_id: str | None) -> None:
        raise error

    async def hear(organization_id: str | None) -> None:
        heard.append(organization_id)
        await asyncio.sleep(100_000)

    class Listening(GuidePetal):
        def startup(self) -> None:
            super().startup()
            get_organization_manager().register_callback(fail)
            get_organization_manager().register_callback(hear)

    async with open_harness(*adapt(Listening()), organization_id=None) as harness:
        await harness.set_organization("acme")
        await trio.sleep(100)
        await harness.set_organization("other")
        await trio.sleep(100)
        await harness.wait_connected()
        assert (await harness.call("example-petal/hello")).success
    assert heard == ["acme", "other"]
    assert "in a callback" in caplog.text


async def test_a_plain_callback_is_called_in_a_thread() -> None:
    """In real time, and bounded."""
    import threading

    heard = threading.Event()
    threads: list[int] = []

    def hear(organization_id: str | None) -> None:
        threads.append(threading.get_ident())
        heard.set()

    class Listening(GuidePetal):
        def startup(self) -> None:
            super().startup()
            get_organization_manager().register_callback(hear)

    with trio.fail_after(30):
        async with open_harness(*adapt(Listening()), organization_id=None) as harness:
            await harness.set_organization("acme")
            assert await trio.to_thread.run_sync(heard.wait, 20)
    assert threads != [threading.get_ident()]
