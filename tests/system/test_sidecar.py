"""petalkit behind an external MQTT client over HTTP: real processes, a real broker, real faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from ..brokers import Mosquitto, free_port
from ..sidecar_client import SidecarProcess
from .conftest import Start
from .kit import BASE, LIMIT, WHO, Program, observe

pytestmark = [pytest.mark.trio, pytest.mark.process]

QUICK = ("--reconnect-delay-max", "0.5", "--sidecar-probe-interval", "1")
SLOW_PETAL = '''
"""One command at a time, each as long as it is told."""
import trio
from petalkit import Petal, command


class Slow(Petal):
    name = "slow"
    version = "1.0.0"

    @command("wait", exclusive=None, concurrency=1)
    async def wait(self, seconds: float, n: int = 0):
        with open("runs", "a") as file:
            file.write(f"{n}\\n")
        await trio.sleep(seconds)
        return {"n": n}
'''
GUIDE_PETAL = '''
"""A petal as the guide has it."""
from petalkit.compat import Petal


class OldPetal(Petal):
    name = "old-petal"
    version = "1.0.0"
    use_mqtt_proxy = True

    def startup(self):
        super().startup()
        self._mqtt_proxy = self._proxies.get("mqtt")

    async def _setup_mqtt_topics(self):
        self._mqtt_proxy.register_handler(self._master_command_handler)

    async def _master_command_handler(self, topic, message):
        if message["command"] == "old-petal/hello":
            await self._mqtt_proxy.send_command_response(
                message["messageId"], {"success": True, "message": "Hello"}
            )
'''


class Device:
    """One device: petalkit in a process, and where it is called back."""

    def __init__(self, program: Program, port: int) -> None:
        self.program = program
        self.port = port
        self.url = f"http://127.0.0.1:{port}/mqtt-callback"

    async def raw(self, data: bytes) -> bytes:
        """Send bytes, and read until the other end closes."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        got = b""
        async with stream:
            with trio.fail_after(LIMIT):
                await stream.send_all(data)
                async for part in stream:
                    got += part
        return got

    async def stats(self, client: httpx.AsyncClient) -> dict[str, Any]:
        found: dict[str, Any] = (await client.get(f"{self.url}/stats")).json()
        return found


@pytest.fixture
def sidecar(mosquitto: Mosquitto, tmp_path: Path) -> Any:
    """The stand-in, started."""
    with SidecarProcess(free_port(), mosquitto.url, tmp_path / "sidecar.log") as process:
        yield process


Run = Callable[..., Device]


@pytest.fixture
def run(start: Start, sidecar: SidecarProcess) -> Run:
    """Start `petalkit run` behind it."""

    def start_device(*arguments: str, targets: tuple[str, ...] = ("work.py:Work",)) -> Device:
        port = free_port()
        where = ("--sidecar-url", sidecar.url, "--callback-listen", f"127.0.0.1:{port}")
        program = start("run", *targets, *WHO, "--transport", "sidecar", *where, *QUICK, *arguments)
        return Device(program, port)

    return start_device


@pytest.mark.parametrize("age", ["0.2", "0.1"])
async def test_commands_are_answered_and_the_device_says_that_it_comes_and_goes(
    age: str, mosquitto: Mosquitto, sidecar: SidecarProcess, run: Run
) -> None:
    await sidecar.ready()
    await sidecar.faults(age=age)
    async with observe(mosquitto.url) as observer:
        device = run()
        await device.program.connected()
        answer = await observer.call("work/echo", "a", n=3)
        assert (answer["success"], answer["n"]) == (True, 3)
        await observer.send("work/echo", "b", "command/edge", n=4)
        assert (await observer.answer("b"))["n"] == 4
        unknown = await observer.call("work/nothing", "c")
        assert unknown["error_code"] == "UNKNOWN_COMMAND"
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await device.stats(client))["accepted"] == 3
        device.program.process.terminate()
        assert await device.program.ended() == 0
        await observer.wait(lambda: observer.statuses() == ["online", "offline"])
        assert not (await sidecar.faults())["subscriptions"]


async def test_a_petal_of_the_guide_runs_beside_a_native_one(
    mosquitto: Mosquitto, sidecar: SidecarProcess, run: Run, folder: Path
) -> None:
    (folder / "old.py").write_text(GUIDE_PETAL)
    await sidecar.ready()
    async with observe(mosquitto.url) as observer:
        device = run("--host-compat", targets=("work.py:Work", "old.py:OldPetal"))
        await device.program.connected()
        assert (await observer.call("work/echo", "a", n=1))["n"] == 1
        assert (await observer.call("old-petal/hello", "b"))["message"] == "Hello"


async def test_a_sidecar_that_is_killed_and_started_again_loses_no_answer(
    mosquitto: Mosquitto, sidecar: SidecarProcess, run: Run
) -> None:
    await sidecar.ready()
    async with observe(mosquitto.url) as observer:
        device = run()
        await device.program.connected()
        await observer.send("work/wait", "a", seconds=2.0, n=1)
        async with httpx.AsyncClient(trust_env=False) as client:

            async def accepted() -> bool:
                return bool((await device.stats(client))["accepted"])

            while not await accepted():
                await trio.sleep(0.02)
        for number in range(4):  # more often than a message may lose links elsewhere
            sidecar.kill()
            await device.program.said("link lost", number + 1)
            sidecar.start()
            await sidecar.ready()
            await device.program.connected(number + 2)
        await observer.wait(lambda: "a" in observer.answers())
        # More than once where a kill came between a publish and the word of it: at least once.
        assert {answer["waited"] for answer in observer.answers()["a"]} == {2.0}
        assert (await observer.call("work/echo", "b", n=5))["n"] == 5
        assert "set aside" not in device.program.text


async def test_an_answer_waits_for_a_sidecar_that_has_no_broker(
    mosquitto: Mosquitto, sidecar: SidecarProcess, run: Run
) -> None:
    await sidecar.ready()
    async with observe(mosquitto.url) as observer:
        device = run()
        await device.program.connected()
        await sidecar.faults(no_broker="says")
        await observer.send("work/echo", "a", n=1)
        await device.program.said("has not taken a message")
        await sidecar.faults(no_broker="", status=500)
        await trio.sleep(0.5)
        await sidecar.faults(status=200)
        assert (await observer.answer("a"))["n"] == 1
        assert device.program.count("link lost") == 0


@pytest.mark.parametrize("how", ["says", "silent"])
async def test_good_health_before_its_broker_link_is_up(
    how: str, mosquitto: Mosquitto, sidecar: SidecarProcess, run: Run
) -> None:
    await sidecar.ready()
    await sidecar.faults(no_broker=how)
    async with observe(mosquitto.url) as observer:
        device = run()
        if how == "silent":
            await device.program.connected()
        else:
            with trio.fail_after(LIMIT):
                while not (await sidecar.faults()).get("/subscribe"):
                    await trio.sleep(0.02)
        await sidecar.faults(no_broker="")
        with trio.fail_after(LIMIT):
            while len((await sidecar.faults())["subscriptions"]) < 2:
                await trio.sleep(0.05)
        await device.program.connected()
        assert (await observer.call("work/echo", "a", n=1))["n"] == 1


async def test_what_is_delivered_twice_runs_once(
    mosquitto: Mosquitto, sidecar: SidecarProcess, run: Run, runs: Callable[[], list[int]]
) -> None:
    await sidecar.ready()
    await sidecar.faults(times=3)
    async with observe(mosquitto.url) as observer:
        device = run()
        await device.program.connected()
        await observer.flood("work/echo", [f"m{n}" for n in range(50)])
        await observer.wait(lambda: len(observer.answers()) == 50)
        async with httpx.AsyncClient(trust_env=False) as client:
            while (await device.stats(client))["accepted"] < 150:
                await trio.sleep(0.02)
        assert sorted(runs()) == list(range(50))


async def test_a_slow_sidecar_slows_and_breaks_nothing(
    mosquitto: Mosquitto, sidecar: SidecarProcess, run: Run
) -> None:
    await sidecar.ready()
    await sidecar.faults(slow=0.2)
    async with observe(mosquitto.url) as observer:
        device = run()
        await device.program.connected()
        await observer.flood("work/echo", [f"m{n}" for n in range(10)])
        await observer.wait(lambda: len(observer.answers()) == 10)
        assert device.program.count("link lost") == 0


async def test_garbage_is_refused_and_the_next_command_is_served(
    mosquitto: Mosquitto, sidecar: SidecarProcess, run: Run
) -> None:
    await sidecar.ready()
    async with observe(mosquitto.url) as observer, httpx.AsyncClient(trust_env=False) as client:
        device = run()
        await device.program.connected()
        url = f"{device.url}/callback"
        head = {"content-type": "application/json"}
        for body, status in (
            (b"", 400), (b"\x00\xff", 400), (b"[1,", 400), (b'{"topic":"x"}', 400),
            (b'{"topic":"x","payload":3}', 400),
            (b'{"topic":"x","payload":' + b"[" * 30_000, 400),
        ):  # fmt: skip
            assert (await client.post(url, content=body, headers=head)).status_code == status
        assert (await client.post(url, content=b"{}")).status_code == 415
        assert (await client.put(url, content=b"{}")).status_code == 405
        assert (await client.get(f"{device.url}/nothing")).status_code == 404
        with pytest.raises(httpx.HTTPError):
            (await client.get(device.url, headers={"x": "y" * 100_000})).raise_for_status()
        assert await device.raw(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
        request = (
            b"POST /mqtt-callback/callback HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/json"
        )
        large = request + b"\r\ncontent-length: 1000000\r\n\r\n" + b"x" * 1000
        assert b" 413 " in await device.raw(large)
        chunk = b"8000\r\n%b\r\n" % (b"x" * 0x8000)
        chunked = request + b"\r\ntransfer-encoding: chunked\r\n\r\n" + chunk * 9
        assert b" 413 " in await device.raw(chunked)
        # What is a message, but no command, is the runtime's to refuse.
        message = {"topic": f"{BASE}/command", "payload": {"command": 3, "messageId": "m"}}
        assert (await client.post(url, json=message)).status_code == 200
        assert (await observer.call("work/echo", "a", n=1))["n"] == 1
        stats = await device.stats(client)
        assert stats["refused"] == {
            "not JSON": 3, "wrong shape": 3, "too large": 2, "content type": 1,
        }  # fmt: skip
        assert "Traceback" not in device.program.text
        assert "xxxx" not in device.program.text


async def test_when_the_channel_is_full_the_sidecar_is_told_and_what_it_repeats_runs_once(
    mosquitto: Mosquitto,
    sidecar: SidecarProcess,
    run: Run,
    folder: Path,
    runs: Callable[[], list[int]],
) -> None:
    (folder / "slow.py").write_text(SLOW_PETAL)
    await sidecar.ready()
    await sidecar.faults(tries=100)
    full = ("--channel-capacity", "3", "--channel-reserve", "2", "--callback-timeout", "0.3")
    full += ("--journal", "off")  # which takes more
    async with observe(mosquitto.url) as observer, httpx.AsyncClient(trust_env=False) as client:
        device = run(*full, "--petal-concurrency", "1", targets=("slow.py:Slow",))
        await device.program.connected()
        names = [f"m{n}" for n in range(20)]
        await observer.flood("slow/wait", names, seconds=0.15)
        await observer.wait(lambda: len(observer.answers()) == 20)
        assert all(one["success"] for [one] in observer.answers().values())
        assert sorted(runs()) == list(range(20)), "one ran twice, or not at all"
        stats = await device.stats(client)
        assert stats["refused"]["full"] > 0
        assert stats["waiting"] == 0


async def test_with_hold_nothing_is_refused(
    mosquitto: Mosquitto,
    sidecar: SidecarProcess,
    run: Run,
    folder: Path,
    runs: Callable[[], list[int]],
) -> None:
    (folder / "slow.py").write_text(SLOW_PETAL)
    await sidecar.ready()
    full = ("--channel-capacity", "3", "--channel-reserve", "2", "--callback-timeout", "0.1")
    async with observe(mosquitto.url) as observer, httpx.AsyncClient(trust_env=False) as client:
        device = run(*full, "--callback-when-full", "hold", targets=("slow.py:Slow",))
        await device.program.connected()
        await observer.flood("slow/wait", [f"m{n}" for n in range(20)], seconds=0.1)
        await observer.wait(lambda: len(observer.answers()) == 20)
        assert sorted(runs()) == list(range(20))
        assert not (await device.stats(client))["refused"]


async def test_a_token_goes_both_ways_and_into_no_log(
    mosquitto: Mosquitto,
    sidecar: SidecarProcess,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PETALKIT_SIDECAR_TOKEN", "hunter2")
    await sidecar.ready()
    await sidecar.faults(token="hunter2")
    async with observe(mosquitto.url) as observer, httpx.AsyncClient(trust_env=False) as client:
        device = run("--log-level", "debug")
        await device.program.connected()
        assert (await observer.call("work/echo", "a", n=1))["n"] == 1
        message = {"topic": f"{BASE}/command", "payload": {"command": "work/echo"}}
        assert (await client.post(f"{device.url}/callback", json=message)).status_code == 401
        device.program.process.terminate()
        assert await device.program.ended() == 0
        assert "hunter2" not in device.program.text


async def test_connections_are_bounded_and_the_idle_ones_make_room(
    mosquitto: Mosquitto, sidecar: SidecarProcess, run: Run
) -> None:
    await sidecar.ready()
    async with observe(mosquitto.url) as observer, trio.open_nursery() as nursery:
        device = run("--callback-connections", "4")
        await device.program.connected()
        streams = [await trio.open_tcp_stream("127.0.0.1", device.port) for _ in range(30)]
        assert (await observer.call("work/echo", "a", n=1))["n"] == 1
        # The first are closed, for those that came later.
        with trio.fail_after(LIMIT):
            assert await streams[0].receive_some(10) == b""
        for stream in streams:
            nursery.start_soon(stream.aclose)


async def test_a_device_that_stops_finishes_what_runs(
    mosquitto: Mosquitto, sidecar: SidecarProcess, run: Run
) -> None:
    await sidecar.ready()
    async with observe(mosquitto.url) as observer:
        device = run()
        await device.program.connected()
        await observer.send("work/wait", "a", seconds=1.0)
        async with httpx.AsyncClient(trust_env=False) as client:
            while not (await device.stats(client))["accepted"]:
                await trio.sleep(0.02)
        device.program.process.terminate()
        assert (await observer.answer("a"))["waited"] == 1.0
        assert await device.program.ended() == 0


async def test_a_device_stops_in_time_although_the_sidecar_hangs(
    mosquitto: Mosquitto, sidecar: SidecarProcess, run: Run
) -> None:
    await sidecar.ready()
    device = run("--flush-timeout", "0.5", "--disconnect-timeout", "0.5")
    await device.program.connected()
    await sidecar.faults(hang=True)
    device.program.process.terminate()
    await device.program.ended(10)


async def test_the_port_is_taken(run: Run, sidecar: SidecarProcess, start: Start) -> None:
    await sidecar.ready()
    where = ("--sidecar-url", sidecar.url, "--callback-listen", f"127.0.0.1:{sidecar.port}")
    program = start("run", "work.py:Work", *WHO, "--transport", "sidecar", *where)
    assert await program.ended() != 0
    assert "callback_listen" in program.text
    assert "Traceback" not in program.text


async def test_a_caller_is_told_that_it_needs_a_broker(start: Start) -> None:
    program = start("call", "work/echo", '{"n": 1}', *WHO, "--transport", "sidecar")
    assert await program.ended() != 0
    assert "needs a connection to the broker itself" in program.text


async def test_it_comes_up_before_the_sidecar_and_before_the_broker(
    start_mosquitto: Callable[..., Mosquitto], run: Run, sidecar: SidecarProcess
) -> None:
    sidecar.kill()
    device = run()
    await device.program.said("not connected to http://127.0.0.1")
    async with httpx.AsyncClient(trust_env=False) as client:
        message = {"topic": f"{BASE}/command", "payload": {}}
        answer = await client.post(f"{device.url}/callback", json=message)
        assert (answer.status_code, json.loads(answer.content)["status"]) == (503, "error")
    sidecar.start()
    await device.program.connected()
