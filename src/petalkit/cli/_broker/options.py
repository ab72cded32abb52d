"""The bounds of the broker as options of the command line, made from the fields of `Bounds`."""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Annotated, Any

import attrs
from cyclopts import Group, Parameter

from ...transports._broker.core.bounds import Bounds

_BOUNDS = Group("Bounds", sort_key=1)


@attrs.frozen(kw_only=True)
class GivenBounds:
    """What stood on the command line; a field for each of `Bounds`, None where it did not."""

    def bounds(self) -> Bounds:
        """The bounds.

        Raises:
            ValueError: one is out of its range.
        """
        given = attrs.asdict(self)
        return Bounds(**{name: value for name, value in given.items() if value is not None})


def _make_options() -> Any:
    made: dict[str, Any] = {}
    hints = typing.get_type_hints(Bounds)
    for field in attrs.fields(Bounds):
        unit = field.metadata["unit"]
        text = f"{field.metadata['help']} [{unit}, default {field.default:g}]"
        if isinstance(field.default, int):
            text = f"{field.metadata['help']} [{unit}, default {field.default}]"
        parameter = Parameter(help=text, group=_BOUNDS)
        hint: Any = Annotated[hints[field.name] | None, parameter]
        made[field.name] = attrs.field(default=None, type=hint)
    made_class = attrs.make_class(
        "BoundsOptions", made, bases=(GivenBounds,), frozen=True, kw_only=True
    )
    return Parameter(name="*", group=_BOUNDS)(made_class)


if TYPE_CHECKING:
    BoundsOptions = GivenBounds
else:
    BoundsOptions = _make_options()
