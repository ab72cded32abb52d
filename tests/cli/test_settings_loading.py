"""Settings from command line, environment and file: precedence, strictness, error texts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs
import pytest

from petalkit import ConfigError, Settings
from petalkit.cli import _options
from petalkit.cli._settings import loading as _settings_loading
from petalkit.cli._settings.loading import load
from petalkit.cli._settings.names import loadable_fields
from petalkit.cli._settings.variables import log_format, log_level
from petalkit.transports._connecting.credentials import renew_from_files
from petalkit.transports._connecting.tls import broker_address

from .conftest import RunCli


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "petalkit.toml"
    path.write_text(text)
    return path


def test_nothing_given_gives_the_defaults() -> None:
    assert load().settings == Settings()


def test_each_layer_goes_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = config(tmp_path, '[petalkit]\nbroker = "mqtt://file"\ngrace = 1\nkeep_alive = 11\n')
    monkeypatch.setenv("PETALKIT_BROKER", "mqtt://environment")
    monkeypatch.setenv("PETALKIT_GRACE", "2.5")
    settings = load({"broker": "mqtt://command-line"}, config=file).settings
    assert settings.broker == "mqtt://command-line"
    assert settings.grace == 2.5
    assert settings.keep_alive == 11
    assert settings.protocol == Settings().protocol


def test_every_loadable_setting_can_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = Settings(
        username="u", password="p", cert_file=Path("/c"), key_file=Path("/k"), alpn=("a", "b")
    )
    for name in _settings_loading.loadable_fields():
        value = getattr(expected, name)
        text = ",".join(value) if isinstance(value, tuple) else str(value)
        if value is not None:
            monkeypatch.setenv(f"PETALKIT_{name.upper()}", text)
    assert load().settings == expected


def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETALKIT_ORGANIZATION_ID", "")
    monkeypatch.setenv("PETALKIT_KEEP_ALIVE", "")
    assert load().settings == Settings()


def test_a_callable_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETALKIT_ORGANIZATION_SOURCE", "os.getcwd")
    assert load().settings.organization_source is None
    with pytest.raises(ConfigError, match=r"organization_source.*in Python only"):
        load(config=config(tmp_path, '[petalkit]\norganization_source = "x"\n'))


def test_what_only_programs_that_call_heed_is_no_option_of_a_device(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"call_retries.*in Python only"):
        load(config=config(tmp_path, "[petalkit]\ncall_retries = 1\n"))
    assert not [name for name in loadable_fields() if name.startswith("call_")]


@pytest.mark.parametrize("text", ["true", "True", "yes", "on", "1"])
def test_a_bool_from_the_environment(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETALKIT_ALLOW_INSECURE", text)
    assert load().settings.allow_insecure is True


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("keep_alive = 1.5", "keep_alive: must be a whole number, not 1.5"),
        ("keep_alive = true", "keep_alive: must be a whole number, not True"),
        ('grace = "soon"', "grace: must be a number, not 'soon'"),
        (f"grace = 1{'0' * 400}", "grace: must be a number, not 1000"),
        ("allow_insecure = 1", "allow_insecure: must be true or false, not 1"),
        ("device_id = 7", "device_id: must be a text, not 7"),
        ('overflow = "wiat"', "overflow: must be one of wait, reject, drop-oldest, not 'wiat'"),
        ("alpn = [1]", "alpn: must be a list of texts"),
        ("ca_file = 3", "ca_file: must be a path, not 3"),
        ("keep_alive = 0", "keep_alive: must be at least 1, not 0"),
    ],
)
def test_a_wrong_value_names_the_setting_and_the_file(line: str, text: str, tmp_path: Path) -> None:
    file = config(tmp_path, f"[petalkit]\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        load(config=file)
    assert text in str(caught.value)
    assert str(caught.value).endswith(f"(from {file})")


@pytest.mark.parametrize("name", ["username", "alpn"])
def test_bytes_that_are_not_utf_8_are_no_text(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"PETALKIT_{name.upper()}", os.fsdecode(b"a\xff"))
    with pytest.raises(ConfigError, match=f"{name}: must be valid Unicode, not 'a"):
        load()


def test_a_path_need_not_be_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETALKIT_CA_FILE", os.fsdecode(b"/a\xff"))
    assert os.fsencode(load().settings.ca_file or "") == b"/a\xff"


def test_a_wrong_value_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETALKIT_KEEP_ALIVE", "fast")
    with pytest.raises(ConfigError, match=r"'fast' \(from PETALKIT_KEEP_ALIVE\)$"):
        load()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[petalkit]\nbrokr = "x"\n', "unknown key 'brokr' in [petalkit]; did you mean 'broker'?"),
        ('broker = "x"\n', "unknown key 'broker'; settings stand under [petalkit]"),
        ("[petal.x]\n", "unknown key 'petal'; did you mean 'petal"),
        ("[petalkit\n", "is not TOML"),
        ("petalkit = 3\n", "[petalkit] in"),
        ("[petals]\nx = 3\n", "[petals.x] in"),
        ("[petalkit]\nkeep-alive = 5\nkeep_alive = 5\n", "sets 'keep_alive' twice"),
    ],
)
def test_a_bad_file_is_told_apart(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(config=config(tmp_path, text))
    assert expected in str(caught.value)


def test_dashes_are_as_good_as_underscores(tmp_path: Path) -> None:
    assert load(config=config(tmp_path, "[petalkit]\nkeep-alive = 7\n")).settings.keep_alive == 7


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*No such file"):
        load(config=tmp_path / "none.toml")


def test_paths_are_relative_to_the_file_they_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    file = config(folder, '[petalkit]\nca_file = "ca.pem"\norganization_file = "/abs/x.json"\n')
    settings = load({"cert_file": Path("c.pem"), "key_file": Path("k.pem")}, config=file).settings
    assert settings.ca_file == folder / "ca.pem"
    assert settings.organization_file == Path("/abs/x.json")
    assert settings.cert_file == Path("c.pem").absolute()


def test_the_password_comes_from_a_file_without_its_line_end(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret \n")
    settings = load({"username": "u", "password_file": file}).settings
    assert settings.password is None
    assert renew_from_files(settings, ("password",)).password == "s3cret "


def test_a_secret_and_its_file_follow_their_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = config(tmp_path, "[petalkit]\nusername = 'u'\npassword_file = 'from-config'\n")
    assert load(config=file).settings.password_file == tmp_path / "from-config"
    monkeypatch.setenv("PETALKIT_PASSWORD", "environment")
    settings = load(config=file).settings
    assert (settings.password, settings.password_file) == ("environment", None)
    settings = load({"password_file": Path("given")}, config=file).settings
    assert (settings.password, settings.password_file) == (None, Path("given").absolute())
    monkeypatch.setenv("PETALKIT_PASSWORD_FILE", "too")
    with pytest.raises(ConfigError, match=r"together with password \(from PETALKIT_PASSWORD_FILE"):
        load(config=file)


def test_a_password_is_never_in_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = config(tmp_path, "[petalkit]\nusername = 'u'\npassword = 31337\n")
    with pytest.raises(ConfigError) as caught:
        load(config=file)
    assert "31337" not in str(caught.value)
    assert "31337" not in repr(caught.value)
    monkeypatch.setenv("PETALKIT_PASSWORD", "31337")
    with pytest.raises(ConfigError, match="needs a username") as caught:
        load()
    assert "31337" not in repr(caught.value)


def test_the_command_line_has_every_setting_but_secrets() -> None:
    options = {field.name for field in attrs.fields(_options.RunSettings)}  # type: ignore[arg-type]
    assert options == {*_settings_loading.loadable_fields()} - {
        *("password", "key_password", "sidecar_token", "proxy_credentials", "compat_http_token"),
    }


def test_one_source_of_the_organization_on_one_command_line() -> None:
    with pytest.raises(ConfigError, match="together with --organization-file"):
        load({"organization_id": "a", "organization_file": Path("f")})


def test_an_organization_file_goes_before_an_id_of_a_lower_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = config(tmp_path, '[petalkit]\norganization_id = "low"\n')
    assert load(config=file).settings.organization_id == "low"
    monkeypatch.setenv("PETALKIT_ORGANIZATION_ID", "middle")
    settings = load({"organization_file": Path("f")}, config=file).settings
    assert settings.organization_id is None
    assert settings.organization_file == Path("f").absolute()


def test_a_file_on_the_command_line_takes_the_variable_out_of_the_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The runtime itself asks the environment before the file."""
    monkeypatch.setenv("PETALKIT_ORGANIZATION_ID", "acme")
    given = _options.RunSettings(organization_file=Path("f"))  # type: ignore[call-arg]
    loaded = _options.GeneralOptions().load(given)
    assert loaded.settings.organization_id is None
    assert "PETALKIT_ORGANIZATION_ID" not in os.environ


def test_a_slip_in_a_variables_name_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PETALKIT_GRCAE", "3")
    monkeypatch.setenv("PETALKIT_WHATEVER", "x")
    monkeypatch.setenv("PETALKIT_CONFIG", "")
    monkeypatch.setenv("PETALKIT_LOG_LEVEL", "info")
    monkeypatch.setenv("PETALKIT_PYTHON", "of our own scripts")
    assert load().settings.grace == Settings().grace
    assert "PETALKIT_GRCAE is no setting, and ignored; did you mean PETALKIT_GRACE?" in caplog.text
    assert "PETALKIT_WHATEVER is no setting, and ignored" in caplog.text
    assert len(caplog.records) == 2


def test_the_variables_of_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli
) -> None:
    monkeypatch.setenv("PETALKIT_CONFIG", str(config(tmp_path, "[petalkit]\ngrace = 1\n")))
    assert load().settings.grace == 1
    other = tmp_path / "other.toml"
    other.write_text("[petalkit]\ngrace = 2\n")
    assert load(config=other).settings.grace == 2
    monkeypatch.setenv("PETALKIT_LOG_LEVEL", "DEBUG")
    assert log_level(None, "info") == "debug"
    assert log_level("error", "info") == "error"
    monkeypatch.setenv("PETALKIT_LOG_FORMAT", "json")
    assert (log_format(None), log_format("text")) == ("json", "text")


@pytest.mark.parametrize(
    "command",
    [("run", "x"), ("list", "x"), ("doctor",), ("call", "a/b"), ("journal", "list")],
    ids=" ".join,
)
@pytest.mark.parametrize("variable", ["PETALKIT_LOG_LEVEL", "PETALKIT_LOG_FORMAT"])
def test_a_wrong_value_of_a_variable_is_told_by_each_command(
    command: tuple[str, ...], variable: str, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli
) -> None:
    monkeypatch.setenv(variable, "loud")
    outcome = run_cli(*command)
    assert outcome.code == 2
    assert f"not 'loud' (from {variable})" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_config_file_of_the_variable_that_is_missing_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETALKIT_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match=r"none\.toml.*\(from PETALKIT_CONFIG\)"):
        load()


def test_paths_mean_the_folder_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two connects a petal may change the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pw").write_text("secret")
    names = [name for name in _settings_loading.loadable_fields() if name.endswith("_file")]
    settings = Settings(username="u", password_file=Path("pw"), journal=Path("j"))
    assert renew_from_files(settings, ("password",)).password == "secret"
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert renew_from_files(settings, ("password",)).password == "secret"
    assert settings.journal == tmp_path / "j"
    files: dict[str, Any] = {"cert_file": "c", "key_file": "k"}
    for name in names:  # also of one that is made from another
        user = {} if name == "username_file" else {"username": "u"}
        whole = Settings(broker="wss://b.example", transport="native", **user, **files)
        made = attrs.evolve(whole, **{name: "f"})
        assert getattr(made, name) == tmp_path / "other" / "f", name


# -- a list in the words of JSON


@pytest.mark.parametrize(
    ("text", "topics"),
    [
        ('["a"]', ("a",)),
        (' ["a", "b,c"] ', ("a", "b,c")),
        ("a, b", ("a", "b")),
        ("a[0]", ("a[0]",)),
    ],
)
def test_a_list_may_be_json(
    monkeypatch: pytest.MonkeyPatch, text: str, topics: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PETALKIT_COMMAND_TOPICS", text)
    assert load().settings.command_topics == topics


@pytest.mark.parametrize("text", ['["a"', "[a]", "[1]", '["a", null]', "[" * 100_000])
@pytest.mark.parametrize("name", ["command_topics", "alpn", "reply_topics"])
def test_what_begins_like_json_and_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str, name: str
) -> None:
    monkeypatch.setenv(f"PETALKIT_{name.upper()}", text)
    with pytest.raises(ConfigError, match=r"a JSON list of texts where it begins with \[") as no:
        load()
    assert no.value.setting == name
    assert f"PETALKIT_{name.upper()}" in str(no.value)


def test_only_json_says_that_a_list_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETALKIT_REPLY_TOPICS", "[]")
    assert load().settings.reply_topics == ()
    assert load({"reply_topics": ("[]",)}).settings.reply_topics == ()
    monkeypatch.setenv("PETALKIT_REPLY_TOPICS", "")
    assert load().settings.reply_topics == ("#",)


def test_a_list_of_the_command_line_may_be_json_too() -> None:
    assert load({"command_topics": ('["a", "b"]',)}).settings.command_topics == ("a", "b")
    assert load({"command_topics": ("a", '["b"]')}).settings.command_topics == ("a", "b")
    with pytest.raises(ConfigError, match="--command-topics"):
        load({"command_topics": ("[a,", "b]")})


def test_a_list_in_a_file_is_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text("[petalkit]\ncommand_topics = [ '[x]' ]\n")
    assert load(config=file).settings.command_topics == ("[x]",)


@pytest.mark.parametrize("broker", ["mqtts://b.example", "wss://b.example/mqtt"])
def test_a_proxy_of_the_environment_is_taken_for_tls(
    monkeypatch: pytest.MonkeyPatch, broker: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter2@proxy.example:3128")
    loaded = load({"broker": broker})
    assert loaded.settings.proxy == "http://proxy.example:3128"
    assert loaded.settings.proxy_credentials == "me:hunter2"
    assert "hunter2" not in repr(loaded)
    assert str(loaded.environment_proxy) == "http://proxy.example:3128"
    assert Settings(broker=broker).proxy is None  # Python reads no environment


@pytest.mark.parametrize(
    "given",
    [
        {"broker": "mqtt://b.example"},
        {"broker": "ws://b.example"},
        {"broker": "unix:///run/x"},
        {"broker": "mqtts://localhost"},
        {"broker": "mqtts://a.b.example"},
        {"broker": "mqtts://b.example", "proxy": "off"},
        {"broker": "mqtts://b.example", "proxy": "http://other:1"},
        {"broker": "mqtts://b.example", "transport": "sidecar"},
    ],
)
def test_a_proxy_of_the_environment_is_not_taken_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "a.b.example")
    loaded = load(given)
    assert loaded.settings.proxy == given.get("proxy")
    assert loaded.environment_proxy is None


@pytest.mark.parametrize(
    ("host", "taken"), [("b.example", True), ("a.b.example", False), ("localhost", False)]
)
def test_where_the_broker_may_send_us_elsewhere_no_proxy_is_kept(
    host: str, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first server may need no proxy, and the next one need it, or the reverse."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "a.b.example, 10.0.0.0/8")
    given = {"broker": f"mqtts://{host}", "protocol": "5", "server_references": ("*.example",)}
    loaded = load(given)
    assert (loaded.environment_proxy is not None) is taken
    assert loaded.settings.proxy == "http://proxy.example:3128"
    assert loaded.settings.no_proxy == "a.b.example 10.0.0.0/8 localhost 127.0.0.0/8 ::1"
    assert (broker_address(loaded.settings).proxy is not None) is taken


def test_credentials_of_the_environment_take_the_place_of_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter2@proxy.example:3128")
    loaded = load({"broker": "mqtts://b.example", "proxy_credentials_file": "f"})
    assert loaded.settings.proxy_credentials == "me:hunter2"
    assert loaded.settings.proxy_credentials_file is None


def test_credentials_may_come_beside_a_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("https_proxy", "proxy.example:3128")
    monkeypatch.setenv("PETALKIT_PROXY_CREDENTIALS", "me:hunter2")
    assert load({"broker": "mqtts://b.example"}).settings.proxy_credentials == "me:hunter2"


def test_a_variable_that_names_no_proxy_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://me:hunter2@proxy.example")
    with pytest.raises(ConfigError, match=r"proxy: .*from HTTPS_PROXY") as caught:
        load({"broker": "mqtts://b.example"})
    assert "hunter2" not in str(caught.value)


# -- tables


THEIRS = {"INVALID_DATA": "INVALID_PARAMETERS", "BUSY": "OPERATION_ACTIVE"}


def test_a_table_comes_from_the_file_the_environment_and_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "petalkit.toml"
    config.write_text(
        '[petalkit]\nerror_codes = {INVALID_DATA = "INVALID_PARAMETERS", BUSY = "OPERATION_ACTIVE"}'
    )
    assert load(config=config).settings.error_codes == THEIRS
    config.write_text('[petalkit.error_codes]\nBUSY = "FROM_FILE"')
    assert load(config=config).settings.error_codes == {"BUSY": "FROM_FILE"}
    for text in (
        "INVALID_DATA=INVALID_PARAMETERS, BUSY = OPERATION_ACTIVE",
        '{"INVALID_DATA": "INVALID_PARAMETERS", "BUSY": "OPERATION_ACTIVE"}',
    ):
        monkeypatch.setenv("PETALKIT_ERROR_CODES", text)
        assert load(config=config).settings.error_codes == THEIRS
    given = {"error_codes": ("TIMEOUT=TOO_SLOW", "BUSY=ACTIVE")}
    found = load(given, config=config).settings.error_codes
    assert found == {"TIMEOUT": "TOO_SLOW", "BUSY": "ACTIVE"}
    given = {"error_codes": ("TIMEOUT=TOO_SLOW,BUSY=ACTIVE", "EXPIRED=OLD")}
    found = load(given, config=config).settings.error_codes
    assert found == {"TIMEOUT": "TOO_SLOW", "BUSY": "ACTIVE", "EXPIRED": "OLD"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("BUSY", "KEY=VALUE"),
        ("BUSY=", "KEY=VALUE"),
        ("=X", "KEY=VALUE"),
        ("BUSY=A,BUSY=B", "BUSY has two"),
        ("{", "a JSON object"),
        ('{"BUSY": 5}', "a table of texts"),
        ("BSUY=X", "did you mean BUSY?"),
    ],
)
def test_a_table_that_is_none_is_refused(
    text: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETALKIT_ERROR_CODES", text)
    with pytest.raises(ConfigError) as caught:
        load()
    assert reason in str(caught.value)
    assert "error_codes" in str(caught.value)
