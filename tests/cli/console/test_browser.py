"""The page in a real Chromium: each of `web/tests/stories.mjs` is a test here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WEB = ROOT / "web"
STORIES = WEB / "tests" / "stories.mjs"
NAMES = re.findall(r'^ *story\(["`](.+?)["`],', STORIES.read_text("utf-8"), re.MULTILINE)
NAMES = [
    name.replace("${scheme}", scheme)
    for name in NAMES
    for scheme in (("light", "dark") if "${scheme}" in name else ("",))
]
LIMIT = 300.0  # seconds for all of them, on a loaded machine
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

pytestmark = [pytest.mark.browser, pytest.mark.process]


def missing() -> str | None:
    """What the stories need and is not here."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (WEB / "node_modules" / "playwright-core").is_dir():
        return "playwright-core is not installed: scripts/page --check does that"
    if "PETALKIT_CHROMIUM" not in os.environ and not any(map(shutil.which, CHROMIUM)):
        return "Chromium is not installed: apt-get install --no-install-recommends chromium"
    return None


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, str | None]]:
    """What became of each story: an error, or None."""
    if (why := missing()) is not None:
        pytest.skip(why)
    site = subprocess.Popen(
        [sys.executable, "-m", "tests.cli.console.site"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert site.stdout is not None
        address = site.stdout.readline().strip()
        assert address, "the site did not start"
        done = subprocess.run(
            ["node", str(STORIES), address],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines, done.stderr
        yield {one["name"]: one["error"] for one in lines}
    finally:
        site.communicate()  # it ends with its standard input
    assert site.returncode == 0


@pytest.mark.parametrize("name", NAMES)
def test_in_a_browser(name: str, outcomes: dict[str, str | None]) -> None:
    assert name in outcomes, "the stories ended before it"
    assert outcomes[name] is None, outcomes[name]
