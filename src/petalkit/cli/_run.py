"""`petalkit run`: serve petals until a signal comes."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ._options import GeneralOptions, HostOptions, RunSettings
from ._running.serving import serve


def run(  # noqa: D417 - what is left out has its words elsewhere
    *targets: Annotated[str, Parameter(name="TARGET", negative=())],
    general: GeneralOptions | None = None,
    strict: Annotated[bool, Parameter(negative=())] = False,
    host: HostOptions | None = None,
    settings: Annotated[RunSettings | None, Parameter(name="*")] = None,
) -> int:
    """Serve petals in one process, over one connection, until SIGTERM, SIGINT or SIGHUP.

    TARGET is module:Petal, path/to/file.py:Petal, or an entry point of the group
    petalkit.petals. The name may be that of a class, of an instance, or of a function that
    returns one; it may be left out where one petal is defined. Several run side by side.
    A folder stands for the petals of its files: what is wrong with one is logged, and the rest is
    served. With --host-compat, petals written for petal_app_manager may be among them.

    What is accepted is recorded in a journal, and outlives the process: --journal FILE says where,
    --journal off that there is none.

    A signal stops gracefully: running commands get --grace seconds. A second SIGTERM or SIGINT
    stops at once.

    Exit codes: 0 stopped, 1 runtime error or no petal left, 2 usage or configuration
    error, 3 stopped by a second signal.

    Args:
        strict: Serve nothing if a petal of a folder cannot be served.
    """
    return serve(
        targets,
        general or GeneralOptions(),
        host or HostOptions(),
        settings or RunSettings(),
        strict=strict,
    )
