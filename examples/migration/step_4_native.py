"""Step 4: a native petal. It returns its answer, or raises, and no longer sends anything itself.

Run it: `petalkit run step_4_native.py`.
"""

import contextlib
import logging
from collections.abc import AsyncIterator

from petalkit import Command, Petal, command

logger = logging.getLogger(__name__)


class ExamplePetal(Petal):
    """Greets, and writes a text in capitals or small letters."""

    name = "example-petal"
    version = "1.0.0"

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        logger.info("%s is there", self.name)
        yield
        logger.info("%s is gone", self.name)

    @command("hello")
    async def hello(self, message: Command):
        return {"message": f"Hello, {message.data.get('name', 'World')}!"}

    @command("process")
    async def process(self, message: Command):
        data = message.data
        change = {"upper": str.upper, "lower": str.lower}[data.get("mode", "upper")]
        return {"result": change(data["text"])}
