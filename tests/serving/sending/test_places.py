"""Which answers are here, and have their places in the outbox."""

from __future__ import annotations

from petalkit import Message, Settings
from petalkit._serving.sending.state.outgoing import Entry
from petalkit._serving.sending.state.places import Places


def answer(topic: str, answers: str | None = "id-1") -> Entry:
    return Entry(Message(topic, b"{}", 1), 60.0, answers)


def test_an_answer_in_two_places_is_owed_until_both_have_left() -> None:
    for first_out in (0, 1):
        places = Places(Settings())
        two = [answer("mine/answers"), answer("response")]
        places.reserve(2)
        for entry in two:
            places.take(entry)
        places.leave(two.pop(first_out))
        assert "id-1" in places.owed_to
        places.leave(two.pop())
        assert places.owed_to == {}


def test_what_answers_nobody_is_owed_to_nobody() -> None:
    places = Places(Settings())
    entry = answer("response", None)
    places.reserve()
    places.take(entry)
    assert places.owed_to == {}
    places.leave(entry)
