"""The hash of schemas: the same in every process, another for everything that callers rely on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from petalkit._authoring.schemas import fingerprint


def test_the_order_in_which_python_has_made_a_type_does_not_count() -> None:
    """`List` keeps the first of two that are equal, and gives it for both."""
    one = {"type": "object", "required": ["a", "b"], "properties": {"a": {"anyOf": [{}, {"x": 1}]}}}
    two = {"required": ["b", "a"], "properties": {"a": {"anyOf": [{"x": 1}, {}]}}, "type": "object"}
    assert fingerprint("command", "a", one, None) == fingerprint("command", "a", two, None)
    # What is a value, or only looks like a keyword, keeps its order.
    defaults = [{"default": {"enum": [1, 2]}}, {"default": {"enum": [2, 1]}}]
    found = {fingerprint("command", "a", one, None) for one in defaults}
    assert len(found) == 2


PROGRAM = """
import sys
from typing import List, Literal
if len(sys.argv) > 1:
    List[str | int], List[Literal["b", "a"]]
import attrs
from petalkit import Petal, command
from petalkit._serving.petals.descriptions import schema_hash
from petalkit._authoring.registry import build_table

@attrs.frozen
class Pose:
    x: List[int | str]
    frame: List[Literal["a", "b"]] = attrs.field(factory=list)
    seen: frozenset[str] = frozenset({"north", "south", "east", "west"})

class Example(Petal):
    name = "example"
    @command("go")
    async def go(self, pose: Pose) -> List[int | str]:
        return pose.x

print(schema_hash(build_table([Example()])))
"""


@pytest.mark.process
def test_every_process_finds_the_same_hash() -> None:
    def run(seed: str, *arguments: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout

    assert len({run("1"), run("2"), run("3", "other order")}) == 1
