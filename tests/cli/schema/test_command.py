"""`petalkit schema`: from a target or a device, to standard output, a file or a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from petalkit import Petal, Settings
from petalkit.cli._schema.command import Wanted, make_files
from petalkit.cli._schema.sources import contract_of_device
from petalkit.client import open_client
from petalkit.testing import MemoryTransport, open_harness

from ...brokers import Mosquitto
from ..conftest import RunCli
from ..programs import WHO, Program, Start
from .conftest import PROGRAMS, contract_of

CAMERA = str(PROGRAMS / "camera.py")


def test_to_standard_output(run_cli: RunCli) -> None:
    outcome = run_cli("schema", CAMERA, "--format", "json-schema")
    assert (outcome.code, outcome.err) == (0, "")
    assert "camera/expose" in json.loads(outcome.out)["commands"]


def test_to_a_file_or_a_folder(run_cli: RunCli, tmp_path: Path) -> None:
    one, folder = tmp_path / "one.ts", tmp_path / "src" / "petals"
    assert run_cli("schema", CAMERA, "--format", "typescript", "--output", str(one)).code == 0
    assert run_cli("schema", CAMERA, "--format", "typescript", "--output", f"{folder}/").code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["client.ts", "petalkit.ts"]
    assert one.read_text().count("\nimport ") == 1
    assert len(one.read_text()) > len((folder / "petalkit.ts").read_text())
    again = run_cli("schema", CAMERA, "--format", "python", "--output", str(folder))
    assert (again.code, again.out) == (0, "")
    assert "class Camera:" in (folder / "client.py").read_text()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--format", "python"], "schema: of what? Write petalkit schema module:Petal"),
        ([CAMERA, "--device", "d", "--format", "python"], "schema: of what?"),
        ([CAMERA], "--format"),
        ([CAMERA, "--format", "yaml"], "yaml"),
        ([CAMERA, "--format", "python", "--timeout", "0"], "--timeout must be seconds above 0"),
        ([CAMERA, "--format", "python", "--output", "/no/where/x.py"], "--output /no/where/x.py"),
        (["--device", "a/b", "--format", "python"], "a/b"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], wanted: str, run_cli: RunCli) -> None:
    outcome = run_cli("schema", *arguments, "--organization-id", "acme")
    assert outcome.code == 2
    assert outcome.out == ""
    assert wanted in outcome.err
    assert outcome.err.startswith("petalkit: error: ")
    assert outcome.err.count("\n") == 1


@pytest.mark.broker
@pytest.mark.process
def test_a_device_says_what_its_petal_says(
    start: Start, mosquitto: Mosquitto, run_cli: RunCli
) -> None:
    device: Program = start("run", CAMERA, "--broker", mosquitto.url, "--journal", "off", *WHO)
    device.wait_line("subscribed|online|ready|connected")
    where = ["--broker", mosquitto.url, "--organization-id", "acme", "--timeout", "30"]
    for kind in ("json-schema", "typescript", "python"):
        of_petal = run_cli("schema", CAMERA, "--format", kind)
        of_device = run_cli("schema", "--device", "Instance-1", "--format", kind, *where)
        assert (of_device.code, of_device.err) == (0, "")
        assert of_device.out == of_petal.out
    asyncapi = run_cli("schema", "--device", "Instance-1", "--format", "asyncapi", *where)
    parameters = json.loads(asyncapi.out)["channels"]["command"]["parameters"]
    assert parameters["deviceId"] == {"examples": ["Instance-1"]}
    gone = run_cli("schema", "--device", "nobody", "--format", "python", *where[:-1], "0.3")
    assert gone.code == 2
    assert "no answer to 'petalkit/info' within 0.3 s" in gone.err
    assert "petalkit: next: `petalkit doctor" in gone.err
    assert "--device-id nobody" in gone.err.splitlines()[-1]


def test_a_device_that_cannot_be_asked_is_the_doctors_to_look_for(run_cli: RunCli) -> None:
    broker = "mqtt://127.0.0.1:1"  # where nobody listens
    where = ("--broker", broker, "--organization-id", "acme")
    gone = run_cli("schema", "--device", "nobody", "--format", "python", *where)
    assert gone.code == 2
    first, second = gone.err.splitlines()
    assert first.startswith(f"petalkit: error: {broker}: ")
    assert second == (
        f"petalkit: next: `petalkit doctor --broker {broker} --organization-id acme "
        "--device-id nobody` looks for the cause"
    )


class Wide(Petal):
    name = "wide"

    def __init__(self) -> None:
        for number in range(40):
            self.add_command(f"c{number}", self._serve)

    async def _serve(self, speed_of_the_vehicle: float, name_of_the_pilot: str = "") -> int:
        return 1


@pytest.mark.trio
async def test_a_device_that_cannot_say_all_at_once_is_asked_for_each(autojump_clock: Any) -> None:
    settings = Settings(organization_id="acme", device_id="Instance-1", payload_max=6000)
    whole = contract_of(Wide())
    async with open_harness(Wide(), settings=settings) as harness:
        transport = MemoryTransport(harness.broker)
        async with open_client(settings, transport=transport) as client:
            assert not (await client.info()).complete
            contract, left_out = await contract_of_device(client, 5)
    assert left_out == []
    assert contract.schema_hash == whole.schema_hash
    wanted = Wanted("python")
    found, expected = (make_files(one, wanted, in_folder=False) for one in (contract, whole))
    assert [line for line in found["client.py"].splitlines() if '"""' not in line] == [
        line for line in expected["client.py"].splitlines() if '"""' not in line
    ]
