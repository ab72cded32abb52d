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
import pathlib
import re
import uuid
from collections.abc import Callable
from typing import Any

from ..invalid import Invalid, expected
from ..node import Structure

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


def address(cls: Callable[[str], Any], what: str) -> Structure:
    """What reads an address."""

    def structure(value: Any) -> Any:
        try:
            return cls(to_str(value))
        except Invalid:
            raise
        except ValueError:
            raise Invalid(f"expected {what}") from None

    return structure
