"""The exchange that the integration guide shows, byte for byte and word for word."""

from __future__ import annotations

TEST_COMMAND = (
    b'{"command": "example-petal/hello", "messageId": "test-123", '
    b'"waitResponse": true, "data": {"name": "Developer"}, '
    b'"timestamp": "2025-11-05T12:00:00Z"}'
)
TEST_RESPONSE = {
    "messageId": "test-123",
    "timestamp": "2026-01-01T00:00:00.000Z",
    "success": True,
    "message": "Hello, Developer!",
}
