"""Counters: everything that happened is in one of them, and each is documented."""

from __future__ import annotations

import ast
import inspect
import itertools

import attrs
import pytest
import trio

from petalkit import CommandError, Petal, Settings, Statistics, command
from petalkit._values import statistics as module
from petalkit.testing import open_harness

from .recorder import Recorder, settle


def test_every_counter_is_documented() -> None:
    (body,) = [
        node.body
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.ClassDef) and node.name == "Statistics"
    ]
    documented = {
        node.target.id
        for node, after in itertools.pairwise(body)
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and isinstance(after, ast.Expr)
    }
    assert documented == {field.name for field in attrs.fields(Statistics)}


@pytest.mark.trio
async def test_statistics_are_a_frozen_value(autojump_clock: object) -> None:
    async with open_harness(Recorder()) as harness:
        before = harness.statistics()
        await harness.call("rec/nope")
        assert before.refused == {}
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            before.received = 5  # type: ignore[misc]
        assert harness.statistics().refused == {"UNKNOWN_COMMAND": 1}


class Inventive(Petal):
    name = "inventive"

    @command("fail")
    async def fail(self, code: str) -> None:
        raise CommandError(code, "no")


@pytest.mark.trio
async def test_codes_that_a_petal_invents_do_not_grow_without_end(autojump_clock: object) -> None:
    async with open_harness(Inventive()) as harness:
        for n in range(210):
            await harness.call("inventive/fail", {"code": f"E-{n}"})
        await harness.call("inventive/fail", {"code": "E-7"})
        await harness.call("inventive/fail", {"code": "NO_RESPONSE"})
        await harness.call("inventive/fail", {})
        failed = harness.statistics().failed
    assert len(failed) == 203
    assert failed["E-7"] == 2
    assert failed["OTHER"] == 10
    assert failed["NO_RESPONSE"] == failed["INVALID_DATA"] == 1


@pytest.mark.trio
async def test_a_long_code_is_counted_and_not_kept(autojump_clock: object) -> None:
    async with open_harness(Inventive()) as harness:
        await harness.call("inventive/fail", {"code": "E" * 101})
        await harness.call("inventive/fail", {"code": "E" * 100})
        assert harness.statistics().failed == {"OTHER": 1, "E" * 100: 1}


@pytest.mark.trio
async def test_they_say_how_it_stands(autojump_clock: object) -> None:
    petal = Recorder()
    settings = Settings(petal_concurrency=1, channel_capacity=2)
    async with open_harness(petal, settings=settings, organization_id=None) as harness:
        statistics = harness.statistics()
        assert (statistics.connected, statistics.identity_known) == (False, False)
        await harness.set_organization("acme")
        await harness.wait_connected()
        for n in range(5):
            harness.send("rec/hold", {"n": n})
            await settle()
        statistics = harness.statistics()
        assert (statistics.connected, statistics.identity_known) == (True, True)
        assert (statistics.running, statistics.waiting, statistics.held) == (1, 2, 2)
        assert statistics.waiting_bytes > 100
        petal.open()
        await settle()
        statistics = harness.statistics()
        assert (statistics.running, statistics.waiting, statistics.held) == (0, 0, 0)
        assert (statistics.waiting_bytes, statistics.outbox, statistics.outbox_bytes) == (0, 0, 0)


@pytest.mark.trio
async def test_every_delivery_is_accounted_for(autojump_clock: object) -> None:
    petal = Recorder()
    settings = Settings(petal_concurrency=2, channel_capacity=5, overflow="drop-oldest")
    async with open_harness(petal, settings=settings) as harness:
        for n in range(40):
            harness.send("rec/hold", {"n": n}, message_id=f"m{n % 30}")
            if n % 4 == 0:
                harness.send("rec/nope")
                harness.send_raw(b"no json")
                harness.send("rec/note", {"n": "x"})
            await settle()
        petal.open()
        await settle()
        await trio.sleep(1)
        counted = harness.statistics()
        assert counted.received == 40 + 3 * 10
        assert counted.received == (
            counted.accepted
            + sum(counted.refused.values())
            + counted.duplicates_joined
            + counted.duplicates_answered
            + counted.unexpected_topic
        )
        assert counted.accepted == counted.succeeded + sum(counted.failed.values())
