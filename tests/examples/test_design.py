"""The page on design follows the code: its picture is drawn, and what it names is there."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType
from xml.etree import ElementTree

import pytest

from .conftest import ROOT

PAGE = (ROOT / "docs" / "design.md").read_text()
PACKAGE = ROOT / "src" / "petalkit"
FILES = sorted(set(re.findall(r"`([\w/]+\.py)`", PAGE)))
# A file and what in it, between blanks or at a line's end: `path.py` `Class.method`
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)`\s+`([\w.]+)`", PAGE)))


@pytest.fixture
def house() -> ModuleType:
    spec = importlib.util.spec_from_file_location("house", ROOT / "docs" / "house.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_something_is_named() -> None:
    assert len(FILES) > 20
    assert len(NAMED) > 15


@pytest.mark.parametrize("path", FILES)
def test_a_file_that_is_named_is_there(path: str) -> None:
    assert (PACKAGE / path).is_file() or (ROOT / path).is_file()


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_what_is_named_in_a_file_is_there(path: str, name: str) -> None:
    source = (PACKAGE / path).read_text()
    for part in name.split("."):
        assert re.search(rf"^ *(class|def|async def) {part}\b", source, re.MULTILINE), part


def test_every_room_is_in_the_picture(house: ModuleType) -> None:
    lines = list(house.picture())
    drawn = ElementTree.fromstring("\n".join(lines))  # so it is well-formed
    texts = " ".join(text for text in drawn.itertext())
    for room in [*house.chart(""), *house.chart("_serving")]:
        assert room in texts or room == "__main__"


def test_a_room_that_has_gone_is_missed(house: ModuleType) -> None:
    house._ROOMS["cellar"] = (0, 0, 10, 10)
    with pytest.raises(house.NoSuchRoom, match="cellar"):
        list(house.picture())
