# pyright: strict
# Made by petalkit schema 0.1.0; do not edit.
# Schema hash: 9382983e2800614ad256048d5ead62c4
# ruff: noqa
from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict, Unpack, cast

from petalkit.client import Client
from petalkit.client.typed import CallOptions, Job, JobOptions, Stream, StreamOptions

SCHEMA_HASH = "9382983e2800614ad256048d5ead62c4"


class Exposed(TypedDict):
    milliseconds: int
    mode: Literal["auto", "manual"]
    regions: list[Region]
    note: NotRequired[str | None]


class Region(TypedDict):
    left: float
    top: NotRequired[float]


class Scanned(TypedDict):
    frames: int


class Sharpness(TypedDict):
    n: int
    sharpness: float


CameraCountExposuresData: TypeAlias = "dict[str, Any]"


class CameraCountExposuresResult(TypedDict):
    result: int


class CameraExposeData(TypedDict):
    milliseconds: int
    mode: NotRequired[Literal["auto", "manual"]]
    regions: NotRequired[list[Region] | None]


CameraExposeResult: TypeAlias = "Exposed"


CameraImportData: TypeAlias = "dict[str, Any]"


CameraImportResult: TypeAlias = "dict[str, Literal[1, 2] | None]"


CameraImportData2: TypeAlias = "dict[str, Any]"


CameraImportResult2: TypeAlias = "dict[str, Any]"


class CameraScanData(TypedDict):
    frames: int


CameraScanResult: TypeAlias = "Scanned"


CameraFocusValue: TypeAlias = "Sharpness"


CameraShortValue: TypeAlias = "Sharpness"


class Camera:
    """camera 1.2.0
    A camera that is not there.
    """

    def __init__(self, client: Client, device: str | None = None) -> None:
        self._client = client
        self._device = device

    async def count_exposures(
        self, data: CameraCountExposuresData | None = None, **options: Unpack[CallOptions]
    ) -> CameraCountExposuresResult:
        """How often that was done."""
        response = await self._client.call(
            "camera/count-exposures", data, device=self._device, **options
        )
        return cast("CameraCountExposuresResult", response.fields)

    async def expose(
        self, data: CameraExposeData, **options: Unpack[CallOptions]
    ) -> CameraExposeResult:
        """Expose once."""
        response = await self._client.call(
            "camera/expose", data, device=self._device, **options
        )
        return cast("CameraExposeResult", response.fields)

    def focus(self, **options: Unpack[StreamOptions]) -> Stream[CameraFocusValue]:
        """While it is looked for."""
        values = self._client.stream("camera/focus", device=self._device, **options)
        return cast("Stream[CameraFocusValue]", values)

    async def import__d942f648(
        self, data: CameraImportData | None = None, **options: Unpack[CallOptions]
    ) -> CameraImportResult:
        """A word that Python keeps for itself."""
        response = await self._client.call(
            "camera/import", data, device=self._device, **options
        )
        return cast("CameraImportResult", response.fields)

    async def import__333911ea(
        self, data: CameraImportData2 | None = None, **options: Unpack[CallOptions]
    ) -> CameraImportResult2:
        """In Python this would have the same name."""
        response = await self._client.call(
            "camera/import_", data, device=self._device, **options
        )
        return cast("CameraImportResult2", response.fields)

    def scan(
        self, data: CameraScanData, **options: Unpack[JobOptions]
    ) -> AbstractAsyncContextManager[Job[CameraScanResult]]:
        """One frame after the other."""
        job = self._client.job("camera/scan", data, device=self._device, **options)
        return cast("AbstractAsyncContextManager[Job[CameraScanResult]]", job)

    def short(self, **options: Unpack[StreamOptions]) -> Stream[CameraShortValue]:
        """One that fails."""
        values = self._client.stream("camera/short", device=self._device, **options)
        return cast("Stream[CameraShortValue]", values)


class Device:
    """What a device serves, over a client that is open; None is the one of that."""

    def __init__(self, client: Client, device: str | None = None) -> None:
        self._client = client
        self._device = device
        self.camera = Camera(client, device)

    async def is_current(self) -> bool:
        """Whether the device serves what this module was made for."""
        response = await self._client.call(
            "petalkit/info", {"names": True}, device=self._device
        )
        return bool(response.fields.get("schema_hash") == SCHEMA_HASH)
