"""Commands, jobs and streams in groups: `flight-log/fetch_records` is one of `flight-log`.

The rule: each has a name of its own there, in each language, and the same one each time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import attrs

from .contract import Contract
from .models import Models, Typed, gather
from .shapes import Fields, Shape, Shaper
from .words import TypeNames, distinct, pascal


@attrs.frozen
class Member:
    """A command, a job or a stream in its group.

    Attributes:
        name: in the group.
        typed: what it is.
        needs_data: whether it cannot be called without arguments.
    """

    name: str
    typed: Typed
    needs_data: bool


@attrs.frozen
class Group:
    """What is called together.

    Attributes:
        name: of the property.
        class_name: of the class.
        doc: for people, in lines.
        members: by name.
    """

    name: str
    class_name: str
    doc: tuple[str, ...]
    members: tuple[Member, ...]


@attrs.frozen
class NamedType:
    """A type of the module.

    Attributes:
        name: its own.
        shape: what it is.
    """

    name: str
    shape: Shape


@attrs.frozen
class Plan:
    """What a module has.

    Attributes:
        types: in order.
        groups: in order.
    """

    types: tuple[NamedType, ...]
    groups: tuple[Group, ...]


def plan(
    contract: Contract,
    member: Callable[[str], str],
    *,
    names: Collection[str],
    members: Collection[str],
) -> Plan:
    """What a module for a contract has.

    Args:
        contract: what is served.
        member: makes an identifier of a language.
        names: of types that mean something else in the module.
        members: names that no group may have.
    """
    types = TypeNames(names)
    wanted = sorted({_split(one.name, one.petal)[0] for one in contract.served})
    class_names = {one: types.claim(pascal(one), f"{pascal(one)}Commands") for one in wanted}
    found = gather(contract, types)
    shaper = Shaper(found.models)
    own = distinct(wanted, member, members)
    groups = tuple(
        _group(one, own[one], class_names[one], contract, found, shaper, member) for one in wanted
    )
    models = [NamedType(name, shaper.model(name)) for name in sorted(found.models)]
    return Plan((*models, *_types(found, shaper)), groups)


def _types(found: Models, shaper: Shaper) -> list[NamedType]:
    types: list[NamedType] = []
    for one in found.served:
        if one.data_name:
            types.append(NamedType(one.data_name, shaper.shape(one.data)))
        types.append(NamedType(one.result_name, shaper.shape(one.result)))
    return types


def _group(
    group: str,
    name: str,
    class_name: str,
    contract: Contract,
    found: Models,
    shaper: Shaper,
    member: Callable[[str], str],
) -> Group:
    theirs: dict[str, Typed] = {}
    for one in found.served:
        own, rest = _split(one.served.name, one.served.petal)
        if own == group:  # a stream may be called as a command is
            theirs[rest if rest not in theirs else f"{rest} {one.served.kind}"] = one
    names = distinct(theirs, member)
    petals = {one.served.petal for one in theirs.values()}
    doc: list[str] = []
    for petal in contract.petals:
        if petal.name in petals:
            doc += [f"{petal.name} {petal.version}".rstrip(), *petal.doc[:1]]
    members = [
        Member(names[rest], one, _needs_data(one, shaper)) for rest, one in sorted(theirs.items())
    ]
    return Group(name, class_name, tuple(doc), tuple(members))


def _split(name: str, petal: str) -> tuple[str, str]:
    """The group of a command, and its name there."""
    front, slash, rest = name.strip("/").partition("/")
    return (front, rest) if slash else (petal or "commands", front or name)


def _needs_data(one: Typed, shaper: Shaper) -> bool:
    shape = shaper.resolved(shaper.shape(one.data))
    return isinstance(shape, Fields) and any(field.required for field in shape.fields)
