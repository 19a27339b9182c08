"""Hooks of a container: postStart right after its start, preStop before each stop.

`<container>.stop.sh` is how a container is stopped in Kubernetes' way, by its unit's ExecStop and
by a probe that gives it up alike; it exists where one of them needs it. `<container>.post-start.sh`
runs in ExecStartPost, so that a unit is up only after its hook.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetd.core.bundle import BundleFile
from fleetd.core.pod import Container, Lifecycle, PodSpec
from fleetd.workload.actions import (
    Subject,
    call,
    function,
    probe_script,
    script,
    subject_of,
)
from fleetd.workload.parts import Copy, text_file
from fleetd.workload.quoting import exec_word, sh_word


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a unit gets: files, finished lines of `[Service]`, and the command of its ExecStop=.

    `stop` is None where the engine's plain stop does.
    """

    files: tuple[BundleFile, ...] = ()
    start_post: tuple[str, ...] = ()
    stop: str | None = None


def hooks(copy: Copy, spec: PodSpec, container: Container, unit: str) -> Hooks:
    """The hooks of a container.

    A hook at the start may take as long as it likes, as in Kubernetes, and so may the startup probe
    of a sidecar, so that the unit's start has no time limit then.

    Raises:
        RenderError: a port that has no number.
    """
    lifecycle = container.lifecycle or Lifecycle()
    if not needs_stopper(container):
        return Hooks()
    subject = subject_of(copy, spec, container)
    grace = spec.termination_grace_period_seconds
    files = [text_file(stopper(copy, container), _stop(subject, lifecycle, grace, unit), 0o600)]
    commands: list[str] = []
    if lifecycle.post_start is not None:
        path = f"{copy.dir}/{container.name}.post-start.sh"
        text = _post_start(copy, container, subject, grace, unit)
        files.append(text_file(path, text, 0o600))
        commands.append(exec_word(path))
    if container.restart_policy == "Always" and container.startup_probe is not None:
        # A sidecar: what comes after it waits until it has started.
        commands.append(f"{exec_word(probe_script(copy, container.name))} gate")
    start_post = [f"ExecStartPost=/bin/sh {command}" for command in commands]
    if start_post:
        start_post.insert(0, "TimeoutStartSec=infinity")
    stop = f"/bin/sh {exec_word(stopper(copy, container))}" if lifecycle.pre_stop else None
    return Hooks(tuple(files), tuple(start_post), stop)


def needs_stopper(container: Container) -> bool:
    """Whether a script has to know how this container is stopped."""
    lifecycle = container.lifecycle
    hooked = lifecycle is not None and (lifecycle.post_start or lifecycle.pre_stop) is not None
    return hooked or container.liveness_probe is not None or container.startup_probe is not None


def stopper(copy: Copy, container: Container) -> str:
    """The path of the script that stops the container; its argument is another grace period."""
    return f"{copy.dir}/{container.name}.stop.sh"


def _stop(subject: Subject, lifecycle: Lifecycle, grace: int, unit: str) -> str:
    handler = lifecycle.pre_stop
    path = f"preStop of {subject.name}"
    lines = [
        *subject.head(unit, "preStop"),
        f"grace={grace}",
        f"hook={'preStop' if handler else ''}",
        script("action.sh"),
        *function("pre_stop", [call(handler, subject, path) if handler else ":"]),
        script("stop.sh"),
    ]
    return "\n".join(lines)


def _post_start(copy: Copy, container: Container, subject: Subject, grace: int, unit: str) -> str:
    handler = container.lifecycle.post_start if container.lifecycle else None
    lines = [
        *subject.head(unit, "postStart"),
        f"grace={grace}",
        f"stopper={sh_word(stopper(copy, container))}",
        script("action.sh"),
    ]
    if handler is not None:
        lines += function("post_start", [call(handler, subject, f"postStart of {subject.name}")])
    return "\n".join([*lines, script("post_start.sh")])
