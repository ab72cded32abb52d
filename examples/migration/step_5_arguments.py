"""Step 5: arguments with types, and a "no" in words of its own.

Run it: `petalkit run step_5_arguments.py`.
"""

from petalkit import CommandError, Petal, command


class ExamplePetal(Petal):
    """Greets, and writes a text in capitals or small letters."""

    name = "example-petal"
    version = "1.0.0"

    @command("hello")
    async def hello(self, name: str = "World"):
        return {"message": f"Hello, {name}!"}

    @command("process")
    async def process(self, text: str, mode: str = "upper"):
        match mode:
            case "upper":
                return {"result": text.upper()}
            case "lower":
                return {"result": text.lower()}
        raise CommandError("UNKNOWN_MODE", "mode must be upper or lower")
