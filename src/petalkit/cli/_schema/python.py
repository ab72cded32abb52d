"""A Python module: types, and a class with methods for each group of commands, over a client.

The trap: within a class its own names hide those of the module, also from type checkers. So methods
begin with a small letter and types with a large one, and an object whose keys are no such names is
written as a call.
"""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Iterator
from typing import Literal, TypeAlias

from .contract import Contract
from .groups import Group, Member, NamedType, plan
from .shapes import (
    ANY,
    Fields,
    ListOf,
    MapOf,
    Model,
    OneOf,
    Plain,
    Scalar,
    Shape,
    TupleOf,
    Values,
    one_of,
)
from .words import literal, python_member

Flavor: TypeAlias = Literal["trio", "asyncio", "sync"]

_PLAIN = {
    "never": "Never",
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
    "any": "Any",
    "object": "dict[str, Any]",
}
_TYPING = ("Any", "Literal", "Never", "NotRequired", "TypeAlias", "TypedDict", "Unpack", "cast")
_CLIENTS = {
    "trio": ("from petalkit.client import Client", "", "AbstractAsyncContextManager"),
    "asyncio": ("from petalkit.client.aio import Client", "", "AbstractAsyncContextManager"),
    "sync": ("from petalkit.client.sync import Client", "Blocking", "AbstractContextManager"),
}
_OPTIONS = ("CallOptions", "JobOptions", "StreamOptions")
_TAKEN = {"Client", "Device", "SCHEMA_HASH", "BlockingJob", "BlockingStream", "Job", "Stream"}
_HIDES = frozenset({*dir(builtins), *dir(dict), *keyword.kwlist, *keyword.softkwlist})


def write_python(contract: Contract, head: str, flavor: Flavor) -> str:
    """The module.

    Args:
        contract: what is served.
        head: what stands at its top, in lines.
        flavor: of which client: that of `petalkit.client`, `aio` or `sync`.
    """
    return _Module(flavor).write(contract, head)


def _member(name: str) -> str:
    found = python_member(name)
    return found[:1].lower() + found[1:]


class _Module:
    """One module while it is written.

    Args:
        flavor: of which client.

    Attributes:
        used: names that have to be imported.
    """

    def __init__(self, flavor: Flavor) -> None:
        self._flavor = flavor
        self._import, self._blocking, self._context = _CLIENTS[flavor]
        self._def, self._await = ("def", "") if flavor == "sync" else ("async def", "await ")
        self.used: set[str] = set()

    def write(self, contract: Contract, head: str) -> str:
        taken = _TAKEN.union(_TYPING, _OPTIONS, dir(builtins), [self._context])
        made = plan(contract, _member, names=taken, members=("is_current",))
        body: list[str] = []
        for one in made.types:
            body += [*self._declared(one), ""]
        for group in made.groups:
            body += [*self._class(group), "", ""]
        body += self._device(made.groups)
        lines = [
            *(f"# {line}" for line in head.splitlines()),
            "# ruff: noqa",
            "from __future__ import annotations",
            "",
            *self._imports(),
            "",
            f"SCHEMA_HASH = {literal(contract.schema_hash)}",
            "",
            "",
            *body,
        ]
        return "\n".join(lines) + "\n"

    def _imports(self) -> Iterator[str]:
        if self._context in self.used:
            yield f"from contextlib import {self._context}"
        names = [one for one in _TYPING if one in self.used]
        if names:
            yield f"from typing import {', '.join(names)}"
        yield ""
        yield self._import
        typed = sorted(self.used.difference(_TYPING, [self._context]))
        if typed:
            yield f"from petalkit.client.typed import {', '.join(typed)}"

    def _use(self, name: str) -> str:
        self.used.add(name)
        return name

    # -- types

    def _declared(self, one: NamedType) -> Iterator[str]:
        shape = one.shape
        if not isinstance(shape, Fields):
            yield f"{one.name}: {self._use('TypeAlias')} = {literal(self._type(shape))}"
        elif all(_is_plain(field.name) for field in shape.fields):
            yield f"class {one.name}({self._use('TypedDict')}):"
            for field in shape.fields:
                yield from (f"    # {line}" for line in field.doc[:1])
                yield f"    {field.name}: {self._field(self._type(field.shape), field.required)}"
            if not shape.fields:
                yield "    pass"
        else:
            yield f"{one.name} = {self._use('TypedDict')}("
            yield f"    {literal(one.name)},"
            yield "    {"
            for field in shape.fields:
                kind = self._field(self._type(field.shape), field.required)
                yield f"        {literal(field.name)}: {literal(kind)},"
            yield "    },"
            yield ")"
        yield ""

    def _field(self, kind: str, required: bool) -> str:
        return kind if required else f"{self._use('NotRequired')}[{kind}]"

    def _type(self, shape: Shape) -> str:
        match shape:
            case Plain():
                found = _PLAIN[shape.name]
                for name in ("Any", "Never"):
                    if name in found:
                        self._use(name)
                return found
            case Values():
                values = ", ".join(_scalar(one) for one in shape.values)
                return f"{self._use('Literal')}[{values}]"
            case ListOf():
                return f"list[{self._type(shape.item)}]"
            case TupleOf():  # what comes of JSON is a list
                return f"list[{self._type(one_of(list(shape.items)))}]"
            case MapOf():
                return f"dict[str, {self._type(shape.value)}]"
            case Fields():  # those without a name of their own
                inner = [one.shape for one in shape.fields]
                return f"dict[str, {self._type(one_of(inner) if inner else ANY)}]"
            case OneOf():
                return " | ".join(map(self._type, shape.members))
            case Model():
                return shape.name

    # -- classes

    def _class(self, group: Group) -> Iterator[str]:
        yield f"class {group.class_name}:"
        yield from _doc(group.doc, "    ")
        yield ""
        yield "    def __init__(self, client: Client, device: str | None = None) -> None:"
        yield "        self._client = client"
        yield "        self._device = device"
        for member in group.members:
            yield ""
            yield from self._method(member)

    def _method(self, member: Member) -> Iterator[str]:
        one = member.typed
        name, result = literal(one.served.name), one.result_name
        doc = _doc(one.served.doc, "        ")
        if one.served.kind == "stream":
            kind = f"{self._use(self._blocking + 'Stream')}[{result}]"
            options = f"{self._use('Unpack')}[{self._use('StreamOptions')}]"
            yield f"    def {member.name}(self, **options: {options}) -> {kind}:"
            yield from doc
            yield f"        values = self._client.stream({name}, device=self._device, **options)"
            yield f"        return {self._use('cast')}({literal(kind)}, values)"
            return
        data = f"data: {one.data_name}"
        if not member.needs_data:
            data += " | None = None"
        if one.served.kind == "job":
            job = f"{self._use(self._blocking + 'Job')}[{result}]"
            kind = f"{self._use(self._context)}[{job}]"
            options = f"{self._use('Unpack')}[{self._use('JobOptions')}]"
            yield f"    def {member.name}("
            yield f"        self, {data}, **options: {options}"
            yield f"    ) -> {kind}:"
            yield from doc
            yield f"        job = self._client.job({name}, data, device=self._device, **options)"
            yield f"        return {self._use('cast')}({literal(kind)}, job)"
            return
        options = f"{self._use('Unpack')}[{self._use('CallOptions')}]"
        yield f"    {self._def} {member.name}("
        yield f"        self, {data}, **options: {options}"
        yield f"    ) -> {result}:"
        yield from doc
        yield f"        response = {self._await}self._client.call("
        yield f"            {name}, data, device=self._device, **options"
        yield "        )"
        yield f"        return {self._use('cast')}({literal(result)}, response.fields)"

    def _device(self, groups: tuple[Group, ...]) -> Iterator[str]:
        yield "class Device:"
        yield '    """What a device serves, over a client that is open; None is the one of that."""'
        yield ""
        yield "    def __init__(self, client: Client, device: str | None = None) -> None:"
        yield "        self._client = client"
        yield "        self._device = device"
        for group in groups:
            yield f"        self.{group.name} = {group.class_name}(client, device)"
        yield ""
        yield f"    {self._def} is_current(self) -> bool:"
        yield '        """Whether the device serves what this module was made for."""'
        yield f"        response = {self._await}self._client.call("
        yield '            "petalkit/info", {"names": True}, device=self._device'
        yield "        )"
        yield '        return bool(response.fields.get("schema_hash") == SCHEMA_HASH)'


def _is_plain(name: str) -> bool:
    """Whether a key can be a name in the body of a class, and hides nothing there."""
    return (
        name.isascii()
        and name.isidentifier()
        and name not in _HIDES
        and not name[0].isupper()
        and not name.startswith("_")
    )


def _scalar(value: Scalar) -> str:
    return literal(value) if isinstance(value, str) else repr(value)


def _doc(lines: tuple[str, ...], indent: str) -> Iterator[str]:
    safe = [line.replace("\\", "\\\\").replace('"', '\\"') for line in lines]
    if len(safe) == 1:
        yield f'{indent}"""{safe[0]}"""'
    elif safe:
        yield f'{indent}"""{safe[0]}'
        yield from (f"{indent}{line}".rstrip() for line in safe[1:])
        yield f'{indent}"""'
