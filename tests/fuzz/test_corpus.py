"""Every kept input of every target: what fuzzing has found stays found, also without a fuzzer."""

from __future__ import annotations

import pytest

from .targets import CORPUS, TARGETS, inputs

# Rust's panics over text that is not UTF-8; see `mqtt5_bytes`.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize("name", TARGETS)
def test_a_corpus_is_taken_well(name: str) -> None:
    for data in inputs(name):
        try:
            TARGETS[name](data)
        except BaseException as error:
            error.add_note(f"of {name}, with {data!r}")
            raise


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert {path.stem for path in CORPUS.iterdir()} == TARGETS.keys()
    for name in TARGETS:
        assert 0 < len(inputs(name)) < 100
        assert all(len(data) < 2048 for data in inputs(name)), "keep it small"


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_nothing_and_rubbish(name: str) -> None:
    for data in (b"", b"\0", b"\xff", b"\0" * 64, b"\xff" * 64, bytes(range(256))):
        TARGETS[name](data)
