"""`retry`: what it promises is what a copy under the same messageId gets."""

from __future__ import annotations

import pytest

from petalkit import CommandError, Petal, command
from petalkit.testing import open_harness

from ..recorder import Recorder, settle

pytestmark = pytest.mark.trio


class No(Petal):
    """Refuses by itself."""

    name = "no"

    def __init__(self) -> None:
        self.calls = 0

    @command("own")
    async def own(self) -> None:
        self.calls += 1
        raise CommandError("LATER", "later", retryable=True, details={"retry": "same_id"})


async def test_a_refusal_before_the_start_says_same_id_and_a_copy_is_judged_anew(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        harness.send("rec/alone", {"n": 1})
        await settle()
        busy = await harness.call("rec/alone", {"n": 2}, message_id="m")
        assert (busy.error_code, busy.retry) == ("BUSY", "same_id")
        petal.open()
        await settle()
        assert (await harness.call("rec/alone", {"n": 2}, message_id="m")).success


@pytest.mark.parametrize(("name", "code"), [("rec/brief", "TIMEOUT"), ("no/own", "LATER")])
async def test_an_answer_that_is_recorded_says_new_id_and_a_copy_gets_it_again(
    name: str, code: str, autojump_clock: object
) -> None:
    recorder, no = Recorder(), No()
    async with open_harness(recorder, no) as harness:
        first = await harness.call(name, message_id="m")
        assert (first.error_code, first.retryable, first.retry) == (code, True, "new_id")
        recorder.open()
        assert dict(await harness.call(name, message_id="m")) == dict(first)
        assert len(recorder.started) + no.calls == 1
        again = await harness.call(name, message_id="other")
        assert again.success or no.calls == 2
