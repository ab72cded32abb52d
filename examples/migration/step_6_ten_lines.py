"""Step 6: what a type can say needs no code. The petal is the ten lines of its class.

Run it: `petalkit run step_6_ten_lines.py`.
"""

from typing import Literal

from petalkit import Petal, command


class ExamplePetal(Petal):
    """Greets, and writes a text in capitals or small letters."""

    name = "example-petal"
    version = "1.0.0"

    @command("hello")
    async def hello(self, name: str = "World"):
        return {"message": f"Hello, {name}!"}

    @command("process")
    async def process(self, text: str, mode: Literal["upper", "lower"] = "upper"):
        return {"result": text.upper() if mode == "upper" else text.lower()}
