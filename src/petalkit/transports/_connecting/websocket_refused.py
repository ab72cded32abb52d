"""The error of a server that opens no WebSocket, for those who have no library for them, too."""

from __future__ import annotations

from ..._values.errors import ConnectFailed


class WebSocketRefused(ConnectFailed):
    """An HTTP server answered, and opens no WebSocket.

    Args:
        text: what happened.
        status: of its answer.
    """

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status
