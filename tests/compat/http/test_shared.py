"""Endpoints of petals that share a loop and its proxies: health, failures, the order of an end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import trio
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from petalkit.compat import BaseProxy, Petal, adapt, http_action
from petalkit.testing import Harness, open_harness

from .petals import MissionPetal, PagePetal, write_pages
from .test_served import HERE, LIMIT, wait_port

pytestmark = [pytest.mark.trio, pytest.mark.real_time]  # over loopback


class Radio:
    """Says what it is told to say."""

    made = 0
    said: BaseException | None = None

    def __init__(self) -> None:
        type(self).made += 1
        self.lock: asyncio.Lock | None = None

    async def start(self) -> None:
        self.lock = asyncio.Lock()

    async def health_check(self) -> dict[str, str]:
        assert self.lock is not None
        async with self.lock:
            await asyncio.sleep(0)
        if self.said is not None:
            raise self.said
        return {"status": "unhealthy"}


class RadioPetal(MissionPetal):
    @http_action("GET", "/radio")
    async def radio(self) -> bool:
        await self._proxies["radio"].health_check()
        return True


class AskingByName(MissionPetal):
    """Names no proxy in its code."""

    @http_action("GET", "/proxy/{name}")
    async def proxy(self, name: str) -> bool:
        return self._proxies.get(name) is not None


@asynccontextmanager
async def open_shared(
    *petals: Petal, **supplies: Any
) -> AsyncGenerator[tuple[Harness, httpx.AsyncClient]]:
    with trio.fail_after(LIMIT):
        adapted = adapt(*petals, **supplies)
        async with open_harness(*adapted, settings=HERE) as harness:
            port = await wait_port(adapted[0])
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:
                yield harness, client


async def proxies_of(client: httpx.AsyncClient) -> dict[str, Any]:
    said = (await client.get("/health/detailed")).json()["proxies"]
    return {name: one["status"] for name, one in said.items() if name != "mqtt"}


async def test_two_petals_use_one_proxy_by_http_in_the_loop_that_they_share() -> None:
    class Shared(Radio):
        made = 0

    one, two = RadioPetal("one"), RadioPetal("two")
    async with open_shared(one, two, proxy_factories={"radio": Shared}) as (_, client):
        for name in ("one", "two"):
            assert (await client.get(f"/petals/{name}/radio")).json() is True
        assert one._loop is two._loop
    assert Shared.made == 1


@pytest.mark.parametrize("how", ["proxy_factories", "proxy_factories_per_petal"])
@pytest.mark.parametrize("petals", [1, 2])
async def test_health_tells_of_proxies_that_were_made_and_makes_none(petals: int, how: str) -> None:
    class Lazy(Radio):
        made = 0

    asking = [AskingByName(f"petal-{n}") for n in range(petals)]
    supplies = {how: {"radio": Lazy}}
    async with open_shared(*asking, **supplies) as (_, client):
        assert await proxies_of(client) == {}
        assert Lazy.made == 0
        assert (await client.get("/petals/petal-0/proxy/radio")).json() is True
        assert await proxies_of(client) == {"radio": "unhealthy"}
        overview = (await client.get("/health/overview")).json()
        assert overview["status"] == "unhealthy"
    assert Lazy.made == 1


@pytest.mark.parametrize("said", [SystemExit(3), asyncio.CancelledError(), OSError("gone")])
async def test_whatever_a_health_check_raises_is_that_proxys(said: BaseException) -> None:
    class Broken(Radio):
        pass

    Broken.said = said
    supplies = {"proxies": {"lamp": type("Lamp", (), {"connected": True})()}}
    petals = RadioPetal("one"), RadioPetal("two")
    async with open_shared(*petals, proxy_factories={"radio": Broken}, **supplies) as (_, client):
        answer = await client.get("/health/detailed")
        assert answer.status_code == 200
        assert await proxies_of(client) == {"radio": "error", "lamp": "healthy"}


class Started(BaseProxy):
    """As the host's `redis`: its `is_ready` says that it was started, and no more."""

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    async def stop(self) -> None: ...


class Unstartable(Started):
    """Begins, and then finds its port taken."""

    async def start(self) -> None:
        await super().start()
        raise OSError("address in use")


class Unstarted(Started):
    async def start(self) -> None: ...


@pytest.mark.parametrize(
    ("proxy", "status"),
    [(Started, "unknown"), (Unstartable, "unhealthy"), (Unstarted, "unhealthy")],
)
async def test_a_proxy_is_not_healthy_because_it_was_started(
    proxy: type[BaseProxy], status: str
) -> None:
    petals = RadioPetal("one"), RadioPetal("two")
    async with open_shared(*petals, proxy_factories={"radio": proxy}) as (_, client):
        assert await proxies_of(client) == {"radio": status}


class Failing(RadioPetal):
    """Can be ended by HTTP, and tells when what."""

    @http_action("POST", "/stop")
    async def stop(self) -> None:
        asyncio.get_running_loop().stop()

    @http_action("POST", "/exit")
    async def exit(self) -> None:
        raise SystemExit(2)

    @http_action("POST", "/lost")
    async def lost(self) -> None:
        task = asyncio.create_task(asyncio.sleep(100))
        task.cancel()
        await task

    async def async_shutdown(self) -> None:
        self.seen.append("async_shutdown")


async def test_a_websocket_of_a_petal_that_has_failed_is_not_closed_as_if_all_were_well() -> None:
    petals = Failing("one"), RadioPetal("two")
    async with open_shared(*petals, proxy_factories={"radio": Radio}) as (_, client):
        address = f"127.0.0.1:{client.base_url.port}/petals/one"

        def use() -> Any:
            with connect(f"ws://{address}/ws/echo", open_timeout=5) as one:
                one.send("hello")
                assert one.recv(timeout=5) == "HELLO"
                httpx.post(f"http://{address}/stop", timeout=5)
                with pytest.raises(ConnectionClosed) as caught:
                    one.recv(timeout=5)
            return caught.value.rcvd

        assert (await trio.to_thread.run_sync(use)).code == 1011
        assert (await client.post("/petals/two/abort")).status_code == 200


async def test_calls_of_a_petal_that_fails_have_ended_before_it_is_told_to_shut_down() -> None:
    """What a call does as it is cancelled may need what async_shutdown closes."""

    class Slow(Failing):
        @http_action("POST", "/hold")
        async def hold(self) -> None:
            self.seen.append("hold")
            try:
                await self.ended.wait()
            finally:
                for _ in range(10):
                    await asyncio.sleep(0)  # cleanup that takes some steps
                self.seen.append("ended")

    petal = Slow("one")
    supplies = {"proxy_factories": {"radio": Radio}}
    async with open_shared(petal, RadioPetal("two"), **supplies) as (_, client):
        answers: list[int] = []

        async def hold() -> None:
            answers.append((await client.post("/petals/one/hold")).status_code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold)
            while petal.seen != ["hold"]:
                await trio.sleep(0.01)
            await client.post("/petals/one/stop")
        assert answers == [503]
        while "async_shutdown" not in petal.seen:
            await trio.sleep(0.01)
    assert petal.seen == ["hold", "ended", "async_shutdown"]


@pytest.mark.parametrize("path", ["exit", "lost"])
async def test_an_exit_in_an_endpoint_is_an_error_of_that_call_and_logged(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_shared(Failing("one")) as (_, client):
        answer = await client.post(f"/petals/one/{path}")
        assert (answer.status_code, answer.text) == (500, "Internal Server Error")
        assert (await client.post("/petals/one/abort")).status_code == 200
    assert f"petal 'one': POST /petals/one/{path} raised" in caplog.text
    assert ("SystemExit: 2" if path == "exit" else "CancelledError") in caplog.text


async def test_an_exit_in_inject_templates_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Exits(PagePetal):
        def inject_templates(self, templates: Any) -> None:
            raise SystemExit(2)

    write_pages(tmp_path)
    settings = attrs.evolve(HERE, compat_http_files=tmp_path)
    with trio.fail_after(LIMIT):
        [adapted] = adapt(Exits())
        async with open_harness(adapted, settings=settings) as harness:
            port = await wait_port(adapted)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                assert (await client.get("/static/page-petal/style.css")).status_code == 200
            assert harness.statistics().unavailable_petals == ()
    assert "inject_templates() raised SystemExit" in caplog.text
