"""`petalkit schema`: what is served, as a document or as a client for programs."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import attrs
import trio
from cyclopts import Parameter

from ..._serving.identity.device import resolve_identity_now
from ..._serving.process.logs import configure_logging
from ..._values.basics.version import __version__
from ..._values.errors import TransportError
from ...client import DEFAULT_CALL_TIMEOUT, CallTimeout, open_client
from .._errors import (
    EXIT_OK,
    EXIT_USAGE,
    NO_ANSWER,
    NO_CONNECTION,
    CommandFailed,
    UsageError,
    report,
)
from .._options import GENERAL, CallSettings, GeneralOptions, HostOptions, advice
from .._settings.loading import Loaded
from .._settings.variables import log_format, log_level
from .._targets.targets import find_petals
from .asyncapi import Where, write_asyncapi
from .contract import Contract
from .json_schema import json_schema_files, write_json_schema
from .python import Flavor, write_python
from .sources import contract_of_device, contract_of_petals
from .typescript import RUNTIME_NAME, runtime, write_one_file, write_typescript

Format = Literal["asyncapi", "json-schema", "typescript", "python"]


def schema(  # noqa: D417 - what is left out has its words in its class
    *targets: Annotated[str, Parameter(name="TARGET", negative=())],
    format: Annotated[Format, Parameter(group=GENERAL)],  # noqa: A002
    output: Annotated[str | None, Parameter(group=GENERAL)] = None,
    device: Annotated[str | None, Parameter(group=GENERAL)] = None,
    flavor: Annotated[Flavor, Parameter(group=GENERAL)] = "trio",
    timeout: Annotated[float, Parameter(group=GENERAL)] = DEFAULT_CALL_TIMEOUT,
    general: GeneralOptions | None = None,
    host: HostOptions | None = None,
    settings: Annotated[CallSettings | None, Parameter(name="*")] = None,
) -> int:
    """Write what is served as a document, or as a typed client for programs.

    TARGET is as for run; nothing of it is run, and nothing is connected. With --device a device is
    asked over the broker instead.

    Args:
        format: asyncapi is an AsyncAPI 3.0 document; json-schema the JSON Schemas (2020-12);
            typescript a module over the npm package mqtt; python a module over petalkit.client.
        output: A file, or a folder, which ends with a slash or is there. To standard output without
            it.
        device: The ID of the device that is asked.
        flavor: Of the Python module: for programs with Trio, asyncio, or neither.
        timeout: How long the device may take for each answer. [s]
    """
    general = general or GeneralOptions()
    loaded = general.load(settings or CallSettings())
    configure_logging(log_level(general.log_level, "warning"), log_format(general.log_format))
    if bool(targets) is (device is not None):
        raise UsageError(
            "schema: of what? Write petalkit schema module:Petal or path/to/file.py, "
            "or --device ID for a device that runs"
        )
    if not 0 < timeout < math.inf:
        raise UsageError(f"--timeout must be seconds above 0, not {timeout}")
    code = EXIT_OK
    if device is None:
        contract, code = _of_petals(targets, loaded, host or HostOptions())
    else:
        hint = advice(general, settings or CallSettings(), device_id=device)
        contract = trio.run(functools.partial(_of_device, loaded, device, timeout, hint))
    if not contract.served:
        report("no command, job or stream is served", kind="warning")
    wanted = Wanted(format, flavor, Where.of(loaded.settings, device))
    folder = output is not None and (output.endswith(("/", os.sep)) or Path(output).is_dir())
    _deliver(make_files(contract, wanted, in_folder=folder), output)
    return code


@attrs.frozen
class Wanted:
    """What is to be written.

    Attributes:
        format: see `schema`.
        flavor: see `schema`.
        where: the device is, as far as that is known.
    """

    format: Format
    flavor: Flavor = "trio"
    where: Where = Where()


def make_files(contract: Contract, wanted: Wanted, *, in_folder: bool) -> Mapping[str, str]:
    """The texts of all files, by their names; one where it is not for a folder."""
    made_by = f"Made by petalkit schema {__version__}; do not edit."
    head = f"{made_by}\nSchema hash: {contract.schema_hash or 'unknown'}"
    line = head.replace("\n", " ")
    match wanted.format:
        case "asyncapi":
            return {"asyncapi.json": write_asyncapi(contract, line, wanted.where)}
        case "json-schema" if in_folder:
            return json_schema_files(contract, line)
        case "json-schema":
            return {"schemas.json": write_json_schema(contract, line)}
        case "typescript" if in_folder:
            return {"client.ts": write_typescript(contract, head), RUNTIME_NAME: runtime()}
        case "typescript":
            return {"client.ts": write_one_file(contract, head)}
        case "python":
            return {"client.py": write_python(contract, head, wanted.flavor)}


def _of_petals(targets: tuple[str, ...], loaded: Loaded, host: HostOptions) -> tuple[Contract, int]:
    with contextlib.redirect_stdout(sys.stderr):  # what petals print when they are imported
        opened = host.open(loaded)
        found = find_petals(targets, loaded.petals, origin=loaded.origin, host=opened)
        contract = contract_of_petals(found.petals, loaded.settings)
    for one in found.wrong:
        report(f"{one.target}: {one.message}", details=one.details)
    return contract, EXIT_USAGE if found.wrong else EXIT_OK


async def _of_device(loaded: Loaded, device: str, timeout: float, hint: str) -> Contract:
    """What a device says.

    Raises:
        CommandFailed: it says nothing.
    """
    settings = attrs.evolve(loaded.settings, device_id=device)
    try:
        async with open_client(settings) as client:
            contract, left_out = await contract_of_device(client, timeout)
    except CallTimeout as error:
        identity = resolve_identity_now(settings)
        base = device if identity is None else identity.base_topic
        text = f"{error}. Is the device there, and is it {base!r}?"
        raise CommandFailed(text, code=NO_ANSWER, exit_code=EXIT_USAGE, hint=hint) from None
    except TransportError as error:
        url = settings.broker_url()
        text = f"{url.scheme}://{url.netloc or url.path}: {error}"
        raise CommandFailed(text, code=NO_CONNECTION, exit_code=EXIT_USAGE, hint=hint) from None
    for name in left_out:
        text = "its schemas are too large for one message; the client takes anything there"
        report(f"{name}: {text}", kind="warning")
    return contract


def _deliver(files: Mapping[str, str], output: str | None) -> None:
    """Write the files, or print the one.

    Raises:
        UsageError: that cannot be written.
    """
    if output is None:
        (text,) = files.values()
        sys.stdout.write(text)
        return
    folder = Path(output) if output.endswith(("/", os.sep)) or Path(output).is_dir() else None
    try:
        if folder is None:
            (text,) = files.values()
            _write(Path(output), text)
            return
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, text)
    except OSError as error:
        raise UsageError(f"--output {output}: {error.strerror or error}") from None


def _write(path: Path, text: str) -> None:
    """All of it or nothing: nobody compiles half a module."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    part = Path(name)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        part.chmod(0o666 & ~_umask())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _umask() -> int:
    found = os.umask(0)
    os.umask(found)
    return found
