"""Any story of a device keeps the promises.

A story is a list of what happens: commands and copies, crashes and restarts, a disk, a link and a
broker that fail. It is run on the in-process broker and a clock that jumps (`world.py`), and what
was seen is held against a reference model (`promises.py`). See there what is allowed.

`PETALKIT_MODEL_EXAMPLES` sets how many stories are made up; CI makes a few.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from .promises import KINDS
from .world import (
    Copy,
    Crash,
    DiskFails,
    DiskMended,
    LinkLost,
    Move,
    Operation,
    Pass,
    Refused,
    Release,
    Restart,
    Scene,
    Send,
    SessionLost,
    Settle,
    Steps,
    Swallow,
    Twice,
    run,
)

pytestmark = pytest.mark.exhaustive

EXAMPLES = settings(
    max_examples=int(os.environ.get("PETALKIT_MODEL_EXAMPLES", "300")),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

scenes = st.builds(
    Scene,
    capacity=st.sampled_from([1000, 1, 3]),
    reserve=st.sampled_from([32, 1]),
    petal_concurrency=st.sampled_from([16, 1, 2]),
    backlog=st.sampled_from([1000, 2, 0]),
    acknowledge=st.sampled_from(["accepted", "handled"]),
    overflow=st.sampled_from(["wait", "reject", "drop-oldest"]),
    protocol=st.sampled_from(["3.1.1", "5"]),
    window=st.sampled_from([20, 1, 3]),
    delay=st.sampled_from([0.0, 0.05]),
    grace=st.sampled_from([2.0, 0.0]),
    publish_maximum=st.sampled_from([100, 2]),
    order=st.integers(0, 20),
)
numbers = st.sampled_from([-1, -1, -2, 0, 1, 2])
copies = st.builds(Copy, of=numbers, wait=st.booleans(), variant=st.sampled_from([0, 0, 0, 1]))
releases = st.builds(Release, of=numbers)
steps = st.builds(Steps, st.integers(1, 3))
times = st.sampled_from([Settle(), Settle(), Steps(8), Pass(0.1), Pass(1.0), Pass(4.0), Pass(30.0)])
deaths = st.builds(
    Crash,
    when=st.sampled_from(["now", "before a write", "after a write"]),
    write=st.integers(1, 3),
    down=st.sampled_from([0.0, 1.0, 5.0]),
)
swallowed = st.sampled_from(["PUBACK", "client PUBACK", "SUBACK", "CONNACK"])
TROUBLES: list[st.SearchStrategy[Any]] = [
    copies,
    deaths,
    st.just(Restart()),
    st.just(DiskFails()) | st.just(DiskMended()),
    st.just(LinkLost()) | st.builds(Refused, st.integers(1, 3)),
    st.just(SessionLost()),
    st.builds(Swallow, swallowed, st.integers(1, 2)),
    st.just(Twice()),
    st.just(Move()),
]


@st.composite
def stories(draw: st.DrawFn) -> list[Operation]:
    """Bursts of things that happen nearly at once.

    Few kinds of commands and few kinds of trouble in one story, so that they meet.
    """
    kinds = draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=3, unique=True))
    troubles = draw(st.lists(st.sampled_from(TROUBLES), max_size=4, unique_by=id))
    sends = st.builds(
        Send,
        kind=st.sampled_from(kinds),
        petal=st.sampled_from("aab"),
        wait=st.booleans(),
        expires=st.sampled_from([None, None, None, 3.0]),
        by=st.sampled_from(["expiresAt", "property"]),
    )
    happens = st.one_of(sends, releases, steps, *troubles)
    burst = st.tuples(st.lists(happens, min_size=1, max_size=5), times)
    bursts = draw(st.lists(burst, max_size=8))
    return [each for burst, time in bursts for each in (*burst, time)]


@EXAMPLES
@given(scene=scenes, story=stories())
def test_any_story_keeps_the_promises(scene: Scene, story: list[Operation]) -> None:
    run(story, scene)
