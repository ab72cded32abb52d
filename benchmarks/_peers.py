"""The peers of broker.py: what each is called, and the environments that they run in.

What they need stands in pyproject.toml, in three dependency groups: asyncio-mqtt needs a paho-mqtt
that the others cannot use, and the one over HTTP needs no MQTT at all. Each group gets an
environment under `.venv/`, made at the first run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import attrs
import msgspec

from _common import ROOT, progress

HERE = Path(__file__).resolve().parent
GROUP = "benchmark"
INSTALL_LIMIT = 600.0  # seconds

_SHOW = """
import importlib.metadata, json, sys
print(json.dumps({name: importlib.metadata.version(name) for name in sys.argv[1:]}))
"""


@attrs.frozen
class Peer:
    """A program without petalkit that does the same work.

    Attributes:
        module: `_bare_<module>.py`, which says how it works.
        package: the distribution whose version is shown.
    """

    name: str
    module: str
    package: str
    group: str = GROUP
    style: str = "tasks"
    over_http: bool = False  # behind the stand-in for the guide's external client

    def command(self) -> list[str]:
        """How it is started."""
        program = str(HERE / f"_bare_{self.module}.py")
        return [make_environment(self.group), program, "--style", self.style]


PEERS = {
    "socket-mqtt5": Peer("socket-mqtt5", "socket_mqtt5", "mqtt5"),
    "trio-mqtt5": Peer("trio-mqtt5", "trio_mqtt5", "mqtt5"),
    "gmqtt": Peer("gmqtt", "gmqtt", "gmqtt"),
    "paho": Peer("paho", "paho", "paho-mqtt"),
    "aiomqtt": Peer("aiomqtt", "aiomqtt", "aiomqtt"),
    "asyncio-mqtt": Peer(
        "asyncio-mqtt", "asyncio_mqtt", "asyncio-mqtt", group="benchmark-asyncio-mqtt"
    ),
    "faststream": Peer("faststream", "faststream", "faststream"),
    "fastapi": Peer("fastapi", "fastapi", "fastapi", group="benchmark-http", over_http=True),
}


def choose(names: list[str] | None, style: str, *, over_http: bool) -> list[Peer]:
    """The peers of these names, or all; asyncio-mqtt in the styles wished for.

    The one over HTTP is among all only where there is something to compare it with.
    """
    found: list[Peer] = []
    everybody = [name for name, peer in PEERS.items() if over_http or not peer.over_http]
    for name in names or everybody:
        peer = PEERS[name]
        if name == "asyncio-mqtt":
            for one in ("sequential", "tasks") if style == "both" else (style,):
                found.append(attrs.evolve(peer, name=f"{name}, {one}", style=one))
        else:
            found.append(peer)
    return found


def versions(peers: list[Peer]) -> dict[str, str]:
    """What the peers run on, by name of the distribution."""
    wanted = {(peer.group, peer.package) for peer in peers}
    wanted |= {(peer.group, "orjson") for peer in peers}
    if any(peer.package == "faststream" for peer in peers):
        wanted.add((GROUP, "zmqtt"))
    found: dict[str, str] = {}
    for group in sorted({group for group, _ in wanted}):
        names = sorted(name for one, name in wanted if one == group)
        done = subprocess.run(
            [make_environment(group), "-c", _SHOW, *names],
            capture_output=True,
            timeout=60,
            check=True,
        )
        found |= msgspec.json.decode(done.stdout, type=dict[str, str])
    return found


def make_environment(group: str) -> str:
    """The interpreter of a virtual environment with what a dependency group names."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        packages: list[str] = tomllib.load(file)["dependency-groups"][group]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = Path(os.environ.get("PETALKIT_VENV_DIR", ROOT / ".venv")) / f"{group}-{version}"
    python = folder / "bin" / "python"
    stamp = folder / ".made-from"
    if not stamp.exists() or stamp.read_text() != str(packages):
        progress(f"making {folder}; the next time is quick")
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-I", "-m", "venv", folder], check=True, timeout=120)
        install = [python, "-I", "-m", "pip", "--quiet", "install", *packages]
        subprocess.run(install, check=True, timeout=INSTALL_LIMIT)
        stamp.write_text(str(packages))
    return str(python)
