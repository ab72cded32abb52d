"""The parts of the doctor that judge: no sockets, no clock."""

from __future__ import annotations

import errno
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from petalkit import Settings
from petalkit._values.errors import RejectedByBroker
from petalkit._values.messages import Identity
from petalkit.cli._checks.broker.broker import check_limits
from petalkit.cli._checks.broker.device import compare, judge_clocks, read_status
from petalkit.cli._checks.broker.mqtt import connect_packet, speaker_of
from petalkit.cli._checks.broker.tls import check_clock, client_certificate_todo
from petalkit.cli._checks.case import Case
from petalkit.cli._checks.certificate import DAY, Validity, validities, validity
from petalkit.cli._checks.machine.files import mode_problems, why_not_readable
from petalkit.cli._checks.machine.identity import check_device
from petalkit.cli._checks.petals import Served
from petalkit.cli._checks.reasons import connect_todo
from petalkit.cli._checks.values import (
    Check,
    Findings,
    Verdict,
    failed,
    listed,
    ok,
    shortened,
    skipped,
    warning,
    worst,
)
from petalkit.cli._doctor import as_lines

NOW = datetime(2026, 11, 25, tzinfo=UTC).timestamp()

# -- values


def test_the_worst_finding_gives_the_verdict_and_stands_first() -> None:
    findings = Findings("x")
    findings.ok("good")
    findings.warn("odd", "look")
    findings.fail("bad", "mend", "look")
    found = findings.check(nothing="-")
    assert found == Check("x", Verdict.FAILED, "bad; odd; good", ("look", "mend"))
    assert Findings("x").check(nothing="why") == skipped("x", "why")


def test_skipped_checks_do_not_count() -> None:
    assert worst([]) is worst([skipped("x", "")]) is Verdict.OK
    assert worst([skipped("x", ""), warning("x", ""), ok("x", "")]) is Verdict.WARNING
    assert worst([failed("x", ""), warning("x", "")]) is Verdict.FAILED


def test_what_others_made_long_is_cut() -> None:
    assert shortened("x" * 20, 10) == "x" * 7 + "..."
    assert listed(["a", "b"]) == "a, b"
    assert listed(map(str, range(25))).endswith("19 and 5 more")


def test_nothing_steers_the_terminal() -> None:
    shown = as_lines(failed("x", "a\x1b[31mb\nc", "d\re"))
    assert [line.plain for line in shown] == [
        "failed   x             a\\x1b[31mb\\nc",
        "                       -> d\\re",
    ]


# -- certificates


@pytest.mark.parametrize("days", [(-10, 20), (-100, -1), (0, 365 * 60)])
def test_the_dates_of_a_certificate(days: tuple[int, int]) -> None:
    """The last one ends after 2050, where another form of time begins."""
    begins, ends = (datetime.now(UTC).replace(microsecond=0) + timedelta(one) for one in days)
    pem = trustme.CA().issue_cert("x.example", not_before=begins, not_after=ends).cert_chain_pems[0]
    parsed = x509.load_pem_x509_certificate(pem.bytes())
    expected = Validity(
        parsed.not_valid_before_utc.timestamp(), parsed.not_valid_after_utc.timestamp()
    )
    assert validities("chatter\n" + pem.bytes().decode() * 2) == [expected, expected]
    assert (expected.begins, expected.ends) == (begins.timestamp(), ends.timestamp())


def test_a_certificate_that_is_none_is_a_value_error() -> None:
    pem = trustme.CA().cert_pem.bytes()
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    validity(der)
    for cut in range(200):
        with pytest.raises(ValueError, match="cut off"):
            validity(der[:cut])
    for bad in (b"\x30\x84\xff\xff\xff\xff", b"\x30\x80", b"\x04\x01x", b"\x30\x03\x30\x01\xa0"):
        with pytest.raises(ValueError, match="certificate"):
            validity(bad)
    assert validities("nothing here") == []


def test_days_left() -> None:
    valid = Validity(NOW, NOW + 3 * DAY)
    assert [valid.days_left(NOW + n * DAY) for n in (0, 2.5, 3, 3.5)] == [3, 0, 0, -1]
    assert (valid.begins_on(), valid.ends_on()) == ("2026-11-25", "2026-11-28")


@pytest.mark.parametrize(
    ("now", "dates", "verdict", "text"),
    [
        (NOW, None, "ok", "2026-11-25"),
        (NOW, Validity(NOW - DAY, NOW + DAY), "ok", "within the days"),
        (0.0, None, "warning", "1970-01-01 00:00:00 UTC here, which cannot be"),
        (1_735_689_599.0, None, "warning", "2024-12-31 23:59:59 UTC here, which cannot be"),
        (1_735_689_600.0, None, "ok", "2025-01-01"),
        (NOW, Validity(NOW + DAY, NOW + 2 * DAY), "warning", "begins on 2026-11-26"),
        (NOW, Validity(NOW - 2 * DAY, NOW - DAY), "warning", "ended on 2026-11-24"),
    ],
)
def test_the_clock(now: float, dates: Validity | None, verdict: str, text: str) -> None:
    check = check_clock(now, dates)
    assert check.verdict == verdict
    assert text in check.found
    assert bool(check.todo) == (verdict == "warning")


# -- files


@pytest.mark.parametrize(
    ("mode", "secret", "text"),
    [
        (0o600, True, None),
        (0o400, True, None),
        (0o640, True, "can be read by its group (mode 0640)"),
        (0o644, True, "can be read by everybody (mode 0644)"),
        (0o660, True, "can be used by its group"),
        (0o666, True, "can be used by everybody"),
        (0o644, False, None),
        (0o664, False, None),
        (0o646, False, "can be written by everybody (mode 0646)"),
    ],
)
def test_mode_bits(mode: int, secret: bool, text: str | None) -> None:
    problem = mode_problems(stat.S_IFREG | mode, secret=secret)
    assert (problem is None) == (text is None)
    if problem is not None and text is not None:
        assert text in problem[0]
        assert problem[1] == ("chmod 600" if secret else "chmod o-w")


def test_why_a_file_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "a" / "b" / "c.pem"
    text, todo = why_not_readable(missing, FileNotFoundError(errno.ENOENT, "No such file"))
    assert text == f"{missing} does not exist (there is no {tmp_path / 'a'})"
    assert str(missing) in todo
    text, _ = why_not_readable(tmp_path / "x", FileNotFoundError(errno.ENOENT, "No such file"))
    assert text.endswith("x does not exist")
    there = tmp_path / "there"
    there.write_text("")
    text, todo = why_not_readable(there, PermissionError(errno.EACCES, "Permission denied"))
    assert "cannot be read by user " in text
    assert "Permission denied" in text
    assert "`petalkit run` runs as" in todo


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_closed_folder_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "deeper").mkdir(parents=True)
    closed.chmod(0)
    try:
        denied = PermissionError(errno.EACCES, "Permission denied")
        text, _ = why_not_readable(closed / "deeper" / "x", denied)
    finally:
        closed.chmod(0o700)
    assert f"the folder {closed} is closed to it" in text


# -- what brokers say


@pytest.mark.parametrize(
    ("answer", "speaker"),
    [
        (b"", "closes"),
        (b"\x20\x02\x00\x05", "mqtt"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "tls"),
        (b"\x16\x03\x03\x00\x7a", "tls"),
        (b"\x15", "tls"),
        (b"\x15\x00", "other"),
        (b"HTTP/1.1 400 Bad Request\r\n", "http"),
        (b"SSH-2.0-x\r\n", "other"),
    ],
)
def test_who_answers_like_this(answer: bytes, speaker: str) -> None:
    assert speaker_of(answer) == speaker


def test_the_connect_by_hand() -> None:
    assert connect_packet("ab") == b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x0a\x00\x02ab"


@pytest.mark.parametrize(
    ("code", "settings", "text"),
    [
        (1, {}, "--protocol 5"),
        (0x84, {"protocol": "5"}, "--protocol 3.1.1"),
        (0x84, {"transport": "native"}, "--transport asyncio-mqtt"),
        (2, {}, "client_id"),
        (4, {"username": "u"}, "--password-file"),
        (0x86, {}, "set username"),
        (5, {}, "--as-device"),
        (0x97, {}, "quota"),
        (0x9A, {}, "retained"),
        (0xFF, {}, "log"),
    ],
)
def test_what_to_do_about_a_refusal(code: int, settings: dict[str, Any], text: str) -> None:
    todo = connect_todo(RejectedByBroker(code, "no"), Settings(**settings), as_device=False)
    assert any(text in one for one in todo), todo
    asked_as_device = connect_todo(
        RejectedByBroker(code, "no"), Settings(**settings), as_device=True
    )
    assert asked_as_device
    assert not any("--as-device" in one for one in asked_as_device)


def test_an_alert_is_about_the_client_certificate_or_is_not() -> None:
    alert = "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required"
    pair = {"cert_file": Path("c"), "key_file": Path("k"), "broker": "mqtts://h"}
    assert "wants" in (client_certificate_todo(alert, Settings()) or "")
    assert "does not take" in (client_certificate_todo(alert, Settings(**pair)) or "")  # type: ignore[arg-type]
    assert client_certificate_todo("Connection reset by peer", Settings()) is None


V5 = Settings(protocol="5", payload_max=4000, session_expiry=3600)


@pytest.mark.parametrize(
    ("limits", "verdict", "text"),
    [
        ({}, "skipped", "names no limit"),
        ({"maximum_packet_size": 4000}, "warning", "payload_max is 4000"),
        ({"maximum_packet_size": 5000}, "ok", "5000 bytes"),
        ({"retain_available": 0}, "failed", "Retain Available 0"),
        ({"maximum_qos": 0}, "failed", "Maximum QoS 0"),
        ({"maximum_qos": 1}, "ok", "Maximum QoS 1"),
        ({"receive_maximum": 20}, "ok", "20, less than publish_maximum 100"),
        ({"receive_maximum": 500}, "ok", "Receive Maximum 500"),
        ({"server_keep_alive": 5}, "ok", "5 s in place of 20 s"),
        ({"session_expiry_interval": 60}, "warning", "60 s, and session_expiry is 3600"),
        ({"session_expiry_interval": 3600}, "ok", "3600 s"),
    ],
)
def test_limits(limits: dict[str, int], verdict: str, text: str) -> None:
    check = check_limits(limits, V5)
    assert (check.verdict, text in check.found) == (verdict, True), check
    assert bool(check.todo) == (verdict in ("warning", "failed"))


def test_limits_that_nobody_could_tell() -> None:
    assert check_limits({}, Settings()).verdict is Verdict.SKIPPED


def test_a_broker_that_says_what_it_was_asked_limits_nothing() -> None:
    assert check_limits({"server_keep_alive": 20}, V5).verdict is Verdict.SKIPPED
    no_session = attrs.evolve(V5, clean_start=True)
    assert check_limits({"session_expiry_interval": 0}, no_session).verdict is Verdict.SKIPPED


def test_a_status_that_is_not_retained_needs_no_retained_messages() -> None:
    check = check_limits({"retain_available": 0}, V5)
    assert "--no-status-retain" in check.todo[0]
    check = check_limits({"retain_available": 0}, attrs.evolve(V5, status_retain=False))
    assert (check.verdict, check.todo) == ("ok", ())


def test_a_session_that_is_shorter_than_the_delay_of_the_will() -> None:
    settings = attrs.evolve(V5, will_delay=600)
    check = check_limits({"session_expiry_interval": 300}, settings)
    assert "will_delay is 600 s, and a session is kept for 300 s" in check.found
    assert check.verdict == "warning"


# -- what the device says


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (b'{"status": "online"}', "online"),
        (b'{"status": "offline", "petals": []}', "offline"),
        (b'{"status": "\\u001b"}', None),
        (b'{"status": ["online"]}', None),
        (b"[1]", None),
        (b"rubbish", None),
        (b"", None),
    ],
)
def test_the_word_in_a_status(payload: bytes, status: str | None) -> None:
    assert read_status(payload) == status


@pytest.mark.parametrize(
    ("stamp", "verdict", "text"),
    [
        ("2026-11-25T00:00:00.000Z", "ok", ""),
        ("2026-11-25T00:00:04Z", "ok", ""),
        ("2026-11-25T00:01:00Z", "warning", "60 s ahead of this one"),
        ("2026-11-24T23:59:00Z", "warning", "60 s behind this one"),
        (None, "ok", ""),
        ("soon", "ok", ""),
    ],
)
def test_the_devices_clock(stamp: object, verdict: str, text: str) -> None:
    check = judge_clocks(stamp, NOW, 0.05, "base")
    assert check.verdict == verdict
    assert text in check.found


INFO: dict[str, Any] = {
    "petalkit": "1.0",
    "petals": [{"name": "a", "version": "1"}],
    "commands": ["a/x", "a/y"],
}


@pytest.mark.parametrize(
    ("petals", "commands", "verdict", "text"),
    [
        ((("a", "1"),), ("a/x",), "ok", "serves a 1, 2 commands: a/x, a/y"),
        ((("a", "2"),), ("a/x",), "warning", "a runs as 1, and is 2 here"),
        ((("a", "1"), ("b", "1")), ("a/x", "b/x"), "warning", "does not serve b"),
        ((("a", "1"),), ("a/x", "a/z"), "warning", "lacks a/z"),
    ],
)
def test_info_is_compared(petals: Any, commands: Any, verdict: str, text: str) -> None:
    check = compare(INFO, Served(petals, commands))
    assert (check.verdict, text in check.found) == (verdict, True), check


@pytest.mark.parametrize("bad", [None, 5, "x", [1, {"name": 3}], {"a": 1}])
def test_info_that_makes_no_sense_does_no_harm(bad: Any) -> None:
    compare({"petalkit": bad, "petals": bad, "commands": bad}, Served((("a", "1"),), ("a/x",)))


# -- the case


def test_our_own_client_leaves_nothing_and_the_devices_session_is_not_thrown_away() -> None:
    identity = Identity("acme", "Instance-1")
    case = Case(settings=Settings(), identity=identity)
    own = case.options()
    assert own.client_id.startswith("petalkit-doctor-")
    assert len(own.client_id) <= 23
    assert (own.clean_start, own.session_expiry, own.will) == (True, 0, None)
    settings = Settings(clean_start=True, session_expiry=0)
    device = Case(settings=settings, identity=identity, as_device=True).options()
    assert device.client_id == "petalkit-acme-Instance-1"
    # It keeps none: what is there is of other times, and may hold commands all the same.
    assert (device.clean_start, device.session_expiry, device.will) == (False, 3600, None)
    kept = Case(settings=Settings(session_expiry=86_400), identity=identity, as_device=True)
    assert kept.options().session_expiry == 86_400
    named = Case(settings=Settings(client_id="drone-7"), identity=None, as_device=True)
    assert named.options().client_id == "drone-7"


# -- the client ID


@pytest.mark.parametrize(
    ("organization", "settings", "verdict", "text"),
    [
        ("acme", {}, "ok", "'y', from the setting device_id"),
        ("acme-x", {}, "ok", "'petalkit--6-acme-x-y', which 0.1 called 'petalkit-acme-x-y'"),
        ("acme-x", {}, "ok", "stays there (former_client_id takes it)"),
        ("acme-x", {"former_client_id": True}, "warning", "each start takes over the session of"),
        ("acme", {"client_id": "thing"}, "ok", "while it is off, what waits in the session"),
        ("o" * 120, {}, "warning", "its client ID has 131 bytes"),
    ],
)
def test_the_device_check_tells_of_the_client_id(
    organization: str, settings: dict[str, Any], verdict: str, text: str
) -> None:
    device, check = check_device(Settings(device_id="y", **settings), organization)
    assert device == "y"
    assert check.verdict == verdict
    assert text in check.found


def test_a_fixed_client_id_of_a_fixed_organization_is_nothing_to_tell() -> None:
    settings = Settings(device_id="y", client_id="thing", organization_id="acme")
    assert check_device(settings, "acme")[1].found == "'y', from the setting device_id"
