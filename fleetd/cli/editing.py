"""`edit`: an object as YAML in an editor, and what came out of it put in its place.

As with kubectl: what is wrong is written above the document as comments and the editor is opened
again; nothing changed, or an empty file, cancels; changes that could not be taken stay in a file.
Nothing is locked while the editor is open.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import click

from fleetd.cli.kinds import Kind, targets
from fleetd.cli.report import Form
from fleetd.cli.text import plain, say, yaml_of
from fleetd.cli.verbs import (
    Invocation,
    bounds,
    dry_run_option,
    namespace_option,
    report_option,
    run_options,
    timeout_option,
    verb,
    wait_option,
)
from fleetd.client import Edited, Query, RunOptions, Shape
from fleetd.core.key import Key
from fleetd.errors import FleetdError, InvalidInput, NotFound, Refused

EDITABLE = frozenset({"daemonsets", "configmaps", "secrets"})
_HEAD = """\
# Please edit the object below. Lines beginning with a '#' will be ignored,
# and an empty file will abort the edit. If an error occurs while saving this file will be
# reopened with the relevant failures.
#
"""


@verb("edit", "fleetd edit ds node-exporter", "KUBE_EDITOR=nano fleetd edit cm/settings")
@click.argument("what", nargs=-1, required=True, metavar="KIND NAME...")
@namespace_option
@wait_option
@timeout_option
@dry_run_option
@bounds
@report_option
@click.pass_obj
def edit(
    invocation: Invocation, /, what: Sequence[str], namespace: str, *, form: str, **given: Any
) -> int:
    """Edit objects in an editor ($KUBE_EDITOR, $EDITOR, vi), held to the rules of apply."""
    places = targets(what, EDITABLE)
    if any(not name for _, name in places):
        raise click.UsageError("name what to edit: KIND NAME")
    options = run_options(**given)
    return max(
        _edit(invocation, kind, Key(namespace, name), cast("Form", form), options)
        for kind, name in places
    )


def _edit(invocation: Invocation, kind: Kind, key: Key, form: Form, options: RunOptions) -> int:
    query = Query(key.namespace, key.name)
    found = invocation.look(lambda reads: reads.get(kind.plural, query))
    if not found:
        raise NotFound(f'{kind.resource} "{key.name}" not found')
    version = str(found[0]["metadata"]["resourceVersion"])
    text = yaml_of(_editable(found[0]))
    head, last = _HEAD, text
    place = _file(f"{kind.singular}-{key.name}-")
    kept = False
    try:
        while True:
            place.write_text(head + last, encoding="utf-8")
            _open_editor(place)
            now = _document(place)
            if not now.strip():
                say("Edit cancelled, saved file was empty.")
                return 0
            if now == last:
                if head is _HEAD:
                    say("Edit cancelled, no changes made.")
                    return 0
                kept = True
                say(f'A copy of your changes has been stored to "{place}"')
                raise Refused("Edit cancelled, no valid changes were saved.")
            place.write_text(now, encoding="utf-8")
            try:
                return invocation.carry_out(
                    lambda client, progress: client.edit(
                        kind.plural, key, Edited(str(place), version), options, progress
                    ),
                    form,
                    options,
                    words={"configured": "edited"},
                )
            except InvalidInput as error:
                head, last = _HEAD + _complaint(kind, key, error, place), now
            except FleetdError:
                kept = True
                say(f'A copy of your changes has been stored to "{place}"')
                raise
    finally:
        if not kept:
            place.unlink(missing_ok=True)


def _editable(shape: Shape) -> Shape:
    """The object without what nobody can edit."""
    return {name: value for name, value in shape.items() if name != "status"}


def _file(prefix: str) -> Path:
    import tempfile

    handle, path = tempfile.mkstemp(prefix=f"fleetd-edit-{prefix}", suffix=".yaml")
    os.close(handle)  # mkstemp made it for our eyes only: it may hold a Secret
    return Path(path)


def _document(place: Path) -> str:
    """What is in the file, without the comments at its head."""
    lines = place.read_text(encoding="utf-8").splitlines(keepends=True)
    start = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "".join(lines[start:])


def _complaint(kind: Kind, key: Key, error: InvalidInput, place: Path) -> str:
    lines = [f'# {kind.resource} "{key.name}" was not valid:']
    for problem in error.problems:
        told = str(problem).replace(f"{place}:", "line ")
        lines += [f"# * {line}" for line in plain(told).splitlines()]
    return "\n".join([*lines, "#", ""])


def _open_editor(place: Path) -> None:
    import shlex
    import subprocess

    said = os.environ.get("KUBE_EDITOR") or os.environ.get("EDITOR") or "vi"
    try:
        ended = subprocess.run([*shlex.split(said), str(place)], check=False)  # noqa: S603
    except (OSError, ValueError) as error:
        raise InvalidInput(f"the editor {said!r} does not start: {error}") from error
    if ended.returncode:
        raise Refused(f"the editor {said!r} ended with status {ended.returncode}; nothing was done")
