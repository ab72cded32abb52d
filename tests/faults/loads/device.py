"""`petalkit run` with its defaults, as a process, and what is seen of it from outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import trio

from ..device import WHO, Device
from . import probes

TRANSPORTS = ("native", "asyncio-mqtt")
_PETALS = ("Guard", "Fast", "Slow")


class LoadedDevice(Device):
    """See the module.

    Args:
        folder: for its files.
        broker: where it connects.
        options: of the command line: the transport, and what a story is about.
        log: where its log goes: a file, or a pipe that nobody reads.
    """

    def __init__(
        self,
        folder: Path,
        broker: str,
        options: Sequence[str],
        *,
        log: Literal["file", "pipe"] = "file",
    ) -> None:
        super().__init__(folder, broker)
        self._pipe = log == "pipe"
        self._reader = -1
        self._arguments = [
            sys.executable, "-m", "petalkit.cli", "run",
            *(f"tests.faults.loads.petals:{name}" for name in _PETALS),
            "--broker", broker, *WHO, *options,
        ]  # fmt: skip
        self.probes = folder / "probes"

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), probes.FILE: str(self.probes)}

    async def start(self, crash: str | None = None) -> None:
        """Start it; its log goes where nobody reads it, if it is to."""
        if not self._pipe:
            await super().start(crash)
            return
        self.incarnation += 1
        self._reader, writer = os.pipe()
        try:
            self._process = await trio.lowlevel.open_process(
                self._arguments, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer,
                cwd=self._folder, env=self._environment(),
            )  # fmt: skip
        finally:
            os.close(writer)

    async def close(self) -> None:
        """Kill it, if it still runs."""
        await super().close()
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1

    @property
    def log(self) -> str:
        """What it has said; nothing where nobody reads it."""
        return "" if self._pipe else super().log

    def peak(self) -> int:
        """The most resident bytes since it was started, or since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Count the peak from now on: proc(5), clear_refs."""
        assert self._process is not None
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")

    def cpu(self) -> float:
        """Seconds of processor that it has used."""
        assert self._process is not None
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _status(self, name: str) -> int:
        assert self._process is not None
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return 0
        found = re.search(rf"{name}:\s+(\d+) kB", status)
        return int(found[1]) * 1024 if found else 0
