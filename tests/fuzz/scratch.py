"""A folder for the files that targets write; whoever starts a fuzzer removes it by its TMPDIR."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path


@functools.cache
def scratch() -> Path:
    """It, made when it is asked for the first time."""
    folder = tempfile.mkdtemp(prefix="petalkit-fuzz-")
    atexit.register(
        shutil.rmtree, folder, ignore_errors=True
    )  # not after libFuzzer, which just ends
    return Path(folder)
