"""What the doctor finds on the device itself: settings, files, identity, petals.

The broker is one that refuses at once, so all that needs it is skipped.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from ...brokers import Certificates
from ..conftest import RunCli
from .kit import Doctor

NOWHERE = ("--broker", "mqtts://127.0.0.1:1")
DEVICE = ("--device-id", "Instance-1")
WHO = ("--organization-id", "acme", *DEVICE)


@contextlib.contextmanager
def writer_in_time(pipe: Path) -> Iterator[None]:
    """A reader that waits for a writer is let go after a while, and has failed the test."""
    waited = threading.Event()
    done = threading.Event()

    def write() -> None:
        limit = 10.0
        while not done.wait(limit):
            waited.set()
            limit = 0.05  # there may be more than one
            with contextlib.suppress(OSError):  # nobody reads at this moment
                os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert not waited.is_set(), "it waited for a writer"


# -- settings


def test_settings_that_do_not_load_leave_nothing_to_check(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("[petalkit]\nkeep_alive = 0\n")
    report = doctor("--config", "p.toml", "--call", "x/y")
    assert (report.code, report.verdict) == (1, "failed")
    assert report.of("failed") == {"settings", "call"}
    assert "keep_alive: must be at least 1" in report["settings"]["found"]
    assert "keep_alive" in report["settings"]["todo"][0]
    assert len(report.of("skipped")) == len(report.checks) - 2 == 15


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--config", "none.toml"), "cannot read 'none.toml'"),
        (("--transport", "pigeon"), "transport: must be one of"),
        (("--transport", "native", "--protocol", "3.1.1"), "protocol"),
    ],
)
def test_settings_that_cannot_work(doctor: Doctor, arguments: tuple[str, ...], text: str) -> None:
    report = doctor(*NOWHERE, *WHO, *arguments)
    assert report["settings"]["verdict"] == "failed"
    assert text in report["settings"]["found"]


def test_a_config_file_that_others_may_write(doctor: Doctor, tmp_path: Path) -> None:
    config = tmp_path / "p.toml"
    config.write_text("[petalkit]\n")
    config.chmod(0o644)
    report = doctor(*NOWHERE, *WHO, "--config", str(config))
    assert report["settings"]["verdict"] == "ok"
    assert str(config) in report["settings"]["found"]
    config.chmod(0o646)
    report = doctor(*NOWHERE, *WHO, "--config", str(config))
    assert report["settings"]["verdict"] == "warning"
    assert f"chmod o-w {config}" in report["settings"]["todo"][0]


def test_a_config_file_with_the_password_is_for_its_owner_alone(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "p.toml"
    config.write_text('[petalkit]\nusername = "u"\npassword = "s3cr3t"\n')
    config.chmod(0o644)
    report = doctor(*NOWHERE, *WHO, "--config", "p.toml")
    assert "can be read by everybody" in report["settings"]["found"]
    assert "s3cr3t" not in str(report)
    monkeypatch.setenv("PETALKIT_PASSWORD", "another")
    assert doctor(*NOWHERE, *WHO, "--config", "p.toml")["settings"]["verdict"] == "ok"


def test_a_mistyped_variable_is_named(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETALKIT_BROKR", "x")
    report = doctor(*NOWHERE, *WHO)
    assert report["settings"]["verdict"] == "warning"
    assert "PETALKIT_BROKR" in report["settings"]["found"].split("; from")[0]


def test_a_replay_that_would_be_run_again(doctor: Doctor) -> None:
    age = ("--command-age-max", "60", "--duplicate-age")
    assert doctor(*NOWHERE, *WHO, *age, "120")["settings"]["verdict"] == "ok"
    report = doctor(*NOWHERE, *WHO, *age, "119")
    assert report["settings"]["verdict"] == "warning"
    assert "is run again" in report["settings"]["found"]
    assert "Raise that age" in report["settings"]["todo"][0]


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(
    run_cli: RunCli, doctor: Doctor, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with writer_in_time(tmp_path / "pipe"):
        report = doctor(*NOWHERE, *WHO, "--config", "pipe")
        outcome = run_cli("run", "x", *NOWHERE, *WHO, "--config", "pipe")
    assert "cannot read 'pipe': it is not a regular file" in report["settings"]["found"]
    assert outcome.code == 2
    assert "it is not a regular file" in outcome.err


# -- certificates


def pair(certificates: Certificates, **other: Path) -> list[str]:
    named = {
        "ca-file": certificates.ca,
        "cert-file": certificates.client_cert,
        "key-file": certificates.client_key,
        **{name.replace("_", "-"): path for name, path in other.items()},
    }
    return [part for name, path in named.items() for part in (f"--{name}", str(path))]


@pytest.fixture
def made(tmp_path: Path) -> Certificates:
    found = Certificates.make(tmp_path / "made")
    found.client_key.chmod(0o600)
    return found


def test_files_that_are_good(doctor: Doctor, made: Certificates) -> None:
    check = doctor(*NOWHERE, *WHO, *pair(made))["certificates"]
    assert check["verdict"] == "ok"
    assert "cert_file: good for " in check["found"]
    assert check["todo"] == []


@pytest.mark.parametrize("name", ["ca_file", "cert_file", "key_file"])
def test_files_that_are_not_there(doctor: Doctor, made: Certificates, name: str) -> None:
    gone = made.ca.parent / "gone" / "x.pem"
    check = doctor(*NOWHERE, *WHO, *pair(made, **{name: gone}))["certificates"]
    assert check["verdict"] == "failed"
    assert f"{name}: {gone} does not exist (there is no {gone.parent})" in check["found"]


@pytest.mark.parametrize("name", ["username", "password"])
def test_a_file_of_a_secret_that_is_a_pipe_or_missing(
    run_cli: RunCli, doctor: Doctor, tmp_path: Path, name: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    other = ("--username", "u") if name == "password" else ()
    for file, text in (("pipe", "it is not a regular file"), ("none", "does not exist")):
        options = (*NOWHERE, *WHO, *other, f"--{name}-file", file)
        with writer_in_time(tmp_path / "pipe"):
            check = doctor(*options)["certificates"]
            outcome = run_cli("call", "x/y", *options)
        assert check["verdict"] == "failed"
        assert f"{name}_file: {Path(file).absolute()}" in check["found"]
        assert text in check["found"]
        assert outcome.code == 2
        assert f"{name}_file: {Path(file).absolute()} cannot be read" in outcome.err


@pytest.mark.parametrize("name", ["ca_file", "cert_file", "key_file"])
def test_a_certificate_file_that_is_a_pipe_is_not_waited_for(
    doctor: Doctor, made: Certificates, tmp_path: Path, name: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with writer_in_time(tmp_path / "pipe"):
        check = doctor(*NOWHERE, *WHO, *pair(made, **{name: tmp_path / "pipe"}))["certificates"]
    assert check["verdict"] == "failed"
    assert f"{name}: {tmp_path / 'pipe'} cannot be read" in check["found"]
    assert "it is not a regular file" in check["found"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_key_of_somebody_else(doctor: Doctor, made: Certificates) -> None:
    made.client_key.chmod(0)
    check = doctor(*NOWHERE, *WHO, *pair(made))["certificates"]
    assert "cannot be read by user" in check["found"]


def test_a_key_and_a_password_that_others_may_read(
    doctor: Doctor, made: Certificates, tmp_path: Path
) -> None:
    made.client_key.chmod(0o640)
    (tmp_path / "password").write_text("s3cr3t\n")
    (tmp_path / "password").chmod(0o604)
    user = ("--username", "u", "--password-file", "password")
    report = doctor(*NOWHERE, *WHO, *pair(made), *user)
    check = report["certificates"]
    assert check["verdict"] == "warning"
    assert f"key_file: {made.client_key} can be read by its group" in check["found"]
    assert (
        f"password_file: {Path('password').absolute()} can be read by everybody (mode 0604)"
        in check["found"]
    )
    assert [todo.split(",")[0] for todo in check["todo"]] == [
        f"chmod 600 {made.client_key}",
        f"chmod 600 {Path('password').absolute()}",
    ]
    assert "s3cr3t" not in str(report)


def test_a_key_of_another_certificate(doctor: Doctor, made: Certificates, tmp_path: Path) -> None:
    other = Certificates.make(tmp_path / "other")
    report = doctor(*NOWHERE, *WHO, *pair(made, key_file=other.client_key))
    assert "do not belong together" in report["certificates"]["found"]
    assert report["certificates"]["verdict"] == "failed"


def test_a_key_with_a_password(doctor: Doctor, made: Certificates, tmp_path: Path) -> None:
    key = serialization.load_pem_private_key(made.client_key.read_bytes(), None)
    encrypted = tmp_path / "encrypted.pem"
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    check = doctor(*NOWHERE, *WHO, *pair(made, key_file=encrypted))["certificates"]
    assert "is encrypted" in check["found"]
    assert "openssl pkey" in " ".join(check["todo"])
    for text, verdict in (("secret\n", "ok"), ("wrong", "failed"), ("", "failed")):
        (tmp_path / "word").write_text(text)
        (tmp_path / "word").chmod(0o600)
        encrypted.chmod(0o600)
        options = (*pair(made, key_file=encrypted), "--key-password-file", str(tmp_path / "word"))
        check = doctor(*NOWHERE, *WHO, *options)["certificates"]
        assert check["verdict"] == verdict
    assert f"key_password_file: {tmp_path / 'word'} is empty" in check["found"]


def test_a_ca_file_that_holds_none(doctor: Doctor, made: Certificates, tmp_path: Path) -> None:
    (tmp_path / "rubbish").write_text("rubbish")
    check = doctor(*NOWHERE, *WHO, *pair(made, ca_file=tmp_path / "rubbish"))["certificates"]
    assert f"ca_file: {tmp_path / 'rubbish'} has no certificates to trust" in check["found"]


@pytest.mark.parametrize(
    ("begins", "ends", "verdict", "text"),
    [
        (-10, -1, "failed", "cert_file: ended on"),
        (-10, 9, "warning", "cert_file: ends in 8 days"),
        (5, 90, "warning", "cert_file: good only from"),
        (-10, 90, "ok", "cert_file: good for 89 days"),
    ],
)
def test_the_dates_of_the_client_certificate(
    doctor: Doctor, made: Certificates, begins: int, ends: int, verdict: str, text: str
) -> None:
    now = datetime.now(UTC)
    issued = trustme.CA().issue_cert(
        "device@example.org",
        not_before=now + timedelta(begins),
        not_after=now + timedelta(ends),
    )
    made.client_cert.write_bytes(issued.cert_chain_pems[0].bytes())
    issued.private_key_pem.write_to_path(made.client_key)
    made.client_key.chmod(0o600)
    check = doctor(*NOWHERE, *WHO, *pair(made))["certificates"]
    assert check["verdict"] == verdict
    assert text in check["found"]


# -- identity


@pytest.mark.parametrize(
    ("content", "text", "todo"),
    [
        (None, "does not exist", "Wait for provisioning"),
        ("", "is empty", "written, or broken"),
        ("{", "is not valid JSON", "written, or broken"),
        ("{}", "has no organization ID in thing.lastReported", "Assign the device"),
        ('{"thing": {"lastReported": {"organizationId": "a/b"}}}', "has '/'", "one level"),
        ('{"thing": {"lastReported": {"organizationId": "a\\u001b"}}}', "U+001B", "one level"),
    ],
)
def test_an_organization_file_without_the_id(
    doctor: Doctor, tmp_path: Path, content: str | None, text: str, todo: str
) -> None:
    path = tmp_path / "thing.json"
    if content is not None:
        path.write_text(content)
    check = doctor(*NOWHERE, *DEVICE, "--organization-file", str(path))["organization"]
    assert check["verdict"] == "failed"
    assert text in check["found"]
    assert str(path) in check["found"]
    assert todo in check["todo"][0]
    assert "--organization-id" in check["todo"][-1]


def test_an_organization_file_with_the_id(doctor: Doctor, tmp_path: Path) -> None:
    path = tmp_path / "thing.json"
    document = {"shadow": {"state": {"desired": {"organizationId": "acme"}}}, "secret": "s3cr3t"}
    path.write_text(json.dumps(document))
    path.chmod(0o644)
    report = doctor(*NOWHERE, *DEVICE, "--organization-file", str(path))
    assert report["organization"]["verdict"] == "ok"
    assert report["organization"]["found"].startswith(f"'acme', from the file {path}")
    assert "s3cr3t" not in str(report)
    path.chmod(0o666)
    check = doctor(*NOWHERE, *DEVICE, "--organization-file", str(path))["organization"]
    assert check["verdict"] == "warning"
    assert f"chmod o-w {path}" in check["todo"][0]


def test_an_organization_file_that_is_none(doctor: Doctor, tmp_path: Path) -> None:
    check = doctor(*NOWHERE, *DEVICE, "--organization-file", str(tmp_path))["organization"]
    assert "Is a directory" in check["found"]
    os.mkfifo(tmp_path / "pipe")  # nobody writes to it, and nobody waits for that
    check = doctor(*NOWHERE, *DEVICE, "--organization-file", str(tmp_path / "pipe"))["organization"]
    assert "is not a regular file" in check["found"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_an_organization_file_of_somebody_else(doctor: Doctor, tmp_path: Path) -> None:
    path = tmp_path / "thing.json"
    path.write_text("{}")
    path.chmod(0)
    check = doctor(*NOWHERE, *DEVICE, "--organization-file", str(path))["organization"]
    assert "cannot be read by user" in check["found"]


def test_where_the_ids_come_from(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    report = doctor(*NOWHERE, *WHO)
    assert report["organization"]["found"] == "'acme', from the setting organization_id"
    assert report["device"]["found"] == "'Instance-1', from the setting device_id"
    import machineid

    monkeypatch.setattr(machineid, "hashed_id", lambda _: "abc")
    report = doctor(*NOWHERE, "--organization-id", "acme")
    assert report["device"]["found"] == "'Instance-abc', made of this machine's ID"

    def fail(_: str) -> str:
        raise machineid.MachineIdNotFound

    monkeypatch.setattr(machineid, "hashed_id", fail)
    report = doctor(*NOWHERE, "--organization-id", "acme")
    assert report["device"]["verdict"] == "failed"
    assert report["device"]["todo"] == ["Set device_id."]


# -- petals


def test_a_petal_that_cannot_be_loaded_is_named(
    doctor: Doctor, example_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text("import nothing_like_this\n")
    report = doctor("broken.py", str(example_file), *NOWHERE, *WHO)
    broken, good = (check for check in report.checks if check["id"] == "petal")
    assert broken["verdict"] == "failed"
    assert "No module named 'nothing_like_this'" in broken["found"]
    assert "petalkit list" in broken["todo"][0]
    assert good["verdict"] == "ok"
    assert report["petals"]["verdict"] == "skipped"


def test_a_petal_with_a_mistake_is_not_told_of_two_names(doctor: Doctor, tmp_path: Path) -> None:
    text = "from petalkit import Petal, command\nclass P(Petal):\n    name = 'p'\n"
    text += "    @command('go')\n    async def go(self, x: Ellipsis) -> None: ...\n"
    (tmp_path / "p.py").write_text(text)
    petal, petals = (
        one for one in doctor("p.py", *NOWHERE).checks if one["id"].startswith("petal")
    )
    assert (petal["verdict"], "'x'" in petal["found"]) == ("failed", True)
    assert petal["todo"][0].startswith("`petalkit list TARGET`")
    assert (petals["verdict"], petals["todo"]) == ("skipped", [])


def test_two_petals_of_one_name(doctor: Doctor, example_file: Path) -> None:
    report = doctor(str(example_file), str(example_file), *NOWHERE, *WHO)
    assert [check["verdict"] for check in report.checks if check["id"] == "petal"] == ["ok", "ok"]
    assert report["petals"]["verdict"] == "failed"
    assert "two petals have this name" in report["petals"]["found"]


def test_tables_reach_the_petals_and_those_of_nobody_are_named(
    doctor: Doctor, example_file: Path, tmp_path: Path
) -> None:
    text = example_file.read_text().replace("example-petal", "made")
    (tmp_path / "made.py").write_text(text + "\n    def __init__(self, rate: float): ...\n")
    config = tmp_path / "p.toml"
    config.write_text("[petals.made]\nrate = 1.5\n")
    targets = (str(example_file), "made.py")
    report = doctor(*targets, *NOWHERE, *WHO, "--config", "p.toml")
    assert report["petals"]["found"] == "2 petals can be served together"
    config.write_text("[petals.made]\nrate = 1.5\n[petals.mode]\n")
    report = doctor(*targets, *NOWHERE, *WHO, "--config", "p.toml")
    assert "[petals.mode]" in report["petals"]["found"]
    config.write_text('[petals.made]\nrate = "x"\n')
    report = doctor(*targets, *NOWHERE, *WHO, "--config", "p.toml")
    good, bad = (check for check in report.checks if check["id"] == "petal")
    assert (good["verdict"], bad["verdict"]) == ("ok", "failed")
    assert "rate" in bad["found"]


def test_a_petal_that_prints_does_not_spoil_the_document(
    run_cli: RunCli, example_file: Path
) -> None:
    example_file.write_text("print('chatter')\n" + example_file.read_text())
    outcome = run_cli("doctor", "--json", str(example_file), *NOWHERE, *WHO)
    assert json.loads(outcome.out)["checks"]
    assert outcome.err == "chatter\n"


# -- petals of the host


GUIDE = """
from petal_app_manager.plugins.base import Petal

class GuidePetal(Petal):
    name = NAME
    version = "1"
    use_mqtt_proxy = True

    def get_required_proxies(self):
        return ["redis", "mqtt"]

    def _setup_command_handlers(self):
        return {"camera/expose": None, NAME + "/own": None}
"""


def guide(tmp_path: Path, name: str) -> str:
    (tmp_path / f"{name}.py").write_text(GUIDE.replace("NAME", repr(name)))
    return f"{name}.py"


@pytest.mark.usefixtures("host_names")
def test_a_proxy_that_a_petal_needs_and_nobody_supplies(doctor: Doctor, tmp_path: Path) -> None:
    common = (guide(tmp_path, "one"), "--host-compat", *NOWHERE, *WHO)
    report = doctor(*common)
    petal, proxies = (check for check in report.checks if check["id"] == "petal")
    assert petal["verdict"] == "ok"
    assert proxies["verdict"] == "failed"
    assert proxies["found"] == "one needs redis, and nobody supplies that"
    assert "--host-proxy redis=module:name" in proxies["todo"][0]
    assert report["petals"]["verdict"] == "skipped"
    assert doctor(*common, "--host-proxy", "redis=none")["petals"]["verdict"] == "ok"


@pytest.mark.usefixtures("host_names")
def test_a_proxy_that_cannot_be_loaded(doctor: Doctor, tmp_path: Path) -> None:
    common = (guide(tmp_path, "one"), *NOWHERE, *WHO)
    check = doctor(*common, "--host-compat", "--host-proxy", "redis=no_such:Redis")["petals"]
    assert check["verdict"] == "failed"
    assert "--host-proxy redis" in check["found"]
    assert "--host-compat" in check["todo"][0]
    check = doctor(*common, "--host-proxy", "redis=none")["petals"]
    assert "add --host-compat" in check["found"]
    assert check["todo"] == ["Add --host-compat, or leave --host-proxy out."]


@pytest.mark.usefixtures("host_names")
def test_two_petals_of_the_host_with_one_command(doctor: Doctor, tmp_path: Path) -> None:
    targets = (guide(tmp_path, "one"), guide(tmp_path, "two"))
    options = ("--host-compat", "--host-proxy", "redis=none")
    check = doctor(*targets, *options, *NOWHERE, *WHO)["petals"]
    assert check["verdict"] == "warning"
    assert "camera/expose of two is never asked for: one was given first" in check["found"]
    assert "own" not in check["found"].partition(";")[0]
    assert "2 petals can be served together" in check["found"]
    assert "Rename" in check["todo"][0]
