"""A device: `petalkit run` as a process, started again and again over the same files."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import trio

from petalkit import Settings
from petalkit._serving.process.run import stop_limit

from .crash_points import VARIABLE
from .petals import EFFECTS, INCARNATION

ROOT = Path(__file__).parents[2]
WHO = ("--organization-id", "acme", "--device-id", "Instance-1")
BASE = "org/acme/device/Instance-1"
KEEP_ALIVE = 2  # seconds: how long a half-open link can stay unnoticed
GRACE = 1.0  # seconds
# A link is to be back soon after every fault, and never to be given up for long.
PATIENCE = (
    "--keep-alive", str(KEEP_ALIVE), "--connect-timeout", "1.5", "--subscribe-timeout", "1.5",
    "--publish-timeout", "8",
)  # fmt: skip
# What stands before a slow line, in the proxy's kernel too, takes seconds to pass.
PATIENCE_SLOW = (
    "--keep-alive", "12", "--connect-timeout", "6", "--subscribe-timeout", "6",
    "--publish-timeout", "20",
)  # fmt: skip
HASTE = (
    "--reconnect-delay-min", "0.02", "--reconnect-delay-max", "0.2",
    "--takeover-delay-max", "0.3", "--stable-after", "0.2", "--grace", str(GRACE),
)  # fmt: skip
STOP_LIMIT = stop_limit(Settings(grace=GRACE)) + 1.0  # seconds; the last one for Python to end
KILL_LIMIT = 10.0  # seconds for a killed process to be gone


class Device:
    """See the module.

    Args:
        folder: for its files.
        broker: where it connects.
        options: more of the command line: transport, protocol, journal.
        slow: whether the line to the broker is.
        jobs: whether it has the petal of long work.

    Attributes:
        incarnation: how often it was started.
        effects: where its handlers leave their traces.
    """

    def __init__(
        self,
        folder: Path,
        broker: str,
        options: Sequence[str] = (),
        *,
        slow: bool = False,
        jobs: bool = False,
    ) -> None:
        self._folder = folder
        self._arguments = [
            sys.executable, "-m", "petalkit.cli", "run",
            "tests.faults.petals:Work", "tests.faults.petals:Other",
            *(["tests.faults.petals:Jobs", "--job-results", "2000"] if jobs else []),
            "--broker", broker, *WHO, *(PATIENCE_SLOW if slow else PATIENCE), *HASTE, *options,
        ]  # fmt: skip
        self._process: trio.Process | None = None
        self.incarnation = 0
        self.effects = folder / "effects"

    @property
    def log_file(self) -> Path:
        """What the running, or last, process has said."""
        return self._folder / f"device-{self.incarnation}.log"

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    async def start(self, crash: str | None = None) -> None:
        """Start it; with a crash point, if one is named."""
        self.incarnation += 1
        environment = self._environment()
        if crash is not None:
            environment[VARIABLE] = crash
        with self.log_file.open("wb") as log:
            self._process = await trio.lowlevel.open_process(
                self._arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                cwd=self._folder, env=environment,
            )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("PETALKIT_")
        }
        # This checkout, and whatever sources of petalkit this process itself was given.
        path = os.pathsep.join([str(ROOT), str(ROOT / "src"), environment.get("PYTHONPATH", "")])
        return environment | {
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            EFFECTS: str(self.effects),
            INCARNATION: str(self.incarnation),
            "XDG_STATE_HOME": str(self._folder / "state"),  # where the journal is
        }

    async def wait(self) -> int:
        """Wait until it has ended; its exit code, negative for a signal."""
        assert self._process is not None
        return await self._process.wait()

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        self._process.kill()

    def ask_to_stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    async def close(self) -> None:
        """Kill it, if it still runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + KILL_LIMIT):
                await self._process.wait()

    def memory(self) -> int:
        """Resident bytes now; 0 when it does not run."""
        assert self._process is not None
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return 0
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found[1]) * 1024 if found else 0
