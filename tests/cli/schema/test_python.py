"""The Python module: it is typed strictly, calls what it says, and holds callers to it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from petalkit import Petal, Settings, command, job
from petalkit.cli._schema.command import Wanted, make_files
from petalkit.cli._schema.contract import Contract
from petalkit.cli._schema.python import Flavor
from petalkit.client import InvalidRequest, JobCancelled, open_client
from petalkit.testing import MemoryTransport, open_harness

from .conftest import Mypy, contract_of
from .programs.camera import CameraPetal

TYPING = Path(__file__).parents[2] / "typing"
SETTINGS = Settings(organization_id="acme", device_id="Instance-1")


def module_text(contract: Contract, flavor: Flavor = "trio") -> str:
    (text,) = make_files(contract, Wanted("python", flavor), in_folder=False).values()
    return text


@pytest.mark.parametrize(("name", "flavor"), [("generated", "trio"), ("generated_sync", "sync")])
def test_it_is_what_the_type_checkers_look_at(camera: Contract, name: str, flavor: Flavor) -> None:
    """Made anew by: petalkit schema tests/cli/schema/programs/camera.py --format python."""
    text = (TYPING / f"{name}.py").read_text("utf-8")
    assert text == "# pyright: strict\n" + module_text(camera, flavor)


@pytest.fixture
def generated(camera: Contract, tmp_path: Path) -> Iterator[ModuleType]:
    path = tmp_path / "generated_client.py"
    path.write_text(module_text(camera), "utf-8")
    spec = importlib.util.spec_from_file_location("generated_client", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.trio
async def test_commands_jobs_and_streams(generated: ModuleType, autojump_clock: Any) -> None:
    async with open_harness(CameraPetal()) as harness:
        transport = MemoryTransport(harness.broker)
        async with open_client(SETTINGS, transport=transport) as client:
            device: Any = generated.Device(client)
            assert await device.is_current()
            exposed = await device.camera.expose({"milliseconds": 5, "mode": "manual"})
            assert (exposed["milliseconds"], exposed["mode"]) == (5, "manual")
            assert (await device.camera.count_exposures())["result"] == 1
            with pytest.raises(InvalidRequest):
                await device.camera.expose({"milliseconds": 0}, timeout=5)
            async with device.camera.scan({"frames": 3}, rate=50) as scan:
                assert [one.state async for one in scan.updates()][-1] == "succeeded"
                assert await scan.result() == {"frames": 3}
            async with device.camera.scan({"frames": 10_000}) as scan:
                await scan.cancel()
                with pytest.raises(JobCancelled):
                    await scan.result()
            async with device.camera.focus(rate=20) as values:
                assert (await anext(values))["sharpness"] == 0.5
            assert (await device.camera.import__333911ea())["success"] is True


@pytest.mark.trio
async def test_a_device_that_serves_something_else_is_found_out(
    generated: ModuleType, autojump_clock: Any
) -> None:
    class Another(Petal):
        name = "camera"

    async with open_harness(Another()) as harness:
        transport = MemoryTransport(harness.broker)
        async with open_client(SETTINGS, transport=transport) as client:
            assert not await generated.Device(client).is_current()


class Before(Petal):
    name = "gimbal"

    @command("turn")
    async def turn(self, angle: float, speed: float = 1.0) -> dict[str, float]:
        return {}

    @job("sweep")
    async def sweep(self) -> dict[str, float]:
        return {}


class Renamed(Before):
    @command("turn")
    async def turn(self, degrees: float, speed: float = 1.0) -> dict[str, float]:  # type: ignore[override]
        return {}


class Narrowed(Before):
    @command("turn")
    async def turn(self, angle: int, speed: float = 1.0) -> dict[str, float]:  # type: ignore[override]
        return {}


class AnotherResult(Before):
    @job("sweep")
    async def sweep(self) -> dict[str, str]:  # type: ignore[override]
        return {}


class Gone(Before):
    turn = None  # type: ignore[assignment]


USE = """
from petalkit.client import open_client
from client import Device


async def turn() -> float:
    async with open_client(organization_id="acme", device_id="Instance-1") as client:
        device = Device(client)
        await device.gimbal.turn({"angle": 30.5}, timeout=5)
        async with device.gimbal.sweep() as sweep:
            return (await sweep.result())["yaw"]
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("petal", "wanted"),
    [
        (Before, ""),
        (Renamed, 'Missing key "degrees" for TypedDict "GimbalTurnData"'),
        (Narrowed, 'TypedDict item "angle" has type "int"'),
        (AnotherResult, 'expected "float"'),
        (Gone, '"Gimbal" has no attribute "turn"'),
    ],
)
def test_code_for_an_older_petal_is_refused_by_mypy_with_the_new_client(
    petal: type[Petal], wanted: str, mypy: Mypy, tmp_path: Path
) -> None:
    (tmp_path / "client.py").write_text(module_text(contract_of(petal())))
    (tmp_path / "use.py").write_text(USE)
    done = mypy.run(tmp_path, "use.py")
    if not wanted:
        assert done.returncode == 0, done.stdout + done.stderr
    else:
        assert done.returncode == 1
        assert wanted in done.stdout, done.stdout


@pytest.mark.process
def test_mypy_takes_it_for_each_kind_of_program(
    camera: Contract, mypy: Mypy, tmp_path: Path
) -> None:
    for flavor in ("trio", "asyncio", "sync"):
        (tmp_path / f"client_{flavor}.py").write_text(module_text(camera, flavor))
    done = mypy.run(tmp_path, ".")
    assert done.returncode == 0, done.stdout
