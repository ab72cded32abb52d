"""Near names: found in time that does not grow with what is served."""

from __future__ import annotations

import pytest

from petalkit._values.basics import near as module
from petalkit._values.basics.near import NameIndex, near


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("altitute", "altitude"),
        ("altidute", "altitude"),
        ("hodl", "hold"),
        ("hight", "height"),
        ("colour", "color"),
        ("speeed", "speed"),
        ("xyz", None),
        ("", None),
        ("x" * 100_000, None),
        ("höhe", "hohe"),
    ],
)
def test_a_key_that_is_misspelt_finds_its_neighbour(word: str, name: str | None) -> None:
    known = {"altitude", "hold", "height", "color", "speed", "latitude", "hohe"}
    assert near(word, known) == name


NAMES = sorted(f"petal{petal}/do_something_{number}" for petal in range(10) for number in range(50))


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("petal3/do_somthing_7", "petal3/do_something_7"),
        ("petal3/od_something_7", "petal3/do_something_7"),
        ("petal3/do_something_7x", "petal3/do_something_7"),
        ("petal3/DO_SOMETHING_7", "petal3/do_something_7"),
        ("do_something_7", "petal0/do_something_7"),
        ("petal3/land", None),
        ("", None),
    ],
)
def test_among_many_names_too(word: str, name: str | None) -> None:
    assert NameIndex(NAMES).near(word) == name


def test_few_of_many_names_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    score = module._score

    def counting(word: str, name: str) -> float:
        compared.append(name)
        return score(word, name)

    monkeypatch.setattr(module, "_score", counting)
    index = NameIndex(sorted(f"p/name_{number}" for number in range(5000)))
    for word in ("p/nmae_77", "z", "p/", "p/name_" + "9" * 300):
        compared.clear()
        index.near(word)
        assert len(compared) <= 50
