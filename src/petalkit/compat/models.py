"""The pydantic model of a command that petals of the host validate with.

pydantic is an extra: what does not ask for a model does without it.
"""

from __future__ import annotations

from typing import Any

try:
    from pydantic import AfterValidator as AfterValidator
    from pydantic import BaseModel as BaseModel
    from pydantic import Field as Field
except ImportError as error:
    raise ImportError(
        "the models of petalkit.compat need pydantic: pip install 'petalkit[compat]'",
        name=error.name,
    ) from error


class MQTTMessage(BaseModel):
    """A command as the host's petals take it: `MQTTMessage(**message)`."""

    waitResponse: bool = Field(description="Whether a response is waited for")  # noqa: N815
    waitAck: bool = Field(  # noqa: N815
        default=False, description="Whether a note of the delivery is waited for"
    )
    messageId: str = Field(description="What the response is matched by")  # noqa: N815
    deviceId: str = Field(description="The device that it is for")  # noqa: N815
    command: str = Field(description="The full name: petal/command")
    timestamp: str = Field(description="When it was sent, ISO 8601")
    payload: dict[str, Any] = Field(description="The arguments")
