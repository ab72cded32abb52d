"""The host's own proxies, from a folder of the user's: their import names lead to its files.

petalkit has no code of the host. Who wants its six proxies lays the host's package into a folder
that Python does not look into, and names that folder. The rule: only these modules come from there;
what they import of the host is petalkit's stand-in, so that no line of theirs changes.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

from ._errors import HostCodeMissing

HOST = "petal_app_manager"
TO_INSTALL = "pip install --no-deps --target FOLDER petal-app-manager==0.2.7"

# By module: what it imports that is not of Python's library, by the names to install.
_MODULES: Mapping[str, Mapping[str, str]] = {
    "redis": {"redis": "redis<7"},
    "localdb": {},
    "cloud": {},
    "bucket": {"boto3": "boto3", "requests": "requests"},
    "external": {"pymavlink": "pymavlink", "pydantic": "pydantic", "dotenv": "python-dotenv"},
    "org_utils": {},
}

_URLS = {
    "get_data_url": "GET_DATA_URL",
    "scan_data_url": "SCAN_DATA_URL",
    "update_data_url": "UPDATE_DATA_URL",
    "set_data_url": "SET_DATA_URL",
}
_SESSION = {"session_token_url": "SESSION_TOKEN_URL"}


@attrs.frozen
class HostProxy:
    """Makes one of the host's proxies, with what the host's variables say; a proxy factory.

    Attributes:
        module: of the host's proxies.
        cls: its class there.
        values: names in `Config`, by keyword.
        needs: the other proxies that it is made with, by keyword.
        more: further arguments.
        logs: it opens a log file of its own, in a folder that the host makes before.
    """

    module: str
    cls: str
    values: Mapping[str, str] = attrs.field(factory=dict[str, str])
    needs: Mapping[str, str] = attrs.field(factory=dict[str, str])
    more: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    logs: bool = False

    def __call__(self, **needed: Any) -> Any:
        """Make it.

        Raises:
            HostCodeMissing: its module is not there, or what that imports is not.
        """
        missing = _missing(self.module)
        if missing:
            raise HostCodeMissing(f"{self.cls} needs {', '.join(missing)}: pip install it")
        if FINDER.find_spec(f"{HOST}.proxies.{self.module}", None) is None:
            raise HostCodeMissing(
                f"{self.cls} is not there: {TO_INSTALL}, and say --host-code FOLDER"
            )
        config = importlib.import_module(HOST).Config
        if self.logs:
            Path(config.PETAL_LOG_DIR).mkdir(parents=True, exist_ok=True)
        make = getattr(importlib.import_module(f"{HOST}.proxies.{self.module}"), self.cls)
        values = {keyword: getattr(config, name) for keyword, name in self.values.items()}
        return make(**values, **needed, **self.more)


HOST_PROXIES: Mapping[str, HostProxy] = {
    "redis": HostProxy(
        "redis",
        "RedisProxy",
        {
            "host": "REDIS_HOST",
            "port": "REDIS_PORT",
            "db": "REDIS_DB",
            "password": "REDIS_PASSWORD",
            "unix_socket_path": "REDIS_UNIX_SOCKET_PATH",
        },
    ),
    "db": HostProxy(
        "localdb", "LocalDBProxy", {"host": "LOCAL_DB_HOST", "port": "LOCAL_DB_PORT", **_URLS}
    ),
    "cloud": HostProxy(
        "cloud",
        "CloudDBProxy",
        {
            "endpoint": "CLOUD_ENDPOINT",
            "access_token_url": "ACCESS_TOKEN_URL",
            "s3_bucket_name": "S3_BUCKET_NAME",
            **_SESSION,
            **_URLS,
        },
    ),
    "bucket": HostProxy(
        "bucket",
        "S3BucketProxy",
        {"bucket_name": "S3_BUCKET_NAME", **_SESSION},
        more={"upload_prefix": "flight_logs/"},
    ),
    "ext_mavlink": HostProxy(
        "external",
        "MavLinkExternalProxy",
        {
            "endpoint": "MAVLINK_ENDPOINT",
            "baud": "MAVLINK_BAUD",
            "source_system_id": "MAVLINK_SOURCE_SYSTEM_ID",
            "source_component_id": "MAVLINK_SOURCE_COMPONENT_ID",
            "maxlen": "MAVLINK_MAXLEN",
            "mavlink_worker_sleep_ms": "MAVLINK_WORKER_SLEEP_MS",
            "mavlink_heartbeat_send_frequency": "MAVLINK_HEARTBEAT_SEND_FREQUENCY",
            "root_sd_path": "ROOT_SD_PATH",
        },
        logs=True,
    ),
    "ftp_mavlink": HostProxy("external", "MavLinkFTPProxy", needs={"mavlink_proxy": "ext_mavlink"}),
}


def _missing(module: str) -> list[str]:
    """What is to be installed before a module of the host's proxies can be imported."""
    needed = _MODULES[module]
    return [name for one, name in needed.items() if importlib.util.find_spec(one) is None]


class _Finder(MetaPathFinder):
    """Finds the modules of the host's proxies in the user's folder, before petalkit's stand-ins.

    One whose own imports are not there is left to the stand-in: annotations need no more.
    """

    folder: Path | None = None

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        parent, _, module = fullname.rpartition(".")
        if self.folder is None or parent != f"{HOST}.proxies" or module not in _MODULES:
            return None
        file = self.folder / f"{module}.py"
        if not file.is_file() or _missing(module):
            return None
        return importlib.util.spec_from_file_location(fullname, file)


FINDER = _Finder()


def find_code(folder: Path) -> MetaPathFinder:
    """The finder that leads to the host's proxies in a folder.

    Args:
        folder: that the host was installed to, or its package.

    Raises:
        HostCodeMissing: it has none.
    """
    for place in (folder / HOST / "proxies", folder / "proxies", folder):
        if (place / "external.py").is_file():
            FINDER.folder = place.resolve()
            return FINDER
    raise HostCodeMissing(f"{folder} has no code of the host's proxies: {TO_INSTALL}")


def forget_code() -> None:
    """Lead nowhere; for tests."""
    FINDER.folder = None
