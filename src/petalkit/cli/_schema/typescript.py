"""A TypeScript module: types, and a class with methods for each group of commands.

The fixed part beside it, `petalkit.ts`, is a file of this folder and the same for every device.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from .contract import Contract
from .groups import Group, Member, NamedType, plan
from .shapes import (
    NOTHING,
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
)
from .words import literal, typescript_member

RUNTIME_NAME = "petalkit.ts"
_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_PLAIN = {
    "any": "unknown",
    "never": "never",
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
    "object": "JsonObject",
}
_GLOBAL = {"Array", "AsyncIterable", "Device", "Object", "Promise", "Record"}
_LATER_NAMES = re.compile(
    r"^(?:export )?(?:abstract )?(?:async )?(?:class|interface|type|function|const) (\w+)", re.M
)
_IMPORT = re.compile(r"^import .*\n", re.M)


def runtime() -> str:
    """The fixed part."""
    return (Path(__file__).parent / RUNTIME_NAME).read_text("utf-8")


def write_typescript(contract: Contract, head: str) -> str:
    """The module that goes beside the fixed part.

    Args:
        contract: what is served.
        head: what stands at its top, in lines.
    """
    body = _body(contract)
    imported = f'import type {{ {", ".join(_used(contract, body))} }} from "./petalkit.js";\n'
    return f'{_head(head)}{imported}\nexport * from "./petalkit.js";\n\n{body}'


def _used(contract: Contract, body: str) -> Iterator[str]:
    """What of the fixed part is named, since some take what is imported in vain for a mistake."""
    kinds = {one.kind for one in contract.served}
    if kinds & {"command", "job"}:
        yield "CallOptions"
    yield "Connection"
    if "job" in kinds:
        yield "Job"
    if re.search(r"\bJsonObject\b", body):
        yield "JsonObject"
    yield "Remote"
    if kinds & {"job", "stream"}:
        yield "WatchOptions"


def write_one_file(contract: Contract, head: str) -> str:
    """The module with the fixed part at its end."""
    fixed = runtime()
    found = _IMPORT.search(fixed)
    assert found is not None
    rest = fixed[: found.start()] + fixed[found.end() :]
    return f"{_head(head)}{found.group()}\n{_body(contract)}\n{rest}"


def _head(head: str) -> str:
    return "".join(f"// {line}\n" for line in head.splitlines())


def _body(contract: Contract) -> str:
    taken = _GLOBAL.union(_LATER_NAMES.findall(runtime()), {"SCHEMA_HASH", "mqtt"})
    made = plan(
        contract, typescript_member, names=taken, members=("isCurrent", "remote", "connection")
    )
    lines = [f"export const SCHEMA_HASH = {literal(contract.schema_hash)};", ""]
    for one in made.types:
        lines += [*_declared(one), ""]
    for group in made.groups:
        lines += [*_class(group), ""]
    lines += _device(made.groups)
    return "\n".join(lines) + "\n"


def _declared(one: NamedType) -> Iterator[str]:
    if not isinstance(one.shape, Fields) or not one.shape.fields:
        yield f"export type {one.name} = {_type(one.shape)};"
        return
    yield f"export interface {one.name} {{"
    for field in one.shape.fields:
        yield from _doc(field.doc, "  ")
        yield f"  {_key(field.name)}{'' if field.required else '?'}: {_type(field.shape)};"
    yield "}"


def _type(shape: Shape) -> str:
    match shape:
        case Plain():
            return _PLAIN[shape.name]
        case Values():
            return " | ".join(_scalar(one) for one in shape.values)
        case ListOf():
            return f"Array<{_type(shape.item)}>"
        case TupleOf():
            return f"[{', '.join(map(_type, shape.items))}]"
        case MapOf():
            return f"{{ [key: string]: {_type(shape.value)} }}"
        case Fields():
            if shape == NOTHING:
                return "Record<string, never>"
            fields = (
                f"{_key(one.name)}{'' if one.required else '?'}: {_type(one.shape)}"
                for one in shape.fields
            )
            return f"{{ {'; '.join(fields)} }}"
        case OneOf():
            return " | ".join(map(_type, shape.members))
        case Model():
            return shape.name


def _scalar(value: Scalar) -> str:
    return json.dumps(value)


def _key(name: str) -> str:
    return name if _IDENTIFIER.fullmatch(name) else literal(name)


def _doc(lines: tuple[str, ...], indent: str) -> Iterator[str]:
    safe = [line.replace("*/", "*\\/") for line in lines]
    if len(safe) == 1:
        yield f"{indent}/** {safe[0]} */"
    elif safe:
        yield f"{indent}/**"
        yield from (f"{indent} * {line}".rstrip() for line in safe)
        yield f"{indent} */"


def _class(group: Group) -> Iterator[str]:
    yield from _doc(group.doc, "")
    yield f"export class {group.class_name} {{"
    yield "  readonly #remote: Remote;"
    yield "  constructor(remote: Remote) {"
    yield "    this.#remote = remote;"
    yield "  }"
    for member in group.members:
        yield ""
        yield from _doc(member.typed.served.doc, "  ")
        yield from _method(member)
    yield "}"


def _method(member: Member) -> Iterator[str]:
    one = member.typed
    name, result = literal(one.served.name), one.result_name
    if one.served.kind == "stream":
        yield f"  {member.name}(options?: WatchOptions): AsyncIterable<{result}> {{"
        yield f"    return this.#remote.stream({name}, options);"
    else:
        job = one.served.kind == "job"
        options = "CallOptions & WatchOptions" if job else "CallOptions"
        given = f"data{'' if member.needs_data else '?'}: {one.data_name}, options?: {options}"
        result = f"Job<{result}>" if job else result
        yield f"  {member.name}({given}): Promise<{result}> {{"
        yield f"    return this.#remote.{'job' if job else 'call'}({name}, data, options);"
    yield "  }"


def _device(groups: tuple[Group, ...]) -> Iterator[str]:
    yield "/** What the device serves, over a connection made by `connect`. */"
    yield "export class Device {"
    yield from (f"  readonly {group.name}: {group.class_name};" for group in groups)
    yield "  /** For what has no type here: `remote.call`, `remote.events`. */"
    yield "  readonly remote: Remote;"
    yield "  constructor(connection: Connection, deviceId: string) {"
    yield "    this.remote = connection.remote(deviceId);"
    yield from (f"    this.{group.name} = new {group.class_name}(this.remote);" for group in groups)
    yield "  }"
    yield ""
    yield "  /** Whether the device serves what this module was made for. */"
    yield "  isCurrent(): Promise<boolean> {"
    yield "    return this.remote.serves(SCHEMA_HASH);"
    yield "  }"
    yield "}"
