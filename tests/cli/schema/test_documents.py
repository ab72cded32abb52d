"""JSON Schemas and the AsyncAPI document: whole, valid, and the same each time."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from petalkit import Job, Petal, Settings, command, job, stream
from petalkit._authoring.jobs.options import CANCEL, RESULT, STATUS, SUBSCRIBE, UNSUBSCRIBE
from petalkit._serving.jobs.commands.declared import declared_table
from petalkit._serving.petals.descriptions import describe, describe_petal
from petalkit.cli._schema.asyncapi import Where
from petalkit.cli._schema.command import Format, Wanted, make_files
from petalkit.cli._schema.contract import Contract, read_contract

from .conftest import PROGRAMS, Node, contract_of, files_of
from .programs.camera import CameraPetal
from .test_hostile import hostile

FORMATS: tuple[Format, ...] = ("asyncapi", "json-schema", "typescript", "python")


def document(contract: Contract, kind: Format) -> Any:
    (text,) = make_files(contract, Wanted(kind), in_folder=False).values()
    return json.loads(text)


def test_json_schemas_of_commands_jobs_and_streams(camera: Contract) -> None:
    found = document(camera, "json-schema")
    assert list(found["commands"]) == [
        "camera/count-exposures",
        "camera/expose",
        "camera/import",
        "camera/import_",
    ]
    data = found["commands"]["camera/expose"]["data"]
    assert data["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert data["properties"]["milliseconds"] == {"type": "integer", "minimum": 1}
    assert data["required"] == ["milliseconds"]
    scan = found["jobs"]["camera/scan"]
    assert list(scan) == ["data", "start", "progress", "result"]
    assert scan["start"]["required"] == ["job_id", "state"]
    assert "cancelling" in scan["progress"]["properties"]["state"]["enum"]
    assert scan["result"]["$defs"]["Scanned"]["properties"] == {"frames": {"type": "integer"}}
    assert list(found["streams"]) == ["camera/focus", "camera/short"]
    assert list(found["streams"]["camera/focus"]) == ["value"]


def test_in_a_folder_each_schema_has_a_file(camera: Contract) -> None:
    files = files_of(camera, "json-schema")
    assert [name for name in files if "scan" in name] == [
        f"jobs/camera-scan.{part}.json" for part in ("data", "start", "progress", "result")
    ]
    for kind, parts in document(camera, "json-schema").items():
        if not isinstance(parts, dict):
            continue
        for name, schemas in parts.items():
            for part, schema in schemas.items():
                (own,) = (
                    json.loads(text)
                    for path, text in files.items()
                    if path.startswith(f"{kind}/")
                    and json.loads(text)["title"] == f"{name}: {part}"
                )
                assert {**own, **schema} == own


def test_asyncapi_has_an_operation_for_each_command_with_its_replies(camera: Contract) -> None:
    found = document(camera, "asyncapi")
    titles = {one.get("title"): one for one in found["operations"].values()}
    beside = {f"camera/{verb}_scan" for verb in (SUBSCRIBE, UNSUBSCRIBE, CANCEL, STATUS, RESULT)}
    assert {"camera/expose", "camera/scan", "camera/subscribe_focus", *beside} < set(titles)
    expose = titles["camera/expose"]
    assert (expose["action"], expose["channel"]) == ("receive", {"$ref": "#/channels/command"})
    assert [one["$ref"].rpartition("/")[2] for one in expose["reply"]["messages"]] == [
        "CameraExposeResponse",
        "Failure",
    ]
    assert titles["/camera/publish_scan"]["action"] == "send"
    address = found["channels"]["web"]["address"]
    assert address == "org/{organizationId}/device/{deviceId}/command/web"


def test_asyncapi_has_the_topics_of_the_settings(camera: Contract) -> None:
    settings = Settings(
        organization_id="acme", base_topic="fleet/{device_id}", response_topic="answers"
    )
    wanted = Wanted("asyncapi", where=Where.of(settings, "d-1"))
    (text,) = make_files(camera, wanted, in_folder=False).values()
    channel = json.loads(text)["channels"]["response"]
    assert channel["address"] == "fleet/{deviceId}/answers"
    assert channel["parameters"] == {"deviceId": {"examples": ["d-1"]}}


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            if key == "$ref" and isinstance(one, str):
                yield one
            else:
                yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


@pytest.mark.parametrize("which", ["camera", "hostile"])
def test_each_reference_of_the_asyncapi_document_leads_somewhere(
    which: str, camera: Contract
) -> None:
    found = document(camera if which == "camera" else hostile(), "asyncapi")
    for reference in set(references(found)):
        place = found
        for key in reference.removeprefix("#/").split("/"):
            place = place[key]


@pytest.mark.npm
@pytest.mark.process
def test_asyncapis_own_parser_finds_nothing_wrong(
    node: Node, camera: Contract, tmp_path: Path
) -> None:
    folder = node.project(tmp_path / "project", {})
    (folder / "asyncapi.mjs").write_text((PROGRAMS / "asyncapi.mjs").read_text("utf-8"))
    for name, contract in (("camera", camera), ("hostile", hostile(1))):
        (text,) = files_of(contract, "asyncapi").values()
        (folder / f"{name}.json").write_text(text)
    (folder / "bad.json").write_text(
        (folder / "camera.json").read_text().replace('"action": "receive"', '"action": "take"')
    )
    done = node.run(["asyncapi.mjs", "camera.json", "hostile.json", "bad.json"], folder)
    good, evil, bad = map(json.loads, done.stdout.splitlines())
    assert (good["wrong"], good["version"]) == ([], "3.0.0")
    assert good["operations"] == len(document(camera, "asyncapi")["operations"])
    assert evil["wrong"] == []
    assert bad["wrong"]


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_input_makes_the_same_bytes_in_whatever_order(kind: Format) -> None:
    petal = CameraPetal()
    table = declared_table([petal])
    described = describe_petal(petal)
    kinds = {
        "commands": [describe(one) for one in table.commands],
        "jobs": [describe(one) for one in table.jobs],
        "streams": [describe(one) for one in table.streams],
    }
    seen = set[str]()
    for seed in range(5):
        for one in kinds.values():
            random.Random(seed).shuffle(one)
        contract = read_contract([{**described, **kinds}], "ab")
        seen.add(json.dumps(dict(make_files(contract, Wanted(kind), in_folder=True))))
    assert len(seen) == 1


@pytest.mark.parametrize("kind", FORMATS)
def test_what_was_made_says_of_what(kind: Format, camera: Contract) -> None:
    (text,) = make_files(camera, Wanted(kind), in_folder=False).values()
    assert f"Schema hash: {camera.schema_hash}" in text
    assert len(camera.schema_hash) == 32


def test_what_is_called_the_same_and_is_another_has_two_types() -> None:
    def petals() -> Iterator[Petal]:
        for name, kind in (("one", int), ("two", str), ("three", int)):
            place = attrs.make_class("Place", {"x": attrs.field(type=kind)})
            yield _of(name, place)

    files = files_of(contract_of(*petals()), "typescript")
    found = re.findall(r"export interface (\w*Place\w*) \{\n  x: (\w+);", files["client.ts"])
    assert sorted(found) == [("Place", "number"), ("TwoGoPlace", "string")]


def _of(petal: str, place: type) -> Petal:
    class Goes(Petal):
        name = petal

        async def go(self, to): ...

    Goes.go.__annotations__["to"] = place
    Goes.go = command("go")(Goes.go)  # type: ignore[method-assign]
    return Goes()


def test_a_command_of_which_there_is_only_the_name_takes_anything() -> None:
    contract = read_contract([], None, ["old/thing"])
    text = files_of(contract, "typescript")["client.ts"]
    assert "  thing(data?: OldThingData, options?: CallOptions): Promise<OldThingResult> {" in text
    assert "export type OldThingData = JsonObject;" in text


class Shared(Petal):
    """A job and a stream of one name, which a caller tells apart."""

    name = "shared"

    @job("pose")
    async def pose(self, job: Job) -> None: ...

    @stream("pose_")
    async def pose_(self) -> Any:
        yield {}


def test_no_two_have_one_name() -> None:
    text = files_of(contract_of(Shared()), "typescript")["client.ts"]
    found = re.findall(r"^  (pose\w*)\(", text, re.MULTILINE)
    assert len(found) == len(set(found)) == 2
