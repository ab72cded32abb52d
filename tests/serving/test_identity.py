"""The organization ID: from where, late, changed, and spoilt in every way."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import trio

from petalkit import ConfigError, Settings, open_runtime
from petalkit._serving.identity import sources
from petalkit._serving.identity.sources import MAX_FILE_BYTES, FileSource, SourceError
from petalkit._serving.identity.waiter import IdentityWaiter
from petalkit.testing import MemoryBroker, MemoryTransport, open_harness

from .recorder import CLIENT_ID, Recorder, settle, until

OLD = "org/acme/device/Instance-1"
NEW = "org/other/device/Instance-1"


def at(*place: str, value: Any = "acme") -> dict[str, Any]:
    document: Any = value
    for key in reversed(place):
        document = {key: document}
    assert isinstance(document, dict)
    return document


THING = ("thing", "lastReported", "organizationId")
REPORTED = ("shadow", "state", "reported", "organizationId")
DESIRED = ("shadow", "state", "desired", "organizationId")


# -- the file


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (at(*THING), "acme"),
        (at(*REPORTED), "acme"),
        (at(*DESIRED), "acme"),
        ({**at(*THING, value="one"), **at(*REPORTED, value="two")}, "one"),
        ({**at(*THING, value=""), **at(*REPORTED, value="two")}, "two"),
        ({**at(*THING, value=None), **at(*DESIRED, value="three")}, "three"),
        ({**at(*THING, value=7), **at(*DESIRED, value="three")}, "three"),
        ({"thing": [], **at(*DESIRED, value="three")}, "three"),
        ({"thing": {"lastReported": "x"}, **at(*DESIRED, value="three")}, "three"),
        ({"organizationId": "acme"}, "acme"),
        ({"organizationId": "four", **at(*THING, value="one")}, "one"),
    ],
)
def test_the_file_has_known_places_and_the_first_that_is_filled_counts(
    document: Any, found: str, tmp_path: Path
) -> None:
    path = tmp_path / "thing.json"
    path.write_text(json.dumps(document))
    assert FileSource(path).read_now() == found


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"thing": {"lastReported": {"organizationId": "\xff"}}}', "not valid JSON"),
        (b"{}", "no organization ID in thing.lastReported.organizationId"),
        (b"null", "no organization ID"),
        (b"[]", "no organization ID"),
        (b'"acme"', "no organization ID"),
        (b" " * (MAX_FILE_BYTES + 1), "larger"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "thing.json"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=reason):
        FileSource(path).read_now()


def test_where_the_default_file_is_not_there_that_of_an_installed_host_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default, host = tmp_path / "organization.json", tmp_path / "host" / "thing.json"
    monkeypatch.setattr(sources, "DEFAULT_ORGANIZATION_FILE", default)
    monkeypatch.setattr(sources, "HOST_FOLDER", host.parent)
    monkeypatch.setattr(sources, "HOST_ORGANIZATION_FILE", host)
    source = FileSource(default)
    # Without the host it is never spoken of.
    assert str(default) in source.description
    with pytest.raises(SourceError, match="does not exist"):
        source.read_now()
    host.parent.mkdir()
    assert str(host) in source.description  # which may come late
    host.write_text(json.dumps(at(*REPORTED, value="old")))
    assert source.read_now() == "old"
    assert FileSource(tmp_path / "mine").path == tmp_path / "mine"  # what is named is taken
    default.write_text('{"organizationId": "new"}')
    assert source.read_now() == "new"
    assert str(default) in source.description


def test_a_path_that_is_no_file_says_why(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        FileSource(tmp_path / "none").read_now()
    with pytest.raises(SourceError, match=r"directory|regular"):
        FileSource(tmp_path).read_now()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(SourceError, match="cannot be read"):
        FileSource(tmp_path / "loop").read_now()


def test_a_null_byte_in_the_path_says_why() -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        FileSource(Path("a\0b")).read_now()


def test_a_pipe_in_the_files_place_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    errors: list[str] = []

    def read() -> None:
        try:
            FileSource(path).read_now()
        except SourceError as error:
            errors.append(str(error))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(2.0)  # only waited for in full if it blocks
    if thread.is_alive():
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        thread.join()
        pytest.fail("opening a pipe blocked")
    assert errors == ["cannot be read: it is not a regular file"]


def test_a_folder_in_the_files_place_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(SourceError, match="Is a directory"):
        FileSource(tmp_path).read_now()
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.trio
async def test_a_file_that_comes_late_changes_and_is_spoilt(
    tmp_path: Path, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "thing.json"
    settings = Settings(organization_file=path, device_id="Instance-1")
    waiter = IdentityWaiter(settings)

    def organization() -> str | None:
        return None if waiter.current is None else waiter.current.organization_id

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter.run)
        await trio.sleep(12)
        assert organization() is None
        assert str(path) in caplog.text
        assert "organization_file" in caplog.text
        assert "organization_id" in caplog.text
        path.write_text(json.dumps(at(*REPORTED)))
        await trio.sleep(5.1)
        assert organization() == "acme"
        for spoilt in ("", "{", "[]", json.dumps(at(*THING, value="a/b")), "x" * 300_000):
            path.write_text(spoilt)
            await trio.sleep(10)
            assert organization() == "acme"
        path.unlink()
        await trio.sleep(10)
        assert organization() == "acme"
        path.write_text(json.dumps(at(*REPORTED, value="other")))
        await trio.sleep(5.1)
        assert organization() == "other"
        assert "changed from 'acme' to 'other'" in caplog.text
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_waiting_is_said_again_once_in_a_while_and_not_at_every_poll(
    tmp_path: Path, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    waiter = IdentityWaiter(Settings(organization_file=tmp_path / "none", device_id="d"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter.run)
        await trio.sleep(601)
        assert 5 <= len(caplog.records) <= 15
        nursery.cancel_scope.cancel()


# -- the other sources


@pytest.mark.trio
async def test_a_fixed_id_goes_before_everything(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    monkeypatch.setenv("PETALKIT_ORGANIZATION_ID", "from-environment")
    waiter = IdentityWaiter(Settings(organization_id="fixed", device_id="d"))
    await waiter.run()  # returns: it can never change
    assert (await waiter.wait()).organization_id == "fixed"


@pytest.mark.trio
async def test_the_environment_goes_before_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, autojump_clock: object
) -> None:
    path = tmp_path / "thing.json"
    path.write_text(json.dumps(at(*THING, value="from-file")))
    monkeypatch.setenv("PETALKIT_ORGANIZATION_ID", "from-environment")
    waiter = IdentityWaiter(Settings(organization_file=path, device_id="d"))
    await waiter.run()
    assert (await waiter.wait()).organization_id == "from-environment"


@pytest.mark.parametrize("bad", ["a/b", "a+b", "#", "a\nb", " a", "x" * 129])
def test_ids_that_would_break_a_topic_are_refused_everywhere(
    bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="organization_id"):
        Settings(organization_id=bad)
    with pytest.raises(ConfigError, match="device_id"):
        Settings(device_id=bad)
    monkeypatch.setenv("PETALKIT_ORGANIZATION_ID", bad)
    with pytest.raises(ConfigError, match="organization_id"):
        IdentityWaiter(Settings(device_id="d"))


async def _later() -> str:
    await trio.sleep(3)
    return "acme"


def _raises() -> str:
    raise OSError("no cloud")


async def _raises_later() -> str:
    await trio.sleep(1)
    raise OSError("no cloud")


async def _never() -> str:
    await trio.sleep_forever()
    raise AssertionError


@pytest.mark.trio
@pytest.mark.parametrize(
    ("source", "organization", "said"),
    [
        (lambda: "acme", "acme", ""),
        (_later, "acme", ""),
        (lambda: None, None, "does not know it yet"),
        (lambda: "", None, "does not know it yet"),
        (lambda: 5, None, "returned int"),
        (lambda: "a/b", None, "break the topic"),
        (_raises, None, "no cloud"),
        (_raises_later, None, "no cloud"),
        (_never, None, "did not answer within"),
    ],
)
async def test_a_callable_may_answer_fail_or_hang(
    source: Any,
    organization: str | None,
    said: str,
    autojump_clock: object,
    caplog: pytest.LogCaptureFixture,
) -> None:
    waiter = IdentityWaiter(Settings(organization_source=source, device_id="d"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter.run)
        await trio.sleep(31)
        current = None if waiter.current is None else waiter.current.organization_id
        assert current == organization
        assert said in caplog.text
        nursery.cancel_scope.cancel()


def test_the_device_id_is_made_of_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    import machineid

    from petalkit._serving.identity.device import resolve_device_id

    monkeypatch.setattr(machineid, "hashed_id", lambda app: f"hash-of-{app}")
    assert resolve_device_id(Settings()) == "Instance-hash-of-petalkit"

    def none(app: str) -> str:
        raise machineid.MachineIdNotFound

    monkeypatch.setattr(machineid, "hashed_id", none)
    with pytest.raises(ConfigError, match="device_id"):
        resolve_device_id(Settings())


# -- in the runtime


@pytest.mark.trio
async def test_nothing_is_connected_or_published_before_the_id_is_known(
    autojump_clock: object,
) -> None:
    broker = MemoryBroker(history=10)
    async with open_harness(Recorder(), broker=broker, organization_id=None) as harness:
        await trio.sleep(1000)
        assert broker.clients == ()
        assert not broker.published
        assert not harness.statistics().identity_known
        await harness.set_organization("acme")
        await harness.wait_connected()
        assert broker.clients == (CLIENT_ID,)
        assert (await harness.call("rec/note")).success


@pytest.mark.trio
async def test_a_file_written_late_is_found_by_polling(
    tmp_path: Path, autojump_clock: object
) -> None:
    path = tmp_path / "thing.json"
    broker = MemoryBroker()
    settings = Settings(organization_file=path, device_id="Instance-1")
    async with open_runtime([Recorder()], settings, transport=MemoryTransport(broker)) as runtime:
        await trio.sleep(10)
        path.write_text(json.dumps(at(*THING)))
        with trio.fail_after(6):
            await runtime.wait_connected()


@pytest.mark.trio
@pytest.mark.parametrize("client_id", [None, "same"])
async def test_a_changed_organization_moves_everything(
    client_id: str | None, autojump_clock: object
) -> None:
    petal = Recorder()
    settings = Settings(client_id=client_id)
    async with open_harness(petal, settings=settings) as harness:
        broker = harness.broker
        with broker.observe("org/+/device/+/response") as seen:
            await harness.set_organization("other")
            await harness.wait_connected()
            await settle()
            assert b'"offline"' in broker.retained[f"{OLD}/status"].payload
            assert b'"online"' in broker.retained[f"{NEW}/status"].payload
            assert broker.clients == (client_id or "petalkit-other-Instance-1",)
            subscribed = {
                str(one) for view in broker.sessions.values() for one in view.subscriptions
            }
            assert subscribed == {f"{NEW}/command", f"{NEW}/command/edge"}
            assert (await harness.call("rec/note")).success
            assert [message.topic for message in seen] == [f"{NEW}/response"]


@pytest.mark.trio
async def test_what_runs_at_the_change_is_answered_on_the_old_topic(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        with harness.broker.observe("org/+/device/+/response") as seen:
            harness.send("rec/hold", {"n": 1})
            await settle()
            await harness.set_organization("other")
            await harness.wait_connected()
            assert len(seen) == 0
            petal.open()
            await settle()
            assert [message.topic for message in seen] == [f"{OLD}/response"]
            assert b'"success":true' in seen[0].payload


@pytest.mark.trio
async def test_what_still_runs_after_grace_is_cancelled(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(petal_concurrency=1)) as harness:
        with harness.broker.observe("org/+/device/+/response") as seen:
            harness.send("rec/hold", {"n": 1})
            harness.send("rec/hold", {"n": 2})
            await settle()
            await harness.set_organization("other")
            await harness.wait_connected()
            harness.send("rec/hold", {"n": 3})
            await trio.sleep(11)
            assert [message.topic for message in seen] == [f"{OLD}/response"] * 2
            assert all(b"CANCELLED" in message.payload for message in seen)
            assert petal.started == [1, 3]
            petal.open()


@pytest.mark.trio
async def test_what_was_sent_to_the_old_topics_before_the_change_is_answered(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        with harness.broker.observe(f"{OLD}/response") as seen:
            harness.broker.delay = 0.05
            for n in range(50):
                harness.send("rec/note", {"n": n})
            await harness.set_organization("other")
            await harness.wait_connected()
            harness.broker.delay = 0.0
            await until(lambda: len(seen) == 50)
            assert petal.started == list(range(50))


@pytest.mark.trio
async def test_what_waits_at_a_full_channel_is_not_lost_by_the_change(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    settings = Settings(petal_concurrency=1, channel_capacity=2, channel_reserve=2)
    async with open_harness(petal, settings=settings) as harness:
        with harness.broker.observe(f"{OLD}/response") as seen:
            for n in range(15):  # inside the broker's window of 20
                harness.send("rec/hold", {"n": n})
                await settle()
            await harness.set_organization("other")
            await trio.sleep(1)
            petal.open()
            await harness.wait_connected()
            await until(lambda: len(seen) == 15)


@pytest.mark.trio
async def test_everything_read_at_a_full_channel_has_an_answer_though_nothing_ends_in_grace(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    settings = Settings(petal_concurrency=1, channel_capacity=2, channel_reserve=2)
    async with open_harness(petal, settings=settings) as harness:
        with harness.broker.observe(f"{OLD}/response") as seen:
            for n in range(15):
                harness.send("rec/hold", {"n": n})
                await settle()
            await harness.set_organization("other")
            await harness.wait_connected()
            await until(lambda: len(seen) == 15)


@pytest.mark.trio
async def test_an_organization_that_goes_and_comes_back_is_served(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        harness.send("rec/hold", {"n": 1})
        await settle()
        await harness.set_organization("other")
        await harness.set_organization("acme")
        await harness.wait_connected()
        await trio.sleep(20)
        assert petal.running == 1
        assert (await harness.call("rec/note")).success
        petal.open()


@pytest.mark.trio
async def test_an_organization_that_comes_back_while_it_is_left_is_served_again_at_once(
    autojump_clock: object,
) -> None:
    """And nobody is told in between that its topics are subscribed."""
    async with open_harness(Recorder()) as harness:
        await harness.set_organization("other")
        await settle()
        await harness.set_organization("acme")
        assert not harness.statistics().connected
        await harness.wait_connected()
        assert trio.current_time() < 0.05
        assert (await harness.call("rec/note")).success


@pytest.mark.parametrize("after", [0.1, 0.3, 0.7, 0.9])
@pytest.mark.trio
async def test_wherever_it_stands_when_the_organization_comes_back_no_time_is_lost(
    after: float, autojump_clock: object
) -> None:
    """UNSUBSCRIBE takes 0.2 s, the drain 0.4 s, `offline` 0.2 s; and the new link 0.6 s."""
    async with open_harness(Recorder()) as harness:
        harness.broker.delay = 0.2
        await harness.set_organization("other")
        await trio.sleep(after)
        await harness.set_organization("acme")
        back = trio.current_time()
        await harness.wait_connected()
        assert trio.current_time() - back < 1.0
        assert (await harness.call("rec/note")).success


@pytest.mark.trio
async def test_what_is_not_drained_when_the_organization_comes_back_and_goes_again_is_answered(
    autojump_clock: object,
) -> None:
    broker = MemoryBroker(window=1)
    async with open_harness(Recorder(), broker=broker) as harness:
        broker.delay = 0.2
        with broker.observe(f"{OLD}/response") as seen:
            for n in range(8):
                harness.send("rec/note", {"n": n}, message_id=f"m{n}")
            await harness.set_organization("other")
            await trio.sleep(0.3)
            await harness.set_organization("acme")
            await settle()
            await harness.set_organization("other")
            await trio.sleep(60)
            answered = sorted(json.loads(message.payload)["messageId"] for message in seen)
        assert answered == [f"m{n}" for n in range(8)]
        assert broker.clients == ("petalkit-other-Instance-1",)


@pytest.mark.trio
async def test_a_change_while_the_broker_is_away_is_made_when_it_is_back(
    autojump_clock: object,
) -> None:
    async with open_harness(Recorder()) as harness:
        harness.broker.stop()
        await trio.sleep(1)
        await harness.set_organization("other")
        await trio.sleep(60)
        harness.broker.start()
        await harness.wait_connected()
        assert (await harness.call("rec/note")).success
        assert harness.broker.clients == ("petalkit-other-Instance-1",)


@pytest.mark.parametrize("then", ["the new link is lost", "it stops"])
@pytest.mark.trio
async def test_what_is_held_of_an_organization_that_was_left_comes_from_nowhere_again(
    then: str, autojump_clock: object
) -> None:
    """Its session was ended, so nothing may be left to it."""
    petal = Recorder()
    settings = Settings(petal_concurrency=1, channel_capacity=1, grace=30.0)
    async with open_harness(petal, settings=settings) as harness:
        with harness.broker.observe(f"{OLD}/response") as seen:
            for n in range(6):
                harness.send("rec/hold", {"n": n})
            await settle()
            await harness.set_organization("other")
            await harness.wait_connected()
            assert harness.statistics().held > 0
            if then == "it stops":
                harness.runtime.stop()
                await settle()
            else:
                harness.drop_link()
                await harness.wait_connected()
            petal.open()
            await until(lambda: len(seen) == 6)


@pytest.mark.trio
async def test_a_drain_lasts_as_long_as_a_round_trip_and_answers_once(
    autojump_clock: object,
) -> None:
    """Beyond its window the broker sends on only when it is acknowledged."""
    petal = Recorder()
    async with open_harness(petal) as harness:
        with harness.broker.observe(f"{OLD}/response") as seen:
            harness.broker.delay = 0.5
            for n in range(100):
                harness.send("rec/note", {"n": n}, message_id=f"m{n}")
            await harness.set_organization("other")
            await trio.sleep(120)
            answered = [json.loads(message.payload)["messageId"] for message in seen]
        assert sorted(answered) == sorted(f"m{n}" for n in range(100))


@pytest.mark.trio
async def test_what_is_held_does_not_keep_the_rest_from_a_drain(autojump_clock: object) -> None:
    """Without acknowledgements the broker's window stays shut, and its queue is lost."""
    petal = Recorder()
    settings = Settings(petal_concurrency=1, channel_capacity=2, channel_reserve=2)
    async with open_harness(petal, settings=settings) as harness:
        with harness.broker.observe(f"{OLD}/response") as seen:
            for n in range(60):
                harness.send("rec/hold", {"n": n}, message_id=f"m{n}")
            await settle()
            await harness.set_organization("other")
            await trio.sleep(120)
            answered = {json.loads(message.payload)["messageId"] for message in seen}
        assert answered == {f"m{n}" for n in range(60)}


@pytest.mark.trio
async def test_a_client_id_of_its_own_keeps_its_session_after_a_change(
    autojump_clock: object,
) -> None:
    """MQTT 3.1.1 ends a session that began clean with its link, so the working link must not."""
    petal = Recorder()
    async with open_harness(petal, settings=Settings(client_id="thing")) as harness:
        await harness.set_organization("other")
        await harness.wait_connected()
        harness.broker.refuse_connections()
        harness.drop_link()
        await trio.sleep(1)
        with harness.responses() as responses:
            harness.send("rec/note", message_id="sent while away")
            harness.broker.accept_connections()
            with trio.fail_after(60):
                await responses.wait(1)


class _NoText(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.trio
@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), SystemExit(1), GeneratorExit(), _NoText()], ids=repr
)
async def test_a_callable_that_raises_anything_is_asked_again(
    error: BaseException, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[BaseException | str] = [error, "acme"]

    async def source() -> str:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    waiter = IdentityWaiter(Settings(organization_source=source, device_id="d"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter.run)
        with trio.fail_after(60):
            assert (await waiter.wait()).organization_id == "acme"
        nursery.cancel_scope.cancel()
    assert f"raised {type(error).__name__}" in caplog.text
