"""HTTP of the sidecar: what it posts to us, and what it answers."""

from __future__ import annotations

import json
import re

import msgspec

from petalkit import RejectedByBroker, Settings
from petalkit.transports.sidecar._answers import NotTaken, check_answer, describe_answer
from petalkit.transports.sidecar._callback.app import CallbackApp
from petalkit.transports.sidecar._callback.requests import No, read_message

from .reader import Reader

_TOKEN = "s3cret-s3cret"
_TOLD = re.compile(r"token=[^*\s&\"']", re.IGNORECASE)
_OPEN = CallbackApp(Settings(), lambda: False)
_GUARDED = CallbackApp(Settings(sidecar_token=_TOKEN, payload_max=128), lambda: False)


def callback(data: bytes) -> None:
    """The body of a POST."""
    data = Reader(data).json_text(("topic", "payload", "timestamp", "qos"))
    try:
        topic, payload = read_message(data)
    except No as error:
        assert error.status == 400
        msgspec.json.encode({"message": str(error)})
        return
    document = json.loads(data.decode())
    assert topic == document["topic"]
    assert json.loads(payload) == document["payload"]
    assert type(document["payload"]) is dict


def head(data: bytes) -> None:
    """The head of one: which query, and which headers."""
    reader = Reader(data)
    query = reader.sized()
    headers: list[tuple[bytes, bytes]] = []
    while reader:
        names = (
            b"content-type", b"content-length", b"authorization", b"origin", b"x", b"host",
            b"transfer-encoding",
        )  # fmt: skip
        headers.append((reader.choice(names), reader.sized()))
    scope = {"headers": headers, "query_string": query}
    for app, limit in ((_OPEN, None), (_GUARDED, _TOKEN)):
        try:
            app.requests.check_head(scope)
        except No as error:
            assert error.status in (400, 401, 403, 413, 415, 421)
            assert _TOKEN not in str(error)
            continue
        assert not any(name == b"origin" for name, _ in headers)
        assert any(value[:16].lower() == b"application/json" for _, value in headers)
        if limit is not None:  # it has been said somewhere
            said = query + b" ".join(value for _, value in headers)
            assert limit.encode() in said or b"%" in query


def answer(data: bytes) -> None:
    """The answer to a request of ours: its status, and its body."""
    reader = Reader(data)
    status = reader.choice((200, 400, 401, 404, 413, 422, 429, 500, 503, 204))
    body = reader.json_text(("success", "error", "message", "status"))
    text = describe_answer(status, body)
    assert len(text) < 300
    assert not _TOLD.search(text), text
    try:
        check_answer(status, body)
    except NotTaken as error:
        assert str(error)
    except RejectedByBroker as error:
        assert error.reason_code >= 0x80
        assert 400 <= status < 500
    else:
        assert status == 200
        fields = json.loads(body.decode())
        assert not fields.get("error")
        assert fields.get("success", True) is True
