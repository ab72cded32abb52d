"""The nodes of numbers, texts, times and addresses, by their types."""

from __future__ import annotations

import datetime as dt
import decimal
import ipaddress
import pathlib
import re
import uuid
from collections.abc import Callable
from typing import Any

from ..node import ANY_KIND, BOOLEAN, NULL, NUMBER, STRING, Node, Structure
from .readers import (
    BASE64,
    DATE,
    DECIMAL,
    DURATION,
    OFFSET,
    SHORT_TIME,
    TIME,
    UUID,
    address,
    to_anything,
    to_bool,
    to_bytes,
    to_date,
    to_datetime,
    to_decimal,
    to_float,
    to_int,
    to_none,
    to_path,
    to_str,
    to_time,
    to_timedelta,
    to_uuid,
)


def _form(pattern: str) -> Callable[[str], object]:
    return re.compile(pattern, re.ASCII).fullmatch


def _text(structure: Structure, cls: type, pattern: str = "", form: str = "") -> Node:
    schema = {"type": "string"}
    if pattern:
        schema["pattern"] = f"^(?:{pattern})$"
    if form:
        schema["format"] = form
    return Node(
        name=cls.__name__,
        structure=structure,
        kinds=frozenset({STRING}),
        schema=lambda _: schema.copy(),
        values=(cls,),
        exact=str if structure is to_str else None,
        form=_form(pattern) if pattern and structure is not to_bytes else None,
        greedy=not pattern and not form,
    )


def _number(structure: Structure, cls: type, kind: str) -> Node:
    return Node(
        name=cls.__name__,
        structure=structure,
        kinds=frozenset({NUMBER}),
        schema=lambda _: {"type": kind},
        values=(cls,),
        exact=cls,
        greedy=True,
    )


def anything(name: str) -> Node:
    """What takes every value, and gives it as it is."""
    return Node(
        name=name,
        structure=to_anything,
        kinds=ANY_KIND,
        schema=lambda _: {},
        greedy=True,
        hashable=False,
    )


def _both(structure: Structure, cls: type, kind: str, pattern: str) -> Node:
    """A number, or a text."""
    text = {"type": "string", "pattern": f"^(?:{pattern})$"}
    return Node(
        name=cls.__name__,
        structure=structure,
        kinds=frozenset({NUMBER, STRING}),
        schema=lambda _: {"anyOf": [{"type": kind}, text.copy()]},
        values=(cls,),
        form=_form(pattern),
    )


def _no_scalars() -> dict[type, Node]:
    none = Node(
        name="None",
        structure=to_none,
        kinds=frozenset({NULL}),
        schema=lambda _: {"type": "null"},
        values=(type(None),),
    )
    boolean = Node(
        name="bool",
        structure=to_bool,
        kinds=frozenset({BOOLEAN}),
        schema=lambda _: {"type": "boolean"},
        values=(bool,),
        exact=bool,
    )
    return {type(None): none, bool: boolean}


def _addresses() -> dict[type, Node]:
    found: dict[type, Node] = {}
    for version, example in ((4, "10.0.0.0/8"), (6, "fd00::/8")):
        for kind, what in (
            ("Address", f"an IPv{version} address"),
            ("Network", f"an IPv{version} network such as {example}"),
            ("Interface", f"an IPv{version} address with its network"),
        ):
            cls: Any = getattr(ipaddress, f"IPv{version}{kind}")
            form = f"ipv{version}" if kind == "Address" else f"ipv{version}-{kind.lower()}"
            found[cls] = _text(address(cls, what), cls, form=form)
    return found


SCALARS: dict[Any, Node] = {
    **_no_scalars(),
    int: _number(to_int, int, "integer"),
    float: _number(to_float, float, "number"),
    str: _text(to_str, str),
    bytes: _text(to_bytes, bytes, BASE64),
    bytearray: _text(lambda value: bytearray(to_bytes(value)), bytearray, BASE64),
    decimal.Decimal: _both(to_decimal, decimal.Decimal, "number", DECIMAL),
    dt.datetime: _text(to_datetime, dt.datetime, f"{DATE}[Tt]{TIME}{OFFSET}", "date-time"),
    dt.date: _text(to_date, dt.date, DATE, "date"),
    dt.time: _text(to_time, dt.time, SHORT_TIME),
    dt.timedelta: _both(to_timedelta, dt.timedelta, "number", DURATION),
    uuid.UUID: _text(to_uuid, uuid.UUID, UUID, "uuid"),
    pathlib.Path: _text(to_path, pathlib.Path),
    pathlib.PurePath: _text(lambda value: pathlib.PurePath(to_path(value)), pathlib.PurePath),
    pathlib.PurePosixPath: _text(
        lambda value: pathlib.PurePosixPath(to_path(value)), pathlib.PurePosixPath
    ),
    **_addresses(),
}  # fmt: skip
"""Types that are taken as they are, by themselves; their subclasses are made of what they give."""
