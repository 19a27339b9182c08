"""The command `fleetd`, also as `python -m fleetd`.

The composition root is imported when a verb asks for its client, so that `--help` and `version` are
there at once.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager

from fleetd.cli.main import main as run
from fleetd.cli.settings import Settings
from fleetd.client import Client, Reads


def main() -> int:
    """Run the command line of this process; the exit code."""
    code = run(_open_client, _open_reads, _demo, _serve)
    # Else Python searches all objects for garbage as it ends: a sixth of the CPU of a short run.
    gc.freeze()
    return code


def _open_client(settings: Settings, *, mutating: bool) -> AbstractAsyncContextManager[Client]:
    from fleetd.app import open_client

    return open_client(settings, mutating=mutating)


def _open_reads(settings: Settings) -> AbstractContextManager[Reads]:
    from fleetd.app import open_reads

    return open_reads(settings)


def _demo() -> int:
    from fleetd.app import demo

    return demo()


def _serve(read: Callable[[], Settings]) -> int:
    from fleetd.app import serve

    return serve(read)


if __name__ == "__main__":
    sys.exit(main())
