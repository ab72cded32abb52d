"""What the user supplies to the petals of one `adapt()`: further proxies, and how they are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from .shelf import ProxyFactory, Shelf
from .together import Together


@attrs.frozen
class Supplies:
    """See the module.

    Attributes:
        objects: by name, as they are; None for one that petals have to do without.
        own_factories: called once for each petal that asks, in its loop.
        together: makes those that the petals share; None where there is nothing to share.
    """

    objects: Mapping[str, Any]
    own_factories: Mapping[str, ProxyFactory]
    together: Together | None


def make_supplies(
    petals: int,
    objects: Mapping[str, Any],
    shared: Mapping[str, ProxyFactory],
    own: Mapping[str, ProxyFactory],
) -> Supplies:
    """Sort them.

    Args:
        petals: how many there are; one alone shares nothing, and has its loop for itself.
        objects: as they are.
        shared: factories of proxies that all petals share.
        own: of those that each has for itself.

    Raises:
        ValueError: a name is given twice.
    """
    given = [*objects, *shared, *own]
    twice = sorted({name for name in given if given.count(name) > 1})
    if twice:
        raise ValueError(f"proxies are given twice: {', '.join(twice)}")
    if petals < 2 or not shared:
        return Supplies(objects, {**shared, **own}, None)
    return Supplies(objects, own, Together(Shelf(shared)))
