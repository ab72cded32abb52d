"""A reader who does what a page says, as it is written, in an empty folder.

What the page calls a file is written, `$` lines are typed, and what stands below them has to be
what they print. A program that stays is left running until the page says Ctrl-C, or until the
reader leaves. Only what a test may not touch is another: the port, the home folder, and where
petalkit is installed from.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

LIMIT = 60.0  # seconds for one command on a busy machine
_STEP = re.compile(
    r"(?P<before>[^\n]*)\n\n```(?P<kind>\w+)\n(?P<text>.*?)^```$|(?P<stop>Ctrl-C)",
    re.MULTILINE | re.DOTALL,
)
STAY = (r"petalkit (run|broker)\b", r"mosquitto\b")
READY = {
    "petalkit run": r"connected as client",
    "petalkit broker": r"mqtt://",
    "mosquitto": r"running",
}


@attrs.frozen
class Step:
    """One thing that a page says to do: a block and the line before it, or Ctrl-C."""

    kind: str
    text: str = ""
    before: str = ""


def steps(page: str) -> Iterator[Step]:
    """What a page says to do, in order."""
    for match in _STEP.finditer(page):
        if match["stop"]:
            yield Step("stop")
            continue
        if "Ctrl-C" in match["before"]:
            yield Step("stop")
        yield Step(match["kind"], match["text"], match["before"])


class Staying:
    """A program that stays: its output is read as it comes."""

    def __init__(self, line: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.line = line
        self.name = next(name for name in READY if line.startswith(name))
        self.output = ""
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {line.removesuffix('&').strip()}"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def wait_ready(self) -> None:
        limit = time.monotonic() + LIMIT
        while True:
            line = self._lines.get(timeout=max(0.1, limit - time.monotonic()))
            assert line is not None, f"{self.line} has ended:\n{self.output}"
            self.output += line
            if re.search(READY[self.name], line):
                return

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        code = self.process.wait(LIMIT)
        self._reader.join(LIMIT)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


class Reader:
    """Follows a page; entering gives an empty folder, leaving ends what still runs."""

    def __init__(
        self, folder: Path, port: int, *, replace: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.replace = {**(replace or {}), "1883": str(port)}
        self.staying: list[Staying] = []
        self.printed: dict[str, list[str]] = {}
        kept = ("LANG", "LC_ALL", "TMPDIR", "PIP_CONFIG_FILE", "SYSTEMROOT")
        self.environment = {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "HOME": str(folder / "home"),
            "PATH": os.pathsep.join(
                [str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"]
            ),
            "PETALKIT_BROKER": f"mqtt://localhost:{port}",
            # What is installed is here already: nothing comes from the network.
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",
            "PIP_NO_DEPS": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
        }
        (folder / "home").mkdir(parents=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for program in self.staying:
            program.process.kill()
            program.end(signal.SIGKILL)

    def follow(self, page: str) -> None:
        for old, new in self.replace.items():
            page = page.replace(old, new)
        for step in steps(page):
            if step.kind == "stop":
                self._stop()
            elif step.kind == "console":
                self._type(step.text)
            elif step.kind == "sh":
                self._run(f"set -eu\n{step.text}", self.folder)
            elif name := re.search(r"(?:into|here) `([\w.]+)`:$", step.before):
                (self.folder / name[1]).write_text(step.text)

    def _type(self, block: str) -> None:
        for typed in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, expected = typed.partition("\n")
            if re.match(r"pip install '(/path/to/petalkit|\.)\[", line):
                self._take_petalkit()
            elif activate := re.fullmatch(r"\. (\S+)/bin/activate", line):
                self._activate(activate[1])
            elif line.startswith("export "):
                self.environment.update(part.split("=") for part in line.split()[1:])
            elif any(re.match(stay, line) for stay in STAY):
                program = Staying(line, self.folder, self.environment)
                self.staying.append(program)
                program.wait_ready()
            else:
                printed = self._run(line, self.folder)
                self.printed.setdefault(line, []).append(printed)
                if expected:
                    assert printed == expected, line

    def _run(self, line: str, folder: Path) -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _stop(self) -> None:
        """Ctrl-C in the terminal of the device, if one runs."""
        for program in [one for one in self.staying if one.name == "petalkit run"]:
            assert program.end(signal.SIGINT) == 0
            self.staying.remove(program)

    def _activate(self, name: str) -> None:
        scripts = self.folder / name / "bin"
        assert scripts.is_dir()
        self.environment["PATH"] = os.pathsep.join([str(scripts), os.environ["PATH"], "/usr/sbin"])
        self.environment["VIRTUAL_ENV"] = str(scripts.parent)

    def _take_petalkit(self) -> None:
        """Have in the new environment what is in that of the suite, as installing it would."""
        made = Path(self.environment["VIRTUAL_ENV"])
        [packages] = (made / "lib").glob("python*/site-packages")
        ours = [path for path in sys.path if path.endswith("site-packages")]
        (packages / "petalkit.pth").write_text(
            "".join(f"import site; site.addsitedir({path!r})\n" for path in ours)
        )
        script = made / "bin" / "petalkit"
        script.write_text(
            f"#!{script.with_name('python')}\n"
            "import sys\nfrom petalkit.cli import main\nsys.exit(main())\n"
        )
        script.chmod(0o755)
