"""Error codes in the words of others: which mappings can be used."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from petalkit import ConfigError, ErrorCode, Settings
from petalkit._values.codec import Limits, decode_response
from petalkit._values.dialects import make_dialect
from petalkit._values.error_codes import backwards

THEIRS = {"INVALID_DATA": "INVALID_PARAMETERS", "BUSY": "OPERATION_ACTIVE"}
LIMITS = Limits(payload_max=1000, depth_max=10, message_id_max=100)


@pytest.mark.parametrize(
    ("codes", "text"),
    [
        ({"INVALID_DTA": "X"}, "did you mean INVALID_DATA?"),
        ({"busy": "X"}, "did you mean BUSY?"),
        ({"NO_FILM": "X"}, "'NO_FILM', which is no code of petalkit's"),
        ({"BUSY": "X", "DROPPED": "X"}, "says X for BUSY and for DROPPED"),
        ({"BUSY": "TIMEOUT"}, "says TIMEOUT for BUSY and for TIMEOUT"),
        ({"BUSY": ""}, "a word of 1 to 64 characters"),
        ({"BUSY": "two words"}, "a word of 1 to 64 characters"),
        ({"BUSY": "x" * 65}, "a word of 1 to 64 characters"),
        ({"BUSY": "A,TIMEOUT=B"}, "without commas"),
        ({"BUSY": "A=B"}, "without commas"),
        ({"BUSY": 5}, "a word of 1 to 64 characters"),
        (["BUSY"], "must be a mapping"),
    ],
)
def test_what_cannot_be_read_back_is_refused(codes: Any, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(error_codes=codes)
    assert caught.value.setting == "error_codes"
    assert text in caught.value.reason


def test_two_may_change_places_and_members_of_the_enumeration_are_codes() -> None:
    Settings(error_codes={"BUSY": "TIMEOUT", "TIMEOUT": "BUSY"})
    assert Settings(error_codes={ErrorCode.BUSY: "ACTIVE"}).error_codes == {"BUSY": "ACTIVE"}


def test_the_setting_is_a_value() -> None:
    given = dict(THEIRS)
    settings = Settings(error_codes=given)
    given["BUSY"] = "changed"
    assert settings.error_codes["BUSY"] == "OPERATION_ACTIVE"
    with pytest.raises(TypeError):
        settings.error_codes["BUSY"] = "changed"  # type: ignore[index]
    assert attrs.evolve(settings, error_codes={}) == Settings()
    assert hash(settings) == hash(attrs.evolve(settings))


@pytest.mark.parametrize("name", ["guide", "host-0.2"])
@pytest.mark.parametrize("code", list(ErrorCode))
def test_what_is_said_in_another_word_is_read_back(name: Any, code: ErrorCode) -> None:
    codes = {str(one): f"THEIR_{one}" for one in ErrorCode}
    payload = make_dialect(name, "d", codes).failure("m", "t", code, "no")
    response = decode_response(payload, LIMITS, backwards(codes))
    assert (response["error_code"], response.error_code) == (f"THEIR_{code}", code)
    assert response.retryable is code.retryable
    # Who does not know the mapping sees the word, and whether to come again.
    assert decode_response(payload, LIMITS).error_code == f"THEIR_{code}"
    assert decode_response(payload, LIMITS).retryable is code.retryable


@pytest.mark.parametrize("name", ["guide", "host-0.2"])
def test_the_code_of_a_petal_is_left_alone(name: Any) -> None:
    dialect = make_dialect(name, "d", THEIRS)
    payload = dialect.failure("m", "t", "NO_FILM", "no")
    assert decode_response(payload, LIMITS)["error_code"] == "NO_FILM"
    own = dialect.own_words("m", "t", {"success": False, "error_code": "BUSY"}, "BUSY")
    assert decode_response(own, LIMITS)["error_code"] == "BUSY"


def test_there_are_no_others_by_default_in_either_dialect() -> None:
    for name in ("guide", "host-0.2"):
        assert Settings(dialect=name).error_codes == {}  # type: ignore[arg-type]
