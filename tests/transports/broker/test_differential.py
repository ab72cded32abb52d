"""The same stories told to our broker and to mosquitto: what clients see is the same.

`scripts/broker-stories` tells more of them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
import trio

from ...brokers import Mosquitto
from .conftest import Served
from .stories import Teller, differences, make_story

SEEDS = 30
AGAIN = 3  # times that a story is told which differs: a closed socket may be noticed late


@pytest.mark.trio
@pytest.mark.broker
@pytest.mark.parametrize("first", range(0, SEEDS, 10))
async def test_clients_see_the_same_of_ours_and_of_mosquitto(
    first: int, serve: Callable[..., AbstractAsyncContextManager[Served]], mosquitto: Mosquitto
) -> None:
    async with serve() as broker:
        for seed in range(first, first + 10):
            for _ in range(AGAIN):
                ours = await trio.to_thread.run_sync(Teller(broker.port).tell, seed)
                theirs = await trio.to_thread.run_sync(Teller(mosquitto.port).tell, seed)
                found = differences(ours, theirs)
                if not found:
                    break
            assert not found, f"seed {seed}:\n" + "\n".join(found)


def test_a_seed_is_one_story_and_stories_have_everything_in_them() -> None:
    assert make_story(7) == make_story(7)
    done = {step.what for seed in range(SEEDS) for step in make_story(seed)}
    assert done == {"connect", "subscribe", "unsubscribe", "publish", "disconnect", "drop"}
