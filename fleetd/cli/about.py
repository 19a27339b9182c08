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
_TOPS = {"ds": "", "daemonset": "", "daemonsets": "", "daemonset.apps": ""}
_TOPS |= dict.fromkeys(("po", "pod", "pods"), "spec.template")
"""What the first word of a path stands for; a pod is what the template makes."""


@verb(
    "explain",
    "fleetd explain ds.spec.template.spec.containers.livenessProbe",
    "fleetd explain pod.spec.volumes --recursive",
    "fleetd explain --fields",
)
@click.argument("path", default="", metavar="[PATH]")
@click.option("--recursive", is_flag=True, help="All fields below, not only the next.")
@click.option("--fields", is_flag=True, help="Every field in one table, with what becomes of it.")
@click.option(
    "--api-version",
    "version",
    type=click.Choice(list(_ROOTS)),
    default="apps/v1",
    help="Whose fields: Kubernetes' own, or those of a systemd workload.",
)
def explain(path: str, *, recursive: bool, fields: bool, version: str) -> None:
    """Say for a field of a DaemonSet whether it is honoured, emulated, ignored or refused."""
    from fleetd.core.fields import rows

    if bool(path) == fields:
        raise click.UsageError("name a field, such as ds.spec.updateStrategy, or say --fields")
    found = rows(_ROOTS[version])
    if fields:
        cells = [("FIELD", "TYPE", "HERE", "NOTE")]
        cells += [(name, field.type, field.disposition.value, field.note) for name, field in found]
        write(grid(cells))
        return
    wanted = _path_of(path)
    by_name = {name.replace("[]", ""): field for name, field in found}
    if wanted and wanted not in by_name:
        raise NotFound(
            f'field "{path}" does not exist in {version}; `fleetd explain --fields` has them all'
        )
    group, _, number = version.partition("/")
    write(f"GROUP:      {group}\nKIND:       DaemonSet\nVERSION:    {number}\n\n")
    if wanted:
        field = by_name[wanted]
        write(f"FIELD: {field.name} <{field.type}>\n\nHERE:  {field.disposition.value}")
        if field.note:
            write(f"NOTE:  {field.note}")
    below = [
        (f"{'  ' * depth}{field.name}", f"<{field.type}>", field.disposition.value, field.note)
        for name, field in by_name.items()
        if (depth := _depth(name, wanted)) == 1 or (recursive and depth > 0)
    ]
    if below:
        write(f"{chr(10) if wanted else ''}FIELDS:\n{grid(below)}")


def _path_of(text: str) -> str:
    """The path as the table has it: `pod.spec.x`, `ds.spec.x` and `spec.x` alike."""
    plain = text.replace("[]", "")
    first, _, rest = plain.partition(".")
    if plain.lower() in _TOPS:
        return _TOPS[plain.lower()]
    if first.lower() in _TOPS:
        return ".".join(filter(None, (_TOPS[first.lower()], rest.removeprefix("apps."))))
    return plain


def _depth(name: str, above: str) -> int:
    """How many fields a name lies below another one; 0 when it does not."""
    if above and not name.startswith(f"{above}."):
        return 0
    return name.count(".") - above.count(".") + (0 if above else 1)


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
