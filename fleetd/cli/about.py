"""The verbs about fleetd itself: explain, version, completion, demo. None needs an inventory."""

from __future__ import annotations

import platform

import click

from fleetd import __version__
from fleetd.cli.tables import grid
from fleetd.cli.text import json_of, write
from fleetd.cli.verbs import Invocation, verb
from fleetd.errors import InvalidInput, NotFound
from fleetd.host.carrier import LINE

_ROOTS = {"apps/v1": "DaemonSet", "fleetd/v1": "SystemdDaemonSet"}


@verb("explain", "fleetd explain --fields", "fleetd explain ds.spec.updateStrategy")
@click.argument("path", default="", metavar="[PATH]")
@click.option("--fields", is_flag=True, help="Every field, with what becomes of it.")
@click.option(
    "--api-version",
    "version",
    type=click.Choice(list(_ROOTS)),
    default="apps/v1",
    help="Whose fields: Kubernetes' own, or those of a systemd workload.",
)
def explain(path: str, *, fields: bool, version: str) -> None:
    """Say for a field of a DaemonSet whether it is honoured, emulated, ignored or refused."""
    from fleetd.core.fields import rows

    if bool(path) == fields:
        raise click.UsageError("name a field, such as spec.updateStrategy, or say --fields")
    found = rows(_ROOTS[version])
    if path:
        words = path.split(".")
        wanted = ".".join(words[1:] if words[0].lower() in {"ds", "daemonset"} else words)
        plain = wanted.replace("[]", "")
        found = [
            (name, field)
            for name, field in found
            if (name.replace("[]", "") + ".").startswith(plain + ".") or not plain
        ]
        if not found:
            raise NotFound(
                f"no field {wanted} in {version}; `fleetd explain --fields` has them all"
            )
    cells = [("FIELD", "TYPE", "HERE", "NOTE")]
    cells += [(name, field.type, field.disposition.value, field.note) for name, field in found]
    write(grid(cells))


@verb("version", "fleetd version")
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    help="How to print it.",
)
def version(*, form: str) -> None:
    """Print the version of fleetd.

    As JSON also the one command line that hosts are sent, to put into authorized_keys.
    """
    if form == "json":
        about = {"fleetd": __version__, "python": platform.python_version(), "command": LINE}
        write(json_of(about))
    else:
        write(f"fleetd {__version__} (Python {platform.python_version()})")


@verb("completion", "source <(fleetd completion bash)", "fleetd completion fish | source")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell; source it from the shell's start-up file."""
    from click.shell_completion import get_completion_class

    known = get_completion_class(shell)
    if known is None:
        raise InvalidInput(f"click knows no completion for {shell}")
    write(known(ctx.find_root().command, {}, "fleetd", "_FLEETD_COMPLETE").source())


@verb("demo", "fleetd demo")
@click.pass_obj
def demo(invocation: Invocation) -> int:
    """Show the main job on a fleet of simulated hosts on this machine; no root, a minute."""
    return invocation.run_demo()
