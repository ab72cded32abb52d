"""Fixtures that many tests share: real brokers."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from .brokers import Certificates, Mosquitto, find_mosquitto

# How long an example takes says how busy the machine is, and nothing about the code. In CI the
# examples are the same each time that a test is: what passes once passes again.
hypothesis.settings.register_profile(
    "petalkit", deadline=None, derandomize="PETALKIT_SAME_EXAMPLES" in os.environ
)
hypothesis.settings.load_profile("petalkit")

_BROKER_FIXTURES = {"mosquitto", "start_mosquitto"}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Six thousand tests are there to the end: the garbage collector need not walk through them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for a real broker is marked so."""
    for item in items:
        if _BROKER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.broker)


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line would take from the environment of whoever runs the tests."""
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def start_mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """A function that starts a `Mosquitto` with its options; they stop after the test."""
    if find_mosquitto() is None:
        pytest.skip("NO MOSQUITTO: install it (Debian: apt-get install mosquitto) to run this")
    with ExitStack() as stack:

        def start(**options: Any) -> Mosquitto:
            folder = tmp_path / f"mosquitto-{len(list(tmp_path.iterdir()))}"
            return stack.enter_context(Mosquitto(folder, **options))

        yield start


@pytest.fixture
def mosquitto(start_mosquitto: Callable[..., Mosquitto]) -> Mosquitto:
    """A running mosquitto of this test's own: anonymous, plain TCP, nothing kept on disk."""
    return start_mosquitto()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates for 127.0.0.1 and localhost, and for one client."""
    return Certificates.make(tmp_path_factory.mktemp("certificates"))
