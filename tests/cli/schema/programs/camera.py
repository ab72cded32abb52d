"""What the generated clients of the tests are made of: each kind of type and of name once."""

import enum
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

import attrs
import msgspec
import trio

from petalkit import CommandError, Job, Petal, command, job, stream


class Mode(enum.Enum):
    AUTO = "auto"
    MANUAL = "manual"


@attrs.frozen
class Region:
    left: float
    top: float = 0.0


@attrs.frozen
class Exposed:
    milliseconds: int
    mode: Mode
    regions: list[Region]
    note: str | None = None


@attrs.frozen
class Scanned:
    frames: int


@attrs.frozen
class Sharpness:
    n: int
    sharpness: float


class CameraPetal(Petal):
    """A camera that is not there."""

    name = "camera"
    version = "1.2.0"

    def __init__(self) -> None:
        self.exposures = 0

    @command("expose", timeout=30)
    async def expose(
        self,
        milliseconds: Annotated[int, msgspec.Meta(ge=1)],
        mode: Mode = Mode.AUTO,
        regions: list[Region] | None = None,
    ) -> Exposed:
        """Expose once."""
        if milliseconds > 10_000:
            raise CommandError("TOO_LONG", "ten seconds are the most")
        self.exposures += 1
        await trio.sleep(milliseconds / 1000)
        return Exposed(milliseconds, mode, regions or [])

    @command("count-exposures")
    async def count_exposures(self) -> int:
        """How often that was done."""
        return self.exposures

    @command("import")
    async def take_over(
        self, data: dict[str, Any], corners: tuple[int, int] = (0, 0)
    ) -> dict[str, Literal[1, 2] | None]:
        """A word that Python keeps for itself."""
        return {"a": 1}

    @command("import_")
    async def take_over_again(self) -> None:
        """In Python this would have the same name."""

    @job("scan")
    async def scan(self, job: Job, frames: int) -> Scanned:
        """One frame after the other."""
        for done in range(frames):
            await job.progress(done / frames, f"frame {done}")
            await trio.sleep(0.02)
        return Scanned(frames)

    @stream("focus")
    async def focus(self) -> AsyncGenerator[Sharpness]:
        """While it is looked for."""
        for n in range(100_000):
            yield Sharpness(n, 0.5)
            await trio.sleep(0.01)

    @stream("short")
    async def short(self) -> AsyncGenerator[Sharpness]:
        """One that fails."""
        for n in range(3):
            yield Sharpness(n, 0.5)
            await trio.sleep(0.1)
        raise CommandError("DARK", "there is no light")
