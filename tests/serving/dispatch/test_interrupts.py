"""KeyboardInterrupt: one that a handler raises is an error of its own; Ctrl-C ends the program."""

from __future__ import annotations

import signal

import pytest
import trio

from petalkit import Petal, Settings, command
from petalkit.testing import open_harness

from ..recorder import Recorder, until


class Interrupting(Petal):
    """Raises what Ctrl-C raises, by itself or for real."""

    name = "interrupting"

    @command("raise")
    async def raise_it(self) -> None:
        raise KeyboardInterrupt

    @command("beside")
    async def raise_beside(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.raise_it)

    @command("thread", thread=True)
    def raise_in_thread(self) -> None:
        raise KeyboardInterrupt

    @command("urgent", urgent=True)
    async def raise_urgently(self) -> None:
        raise KeyboardInterrupt

    @command("unreadable")
    async def unreadable(self) -> None:
        class Unreadable(Exception):
            def __str__(self) -> str:
                raise KeyboardInterrupt

        raise Unreadable

    @command("background")
    async def background(self) -> None:
        self.nursery.start_soon(self.raise_it)

    @command("signal")
    async def signal(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.trio
@pytest.mark.parametrize("name", ["raise", "beside", "thread", "urgent", "unreadable"])
async def test_a_keyboard_interrupt_of_its_own_ends_only_the_command(name: str) -> None:
    other = Recorder()
    async with open_harness(Interrupting(), other) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", {"n": 1}, message_id="beside")
            answer = await harness.call(f"interrupting/{name}")
            assert answer.error_code == "HANDLER_ERROR"
            assert (await harness.call(f"interrupting/{name}")).error_code == "HANDLER_ERROR"
            other.open()
            await until(lambda: any(one["messageId"] == "beside" for one in responses))
        assert other.ended == [1]


@pytest.mark.trio
async def test_a_keyboard_interrupt_of_a_background_task_ends_only_its_petal(
    autojump_clock: object,
) -> None:
    other = Recorder()
    async with open_harness(
        Interrupting(), other, settings=Settings(petal_restart="never")
    ) as harness:
        await harness.call("interrupting/background")
        assert (await harness.call("interrupting/raise")).error_code == "UNAVAILABLE"
        assert (await harness.call("rec/note")).success


def test_ctrl_c_in_the_middle_of_a_handler_ends_the_program() -> None:
    async def main() -> None:
        async with open_harness(Interrupting()) as harness:
            await harness.call("interrupting/signal")

    # A shell that starts a program in the background has it ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            trio.run(main)
    finally:
        signal.signal(signal.SIGINT, before)
