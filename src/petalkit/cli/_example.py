"""The petal that `petalkit demo` serves; it is shown there as it stands."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from .._authoring.command import command
from .._authoring.petal import Petal


@attrs.frozen
class Greeting:
    """The arguments of `hello`."""

    name: str = "World"


class ExamplePetal(Petal):
    """Says hello."""

    name = "example-petal"
    version = "1.0.0"

    @command("hello")
    async def hello(self, data: Greeting) -> Mapping[str, object]:
        """Greet somebody."""
        return {"message": f"Hello, {data.name}!"}
