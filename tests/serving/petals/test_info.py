"""`petalkit/info`: what is served, with schemas, whatever there is of it; and its hash."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, Any

import attrs
import msgspec
import pytest
import trio

from petalkit import Job, Petal, Settings, command, job, stream
from petalkit.testing import open_harness

pytestmark = pytest.mark.trio

Altitude = Annotated[float, msgspec.Meta(ge=0, le=120)]


@attrs.frozen
class Fetched:
    """What has come of it."""

    files: int


class Flight(Petal):
    """Logs of flights."""

    name = "flight"
    version = "1.2.3"

    @command("climb")
    async def climb(self, to: Altitude) -> None:
        """Go up."""

    @job("fetch", queue=2)
    async def fetch(self, job: Job, count: Annotated[int, msgspec.Meta(ge=1)]) -> Fetched:
        """Fetch some."""
        return Fetched(count)

    @stream("position", max_rate=50)
    async def position(self) -> AsyncGenerator[dict[str, float]]:
        """Where it is."""
        yield {"x": 1.0}
        await trio.sleep_forever()


async def ask(*petals: Petal, payload_max: int = 131072, **data: Any) -> Any:
    async with open_harness(*petals, settings=Settings(payload_max=payload_max)) as harness:
        return dict(await harness.call("petalkit/info", data))


async def test_commands_jobs_and_streams_come_with_the_schemas_of_their_annotations(
    autojump_clock: object,
) -> None:
    found = await ask(Flight())
    assert found["complete"] is True
    (flight,) = found["petals"]
    assert (flight["name"], flight["version"], flight["doc"]) == (
        *("flight", "1.2.3", "Logs of flights."),
    )
    commands = {one["name"]: one for one in flight["commands"]}
    altitude = commands["flight/climb"]["data"]["properties"]["to"]
    assert (altitude["minimum"], altitude["maximum"]) == (0, 120)
    (fetch,) = flight["jobs"]
    assert fetch["data"]["properties"]["count"] == {"type": "integer", "minimum": 1}
    assert list(fetch["result"]["$defs"]["Fetched"]["properties"]) == ["files"]
    assert (fetch["options"]["queue"], fetch["options"]["lease"]) == (2, None)
    (position,) = flight["streams"]
    assert position["options"]["max_rate"] == 50
    assert position["value"]["additionalProperties"]["type"] == "number"
    # What the answer says exists, does.
    served = set(commands)
    assert served == set(found["commands"])
    assert {*fetch["commands"].values(), *position["commands"].values()} < served


async def test_what_nobody_has_written_says_what_it_belongs_to(autojump_clock: object) -> None:
    (flight,) = (await ask(Flight()))["petals"]
    found = {one["name"]: one.get("part_of") for one in flight["commands"]}
    assert found["flight/climb"] is None
    assert found["flight/fetch"] == {"verb": "start", "job": "flight/fetch"}
    assert found["flight/cancel_fetch"] == {"verb": "cancel", "job": "flight/fetch"}
    subscribe = {"verb": "subscribe", "stream": "flight/position"}
    assert found["flight/subscribe_position"] == subscribe
    assert found["flight/unsubscribe_all"] == {"verb": "unsubscribe_all", "stream": None}


async def test_one_petal_or_one_name_can_be_asked_for(autojump_clock: object) -> None:
    other = many(3)
    async with open_harness(Flight(), other) as harness:
        flight = await harness.call("petalkit/info", {"petal": "flight"})
        assert [one["name"] for one in flight["petals"]] == ["flight"]
        assert all(one.startswith("flight/") for one in flight["commands"])
        fetch = await harness.call("petalkit/info", {"command": "flight/fetch"})
        assert fetch["command"]["part_of"]["verb"] == "start"
        assert fetch["job"]["name"] == "flight/fetch"
        position = await harness.call("petalkit/info", {"command": "flight/position"})
        assert position["stream"]["name"] == "flight/position"
        names = await harness.call("petalkit/info", {"names": True})
        assert (names["jobs"], names["streams"]) == (["flight/fetch"], ["flight/position"])
        assert names["complete"] is True
        assert names["petals"][0] == {"name": "flight", "version": "1.2.3"}
        wrong = await harness.call("petalkit/info", {"command": "flight/fetsh"})
        assert (wrong["error_code"], "flight/fetch" in wrong["error"]) == ("UNKNOWN_COMMAND", True)
        nobody = await harness.call("petalkit/info", {"petal": "flght"})
        assert nobody["error_code"] == "INVALID_DATA"


def many(count: int, prefix: str = "many") -> Petal:
    async def handler(altitude: Altitude = 1.0, name: str = "") -> dict[str, Any]:
        """Do something, and say what has come of it: as many words as a doc has."""
        return {"altitude": altitude, "name": name}

    many = type("Many", (Petal,), {"name": prefix})()
    for number in range(count):
        many.add_command(f"command-number-{number:05}", handler)
    return many


async def test_thousands_of_commands_are_named_page_by_page(autojump_clock: object) -> None:
    async with open_harness(many(600), settings=Settings(payload_max=8192)) as harness:
        found = await harness.call("petalkit/info")
        assert found.success, found
        assert (found["complete"], "ask for one petal" in found["hint"]) == (False, True)
        names, pages = list(found["commands"]), 1
        while "next" in found:
            found = await harness.call("petalkit/info", {"after": found["next"]})
            names += found["commands"]
            pages += 1
        assert len(names) == len(set(names)) == 600
        assert pages == 3
        one = await harness.call("petalkit/info", {"command": names[471]})
        assert one["command"]["data"]["properties"]["altitude"]["maximum"] == 120
        wide = await harness.call("petalkit/info", {"petal": "many"})
        assert wide.success
        assert wide["complete"] is False


async def test_an_answer_fits_however_little_room_there_is(autojump_clock: object) -> None:
    petals = [many(1, f"petal-{number:03}") for number in range(100)]
    async with open_harness(*petals, settings=Settings(payload_max=4096)) as harness:
        found = await harness.call("petalkit/info")
        assert found.success, found
        assert found["petals_left_out"] == 100 - len(found["petals"])
        names = list(found["commands"])
        while "next" in found:
            found = await harness.call("petalkit/info", {"after": found["next"]})
            names += found["commands"]
        assert len(names) == 100


async def test_schemas_that_are_too_large_alone_are_left_out(autojump_clock: object) -> None:
    wide: Any = attrs.make_class("Wide", {f"f{n}": attrs.field(type=int) for n in range(500)})

    async def handler(data: Any) -> None:
        """Take a lot."""

    handler.__annotations__["data"] = wide
    petal = type("WidePetal", (Petal,), {"name": "wide"})()
    petal.add_command("wide", handler)
    found = await ask(petal, payload_max=8192, command="wide/wide")
    assert (found["complete"], found["command"]["data"]) == (False, None)
    assert "too large" in found["hint"]


# -- the hash


async def hash_of(petal: Petal) -> str:
    async with open_harness(petal) as harness:
        birth = harness.status()
        info = await harness.call("petalkit/info", {"names": True})
        assert birth is not None
        assert info["schema_hash"] == birth["schema_hash"]
        found: str = info["schema_hash"]
        return found


async def test_the_hash_is_another_when_a_name_a_schema_or_a_kind_is(
    autojump_clock: object,
) -> None:
    class Renamed(Flight):
        @command("rise")
        async def climb(self, to: Altitude) -> None: ...

    class Wider(Flight):
        @command("climb")
        async def climb(self, to: Annotated[float, msgspec.Meta(ge=0, le=121)]) -> None: ...

    class Answers(Flight):
        @command("climb")
        async def climb(self, to: Altitude) -> Fetched: ...  # type: ignore[override]

    class AsJob(Flight):
        @job("climb")
        async def climb(self, to: Altitude) -> None: ...

    class OtherValues(Flight):
        @stream("position")
        async def position(self) -> AsyncGenerator[dict[str, int]]:  # type: ignore[override]
            yield {"x": 1}

    found = [
        await hash_of(petal()) for petal in (Flight, Renamed, Wider, Answers, AsJob, OtherValues)
    ]
    assert len(set(found)) == len(found)


async def test_the_hash_is_the_same_for_what_says_the_same(autojump_clock: object) -> None:
    class Reworded(Flight):
        """In other words, at other limits, and in another order."""

        version = "9.9.9"

        @stream("position", max_rate=5)
        async def position(self) -> AsyncGenerator[dict[str, float]]:
            """Other words."""
            yield {"x": 1.0}

        @command("climb", timeout=3)
        async def climb(self, to: Altitude) -> None:
            """Other words."""

    assert await hash_of(Reworded()) == await hash_of(Flight())
