"""A type, walked by petalkit's own converter."""

from __future__ import annotations

from typing import Any

import pytest

from petalkit import make_converter
from petalkit._values.structuring import CannotBuild, types_of

converter = make_converter()


def take(annotation: Any, value: Any) -> Any:
    """A JSON value as the type has it."""
    return types_of(converter).node(annotation).structure(value)


def refusal(annotation: Any) -> str:
    """Why there can be no such type."""
    with pytest.raises(CannotBuild) as caught:
        types_of(converter).node(annotation)
    return str(caught.value)
