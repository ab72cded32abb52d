"""Values -> what JSON can hold: one JSON for one value, however deep it stands.

The rule: an unstructure hook of the petal's converter takes precedence, in lists and mappings and
models too; models have the names that their arguments have; and a subclass of str, int or float is
what `json.dumps` makes of it. The trap: msgspec encodes attrs classes by itself and leaves out
their private fields, so it is given none.

Most results are mappings of texts and numbers. They are looked through, and given back as they are.
"""

from __future__ import annotations

import abc
import collections
import collections.abc
import dataclasses
import datetime as dt
import enum
import ipaddress
import numbers
import operator
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
import msgspec

from .models.fields import kind_of_model

Convert = Callable[[Any], Any]
_PLAIN = (str, int, float, bool, type(None))
# What a subclass holds, without asking what else it says of itself.
_BASES: tuple[tuple[type, Convert], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
)
_TEXTS = (
    pathlib.PurePath,
    ipaddress.IPv4Address, ipaddress.IPv6Address,
    ipaddress.IPv4Network, ipaddress.IPv6Network,
    ipaddress.IPv4Interface, ipaddress.IPv6Interface,
)  # fmt: skip
_ARRAYS = (
    list,
    tuple,
    set,
    frozenset,
    collections.deque,
    collections.abc.Set,
    collections.abc.Sequence,
)


_MADE = (*_ARRAYS, *_TEXTS, collections.abc.Mapping, numbers.Real, enum.Enum, msgspec.Raw)
_ABSTRACT = ("collections.abc", "typing", "types")


def is_array_like(cls: Any) -> bool:
    """Whether it is a Struct that is written as an array."""
    config: Any = getattr(cls, "__struct_config__", None)
    return config is not None and bool(config.array_like)


def is_written(cls: Any) -> bool:
    """Whether there may be JSON for values of a class that is no model and no plain one.

    An abstract class may stand for models.
    """
    if not isinstance(cls, type) or issubclass(cls, memoryview | range):
        return False
    if is_array_like(cls) or issubclass(cls, _MADE):
        return True
    if cls.__module__ in _ABSTRACT:  # a Callable, an Iterator
        return False
    is_open = isinstance(cls, abc.ABCMeta) or getattr(cls, "_is_protocol", False) is True
    return is_open or (hasattr(cls, "dtype") and hasattr(cls, "tolist"))


class Results:
    """Makes plain values, which msgspec can encode; leaves what it cannot to it as it is.

    Args:
        hook_of: the unstructure hook that a petal has registered for a class, or None.
    """

    def __init__(self, hook_of: Callable[[type], Convert | None] = lambda _: None) -> None:
        self._hook_of = hook_of
        self._plain = frozenset(cls for cls in _PLAIN if hook_of(cls) is None)
        self._known: dict[type, Convert] = {}
        for cls, convert in ((dict, self.of_dict), (list, self._list), (tuple, self._list)):
            if hook_of(cls) is None:
                self._known[cls] = convert

    def __call__(self, value: Any) -> Any:
        """The value in plain types."""
        cls = type(value)
        if cls in self._plain:
            return value
        convert = self._known.get(cls)
        if convert is None:
            convert = self._known[cls] = self._find(cls)
        return convert(value)

    def of_dict(self, value: Mapping[Any, Any]) -> Mapping[Any, Any]:
        """The same for a dict; a hook that somebody has registered for those is not asked."""
        plain = self._plain
        for key, item in value.items():
            if type(item) not in plain or type(key) is not str:
                return self._mapping(value)
        return value

    def _list(self, value: Any) -> Any:
        plain = self._plain
        for item in value:
            if type(item) not in plain:
                return self._array(value)
        return value

    def _mapping(self, value: Mapping[Any, Any]) -> dict[Any, Any]:
        found = {self._key(key): self(item) for key, item in value.items()}
        if len(found) < len(value) or len(set(map(type, found))) > 1:
            self._check_keys(value)
        return found

    def _check_keys(self, value: Mapping[Any, Any]) -> None:
        """Two keys of one text would be one key for whoever reads the JSON.

        Raises:
            ValueError: there are two.
        """
        seen: dict[str, Any] = {}
        for key in value:
            made = self._key(key)
            if type(made) is not str:
                try:
                    made = next(iter(msgspec.to_builtins({made: None}, str_keys=True)))
                except TypeError:  # whoever encodes it says what is wrong with it
                    continue
            other = seen.setdefault(made, key)
            if other is not key:
                raise ValueError(
                    f"the keys {other!r} and {key!r} of a mapping are both {made!r} in JSON"
                )

    def _key(self, key: Any) -> Any:
        made = self(key)
        if made is None or type(made) is bool:
            return {None: "null", True: "true", False: "false"}[made]
        return made

    def _array(self, value: Iterable[Any]) -> list[Any]:
        return [self(item) for item in value]

    def _find(self, cls: type) -> Convert:
        """How a class is made plain, once for each."""
        hook = self._hook_of(cls)
        if hook is not None:
            return lambda value: self._again(hook(value), cls)
        if issubclass(cls, enum.Enum):
            return lambda value: self(value.value)
        for base, convert in _BASES:
            if issubclass(cls, base):
                return convert
        if issubclass(cls, _TEXTS):
            return str
        if issubclass(cls, dt.datetime | dt.date | dt.time) and cls.__module__ != "datetime":
            return lambda value: value.isoformat()
        if callable(getattr(cls, "model_dump", None)) and hasattr(cls, "__pydantic_serializer__"):
            return lambda value: value.model_dump(mode="json", by_alias=True)
        model = self._model(cls)
        if model is not None:
            return model
        if issubclass(cls, collections.abc.Mapping):
            return self._mapping
        if issubclass(cls, _ARRAYS) and not issubclass(cls, bytes | bytearray | memoryview | range):
            return self._array
        return self._other(cls)

    def _again(self, made: Any, cls: type) -> Any:
        """What a hook has made may hold more to be made; but not itself."""
        return made if type(made) is cls else self(made)

    def _model(self, cls: Any) -> Convert | None:
        kind = kind_of_model(cls)
        if kind == "Struct":
            return self._struct(cls)
        if kind == "attrs":
            # What the constructor takes, and what it computes and does not hide.
            names = [
                (one.name, one.alias)
                for one in attrs.fields(cls)
                if one.init or not one.name.startswith("_")
            ]
        elif kind == "dataclass":
            names = [(one.name, one.name) for one in dataclasses.fields(cls)]
        else:
            return None
        return lambda value: {wire: self(getattr(value, name)) for name, wire in names}

    def _struct(self, cls: Any) -> Convert:
        config, fields = cls.__struct_config__, msgspec.structs.fields(cls)
        tag = {} if config.tag is None else {config.tag_field: config.tag}

        def convert(value: Any) -> dict[str, Any]:
            found: dict[str, Any] = dict(tag)
            for one in fields:
                item = getattr(value, one.name)
                if item is msgspec.UNSET or (config.omit_defaults and _is_default(one, item)):
                    continue
                found[one.encode_name] = self(item)
            return found

        if config.array_like:
            first = list(tag.values())
            return lambda value: first + [self(getattr(value, one.name)) for one in fields]
        return convert

    def _other(self, cls: type) -> Convert:
        """What says of itself that it is a number, as numpy's do; else it is left as it is."""
        if issubclass(cls, numbers.Integral):
            return operator.index
        if issubclass(cls, numbers.Real):
            return float
        if hasattr(cls, "dtype") and callable(getattr(cls, "tolist", None)):
            return lambda value: self._again(value.tolist(), cls)
        return lambda value: value


def _is_default(field: Any, value: Any) -> bool:
    if field.default is not msgspec.NODEFAULT:
        return value is field.default or (
            type(value) is type(field.default) and value == field.default
        )
    factory = field.default_factory
    if factory in (list, dict, set):
        return type(value) is factory and not value
    return False


_default = Results()


def encode_other(value: Any) -> Any:
    """For msgspec, which calls it with what it does not know.

    Raises:
        TypeError: nobody knows it.
    """
    made = _default(value)
    if made is value:
        raise TypeError(f"there is no JSON for {type(value).__name__}")
    return made
