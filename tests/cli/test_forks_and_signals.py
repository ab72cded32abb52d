"""A signal for a child is the child's alone, from its first moment on."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

# The hook that is registered first is called first: the child is not free of its parent yet.
ENDED_AT_ONCE = """
import os, signal, time
os.register_at_fork(after_in_child=lambda: time.sleep(0.2))
import trio
from petalkit._serving.process.signals import signals_stop

async def main():
    told = []
    with signals_stop(told.append, 60):
        child = os.fork()
        if child == 0:
            time.sleep(5)
            os._exit(7)
        os.kill(child, signal.SIGTERM)
        ended = os.waitpid(child, 0)[1]
        await trio.sleep(0.2)
        print(os.waitstatus_to_exitcode(ended), told)
        os.kill(os.getpid(), signal.SIGTERM)
        await trio.sleep(0.2)
        print(told)

trio.run(main)
"""


def test_a_child_that_is_ended_as_soon_as_it_is_there_does_not_stop_its_parent() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDED_AT_ONCE], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == ["-15 []", "['SIGTERM']"], done.stderr


WITHOUT_DESCRIPTORS = """
import os, resource, signal
import trio
from petalkit._serving.process.signals import signals_stop

async def main():
    told = []
    with signals_stop(told.append, 60):
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
        os.kill(os.getpid(), signal.SIGTERM)
        await trio.sleep(0.2)
    print(told)

trio.run(main)
"""


def test_a_process_that_has_run_out_of_descriptors_is_stopped_by_a_signal() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DESCRIPTORS], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == ["['SIGTERM']"], done.stderr
