"""Numbers, texts, times and addresses: one JSON value each.

The rule: a value has the type that is declared, or it is refused; `"5"` is no number and `true` is
none either. JSON has one type of number, which some write 5 and some 5.0: a whole one is good for
an int in either form, and an int is good for a float. Times are as in RFC 3339, with their offset.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import decimal
import ipaddress
import pathlib
import re
import uuid
from collections.abc import Callable
from typing import Any

from .invalid import Invalid, expected
from .node import ANY_KIND, BOOLEAN, NULL, NUMBER, STRING, Node, Structure

# RFC 3339, section 5.6. A leap second is refused: Python has none, and 59 or 0 would be a guess.
DATE = r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?"
OFFSET = r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
SHORT_TIME = rf"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?{OFFSET}?"
# ISO 8601 without years and months, which have no length.
DURATION = (
    r"[+-]?P(?=\d|T\d)(?:\d+(?:\.\d+)?W|(?:\d+(?:\.\d+)?D)?"
    r"(?:T(?=\d)(?:\d+(?:\.\d+)?H)?(?:\d+(?:\.\d+)?M)?(?:\d+(?:\.\d+)?S)?)?)"
)
BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
UUID = r"[0-9A-Fa-f]{8}-?[0-9A-Fa-f]{4}-?[0-9A-Fa-f]{4}-?[0-9A-Fa-f]{4}-?[0-9A-Fa-f]{12}"
DECIMAL = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,4})?"
_MAX_DIGITS = 4000  # of a decimal: what it takes to compute with more grows faster than they do


def _full(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)


_MOMENT = _full(f"{DATE}[Tt]{TIME}{OFFSET}")
_DATE, _SHORT_TIME, _DURATION = _full(DATE), _full(SHORT_TIME), _full(DURATION)
_UUID, _DECIMAL = _full(UUID), _full(DECIMAL)
_PART = re.compile(r"(\d+(?:\.\d+)?)([WDHMS])")


def to_int(value: Any) -> int:
    """A whole number, in either form of writing it."""
    if type(value) is int:
        return value
    if type(value) is float:
        if value.is_integer():
            return int(value)
        raise Invalid("expected a whole number")
    raise expected("a whole number", value)


def to_float(value: Any) -> float:
    """A number."""
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise Invalid("is too large for a number") from None
    raise expected("a number", value)


def to_bool(value: Any) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise expected("true or false", value)
    return value


def to_str(value: Any) -> str:
    """A string."""
    if type(value) is not str:
        raise expected("a string", value)
    return value


def to_none(value: Any) -> None:
    """Null."""
    if value is not None:
        raise expected("null", value)


def to_bytes(value: Any) -> bytes:
    """Bytes, of base64."""
    try:
        return base64.b64decode(to_str(value), validate=True)
    except (binascii.Error, ValueError) as error:
        raise (error if isinstance(error, Invalid) else Invalid("expected base64")) from None


def to_decimal(value: Any) -> decimal.Decimal:
    """A decimal, of a number or of the text of one."""
    if type(value) is not str:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise expected("a number or a string of one", value)
        try:
            value = repr(value)
        except ValueError:  # Python writes no integer that is so long
            value = ""
    if len(value) > _MAX_DIGITS or not _DECIMAL.fullmatch(value):
        raise Invalid("expected a decimal number")
    return decimal.Decimal(value)


def to_datetime(value: Any) -> dt.datetime:
    """A moment, of RFC 3339 with its offset; what is finer than a microsecond is cut off."""
    if isinstance(value, dt.datetime):  # out of a configuration file; JSON has none
        return value
    if type(value) is not str or not _MOMENT.fullmatch(value):
        if type(value) is not str:
            raise expected("an RFC 3339 date and time", value)
        raise Invalid("expected an RFC 3339 date and time with its offset")
    try:
        return dt.datetime.fromisoformat(value.upper())
    except ValueError:
        raise Invalid("expected an RFC 3339 date and time with its offset") from None


def to_date(value: Any) -> dt.date:
    """A day, of RFC 3339's full-date."""
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    found: dt.date = _of_text(value, _DATE, dt.date.fromisoformat, "a date")
    return found


def to_time(value: Any) -> dt.time:
    """A time of day; seconds and offset may be left out."""
    if isinstance(value, dt.time):
        return value
    found: dt.time = _of_text(value, _SHORT_TIME, _time_of, "a time")
    return found


def _time_of(text: str) -> dt.time:
    return dt.time.fromisoformat(text.upper())


def to_uuid(value: Any) -> uuid.UUID:
    """A UUID, with its hyphens or without."""
    found: uuid.UUID = _of_text(value, _UUID, uuid.UUID, "a UUID")
    return found


def _of_text(value: Any, form: re.Pattern[str], parse: Callable[[str], Any], what: str) -> Any:
    if type(value) is not str:
        raise expected("a string", value)
    if form.fullmatch(value):
        try:
            return parse(value)
        except ValueError:
            pass
    raise Invalid(f"expected {what}")


_UNITS = {"W": "weeks", "D": "days", "H": "hours", "M": "minutes", "S": "seconds"}


def to_timedelta(value: Any) -> dt.timedelta:
    """A duration, of seconds or of ISO 8601 (`"PT1.5S"`)."""
    if isinstance(value, dt.timedelta):
        return value
    try:
        if type(value) is int or type(value) is float:
            return dt.timedelta(seconds=value)
        if type(value) is not str:
            raise expected("a number of seconds or an ISO 8601 duration", value)
        if len(value) > 100 or not _DURATION.fullmatch(value):
            raise Invalid("expected a number of seconds or an ISO 8601 duration such as 'PT1.5S'")
        parts = {_UNITS[unit]: float(number) for number, unit in _PART.findall(value)}
        length = dt.timedelta(**parts)
        return -length if value[0] == "-" else length
    except OverflowError:
        raise Invalid("is too long for a duration") from None


def to_path(value: Any) -> pathlib.Path:
    """A path."""
    text = to_str(value)
    if "\0" in text:
        raise Invalid("expected a path")
    return pathlib.Path(text)


def to_anything(value: Any) -> Any:
    """Whatever comes."""
    return value


def _address(cls: Callable[[str], Any], what: str) -> Structure:
    def structure(value: Any) -> Any:
        try:
            return cls(to_str(value))
        except Invalid:
            raise
        except ValueError:
            raise Invalid(f"expected {what}") from None

    return structure


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
            found[cls] = _text(_address(cls, what), cls, form=form)
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
