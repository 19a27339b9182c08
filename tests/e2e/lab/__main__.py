"""`python -m tests.e2e.lab up`: a fleet for interactive work, held until Ctrl-C or SIGTERM.

`sweep` removes what killed runs left; `build` only builds the base image.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

from tests.e2e.lab.base import RELEASES, Base
from tests.e2e.lab.disk import HostSpec
from tests.e2e.lab.fleet import Fleet, sweep
from tests.e2e.lab.machine import LabError, in_netns, prepare

_SHELLS = ("bash", "dash", "zsh", "fish", "tcsh")


def main() -> int:
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, _leave)
    try:
        prepare()
        if arguments.verb == "build":
            print(Base.built(arguments.release).root)
        elif arguments.verb == "sweep":
            sweep()
        else:
            _up(_specs(arguments.hosts, arguments.docker, mixed=arguments.mixed))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.lab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="boot a fleet and hold it")
    up.add_argument("--hosts", type=int, default=6, help="how many in all (default 6)")
    up.add_argument("--docker", type=int, default=0, help="how many of them run docker, not podman")
    up.add_argument("--mixed", action="store_true", help="various login shells, one login as root")
    build = verbs.add_parser("build", help="build the base image of a release when there is none")
    build.add_argument("release", nargs="?", choices=RELEASES, default="bookworm")
    verbs.add_parser("sweep", help="remove what killed runs left behind")
    return parser


def _specs(count: int, docker: int, *, mixed: bool) -> list[HostSpec]:
    specs = []
    for index in range(count):
        shell = _SHELLS[index % len(_SHELLS)] if mixed else "bash"
        specs.append(
            HostSpec(
                name=f"node-{index + 1:02}",
                runtime="docker" if index >= count - docker else "podman",
                login_shell=shell,
                user="root" if mixed and index == len(_SHELLS) else "fleet",
                noisy_bashrc=mixed and shell != "dash",
            )
        )
    return specs


def _up(specs: list[HostSpec]) -> None:
    with Fleet(specs) as fleet:
        inventory = fleet.write_inventory(fleet.directory / "inventory.yaml")
        prefix = shlex.join(in_netns(fleet.netns))
        first = next(iter(fleet.hosts.values()))
        facts: dict[str, str | Path] = {
            "state": fleet.directory,
            "inventory": inventory,
            "key": fleet.client_key,
            "known_hosts": fleet.known_hosts,
            "prefix": prefix,
            "ssh": shlex.join(first.ssh_argv()),
        }
        for host in fleet.hosts.values():
            facts[f"host {host.name}"] = f"{host.ip} {host.spec.runtime} {host.spec.user}"
        for name, fact in facts.items():
            print(f"{name:14} {fact}")
        print("up; Ctrl-C or SIGTERM ends it", flush=True)
        threading.Event().wait()


def _leave(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
