"""The queue in which each caller has its turn."""

from __future__ import annotations

import random

import pytest

from petalkit import Properties, Settings
from petalkit._serving.dispatch.queueing.callers import Callers
from petalkit._serving.fair_queue import FairQueue
from petalkit._values.messages import NO_PROPERTIES

Item = tuple[str, int]


def queue_of(*items: Item, most: int = 64) -> FairQueue[Item]:
    queue: FairQueue[Item] = FairQueue(most)
    for item in items:
        queue.append(item[0], item)
    return queue


def drained(queue: FairQueue[Item]) -> list[Item]:
    taken = []
    while queue:
        taken.append(queue.popleft())
    return taken


def test_one_caller_has_the_order_of_arrival() -> None:
    items = [("loud", n) for n in range(100)]
    assert drained(queue_of(*items)) == items


def test_who_has_one_waits_for_few_of_who_has_many() -> None:
    queue = queue_of(*[("loud", n) for n in range(1000)], ("quiet", 0))
    assert drained(queue).index(("quiet", 0)) <= 3


def test_a_name_for_each_command_keeps_the_order_of_arrival_also_beyond_the_bound() -> None:
    queue: FairQueue[Item] = FairQueue(8)
    taken = []
    for n in range(200):  # three come for two that are taken
        queue.append(f"name {n}", ("same", n))
        if n % 3:
            taken.append(queue.popleft())
    taken += drained(queue)
    assert taken == [("same", n) for n in range(200)]


def test_such_a_caller_keeps_its_order_beside_others() -> None:
    queue: FairQueue[Item] = FairQueue(8)
    taken = []
    for n in range(300):
        queue.append(f"name {n}", ("same", n))
        queue.append("loud", ("loud", n))
        taken.append(queue.popleft())
    taken += drained(queue)
    for who in ("same", "loud"):
        assert [item for item in taken if item[0] == who] == [(who, n) for n in range(300)]


@pytest.mark.parametrize("most", [1, 2, 8, 64])
def test_whatever_names_are_invented_nobody_waits_longer_than_twice_as_by_arrival(
    most: int,
) -> None:
    """A hundred that come back again and again, and names for single commands among them."""
    queue: FairQueue[Item] = FairQueue(most)
    for n in range(1000):
        queue.append(f"forged {n % 100}" if n % 2 else f"once {n}", ("forger", n))
    queue.append("quiet", ("quiet", 0))
    more = 1000
    for taken in range(5000):
        if queue.popleft() == ("quiet", 0):
            assert taken <= 2 * 1000 + 2
            return
        queue.append(f"forged {more % 100}", ("forger", more))  # as fast as they are taken
        more += 1
    pytest.fail("it starved")


def test_the_callers_that_are_told_apart_are_bounded() -> None:
    queue = queue_of(*[(f"name {n}", n) for n in range(1000)], most=8)
    assert len(queue._queues) == 9
    assert len(queue) == 1000


@pytest.mark.parametrize("seed", range(20))
def test_each_callers_order_is_kept_whatever_happens(seed: int) -> None:
    chance = random.Random(seed)
    queue: FairQueue[Item] = FairQueue(chance.choice([1, 2, 4]))
    sent = dict.fromkeys("abcdef", 0)
    last = dict.fromkeys("abcdef", -1)
    inside: set[Item] = set()
    for _ in range(2000):
        what = chance.random()
        if what < 0.5:
            who = chance.choice("aaaabcdef")
            queue.append(who, (who, sent[who]))
            inside.add((who, sent[who]))
            sent[who] += 1
        elif queue and what < 0.9:
            taken = [queue.popleft()]
        elif queue and what < 0.95:
            found = queue.pop_ready(lambda item: item[0] != "a")
            taken = [] if found is None else [found]
        elif queue:
            odd = chance.choice("abcdef")
            inside -= set(queue.remove(lambda item, odd=odd: item[0] == odd))  # type: ignore[misc]
            taken = []
        else:
            taken = []
        if what >= 0.5:
            for who, n in taken:
                assert n > last[who]
                last[who] = n
                inside.remove((who, n))
        assert set(queue) == inside
        assert len(queue) == len(inside)
        assert bool(queue) is bool(inside)


def test_what_is_dropped_is_of_who_has_most() -> None:
    queue = queue_of(("quiet", 0), *[("loud", n) for n in range(10)])
    assert [queue.drop() for _ in range(9)] == [("loud", n) for n in range(9)]
    assert list(queue) == [("quiet", 0), ("loud", 9)]


# -- who it is


def test_a_caller_is_told_by_its_property_else_its_response_topic_else_the_topic() -> None:
    callers = Callers(Settings())
    both = Properties(response_topic="answers/1", user_properties=(("caller", "one"),))
    assert callers.of("t", both) == "one"
    other = Properties(response_topic="answers/1", user_properties=(("trace", "one"),))
    assert callers.of("t", other) == "answers/1"
    assert callers.of("t", Properties()) == "t"
    assert callers.of("t", NO_PROPERTIES) == "t"
    assert Callers(Settings(caller_property="trace")).of("t", other) == "one"


def test_where_callers_are_not_to_be_told_apart_all_are_one() -> None:
    callers = Callers(Settings(callers_max=0))
    assert callers.of("t", Properties(response_topic="a")) == callers.of("u", NO_PROPERTIES)
