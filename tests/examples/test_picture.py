"""The picture of the README is what the demo shows."""

from __future__ import annotations

import importlib.util
import re
import sys
from html import unescape
from types import ModuleType

import pytest

from .conftest import ROOT


@pytest.fixture
def picture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("picture", ROOT / "docs" / "picture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def texts(svg: str) -> list[str]:
    """What an SVG shows, without where and how."""
    found = re.findall(r"<text[^>]*>(.*?)</text>", svg, re.DOTALL)
    return [unescape(text).replace("\xa0", " ").rstrip() for text in found if text.strip()]


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="it is drawn on Linux")
def test_the_picture_shows_what_the_demo_shows(picture: ModuleType) -> None:
    drawn = picture.draw(picture.scenes(picture.run_demo()))
    assert texts(drawn) == texts(picture.PICTURE.read_text()), "run python docs/picture.py"


def test_the_picture_loads_nothing_from_elsewhere(picture: ModuleType) -> None:
    svg = picture.PICTURE.read_text()
    assert "@font-face" not in svg
    assert not re.search(r"(?:href|src)\s*=|url\((?!#)", svg)
    assert picture.COMMAND in " ".join(texts(svg))
    assert "docs/demo.svg" in (ROOT / "README.md").read_text()
