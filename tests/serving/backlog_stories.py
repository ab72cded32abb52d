"""Stories of commands that wait in the ledger only, whichever ledger it is."""

from __future__ import annotations

from petalkit import Settings
from petalkit.testing import open_harness

from .recorder import Recorder, settle, unacknowledged, until


async def copies_join_what_waits(settings: Settings) -> None:
    """Copies of what waits: before it is safe, after, and of one with other words.

    Args:
        settings: with room for two commands in the channel.
    """
    petal = Recorder()
    async with open_harness(petal, settings=settings) as harness:
        with harness.responses() as responses:
            for n in range(10):
                harness.send("rec/hold", {"n": n}, message_id=f"m{n}", waitResponse=False)
            # The first comes before its original is safe, the second after.
            harness.send("rec/hold", {"n": 8}, message_id="m8")
            await settle()
            harness.send("rec/hold", {"n": 9}, message_id="m9")
            harness.send("rec/hold", {"n": 99}, message_id="m7")
            await settle()
            assert unacknowledged(harness) == 0
            petal.open()
            await until(lambda: len(petal.ended) == 10)
            await settle()
            answers = {response["messageId"]: response for response in responses}
        assert list(answers) == ["m7", "m8", "m9"]
        assert answers["m7"]["error_code"] == "MESSAGE_ID_REUSED"
        assert [answers["m8"]["n"], answers["m9"]["n"]] == [8, 9]
    assert petal.started == list(range(10))
