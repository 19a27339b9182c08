"""What podman and docker have in common: one container of a copy, and the flags that both know.

Semantics are those of a kubelet: `command` is the entrypoint, `args` are its arguments, an image's
own health check does not run, and the default capabilities are containerd's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from fleetd.core.facts import Runtime
from fleetd.core.pod import Container, PodSpec
from fleetd.workload.environment import Environment, Text, container_env
from fleetd.workload.errors import RenderError
from fleetd.workload.lifecycle import Hooks, hooks
from fleetd.workload.limits import Limits, limits_of
from fleetd.workload.names import container_name, unit_name
from fleetd.workload.network import network_words
from fleetd.workload.parts import Copy
from fleetd.workload.quoting import exec_word, sh_word
from fleetd.workload.security import Security
from fleetd.workload.volumes import Mount, mounts


class Kind(Enum):
    """How long a container runs: as long as its pod, or to its end before the others start."""

    MAIN = "Container"
    INIT = "Init container"
    SIDECAR = "Sidecar"


@dataclass(frozen=True, slots=True)
class Launch:
    """One container of a copy, with all that its engine has to know."""

    copy: Copy
    spec: PodSpec
    container: Container
    path: str
    env: Environment
    mounts: tuple[Mount, ...]
    limits: Limits
    security: Security
    hooks: Hooks
    kind: Kind = Kind.MAIN

    @property
    def engine(self) -> Runtime:
        """What runs it: podman or docker."""
        return self.copy.profile.runtime

    @property
    def name(self) -> str:
        """What the engine calls it."""
        return container_name(self.copy.ds, self.container.name, self.copy.slot)

    @property
    def unit(self) -> str:
        """Its unit."""
        return unit_name(self.copy.ds, self.container.name, self.copy.slot)

    @property
    def image(self) -> str:
        """What to run: the pinned reference where there is one."""
        return self.copy.pins.get(self.container.image, self.container.image)

    @property
    def grace_s(self) -> int:
        """How long it may take to stop."""
        return self.spec.termination_grace_period_seconds

    @property
    def script(self) -> str:
        """The path of its launcher."""
        return f"{self.copy.dir}/{self.container.name}.start.sh"


@dataclass(frozen=True, slots=True)
class Service:
    """What an engine asks of a unit.

    Lines for `[Unit]` and `[Service]`; the words of the command that runs the container, each one
    word of a shell, quoted already; `lines` of a shell that run before it and may leave further
    words in `$@`; and a command to go on with once it has ended well, if there is one.
    """

    unit: Sequence[str]
    service: Sequence[str]
    words: Sequence[str]
    lines: Sequence[str] = ()
    then: str = ""


def launch(copy: Copy, spec: PodSpec, container: Container, kind: Kind, path: str) -> Launch:
    """A container of the pod, by its field path.

    Raises:
        RenderError: see `container_env`, `mounts`, `hooks` and `limits_of`.
    """
    env = container_env(copy, spec, container, path)
    annotations = copy.daemonset.spec.template.metadata.annotations
    return Launch(
        copy,
        spec,
        container,
        path,
        env,
        mounts(copy, spec, container, path),
        limits_of(spec, container, path),
        Security(spec, container, annotations),
        hooks(copy, spec, container, unit_name(copy.ds, container.name, copy.slot)),
        kind,
    )


def name_words(copy: Copy, name: str) -> list[str]:
    """Whose the container is."""
    labels = {"ds": str(copy.ds), "slot": copy.slot.value, "revision": copy.revision}
    words = [f"--name={name}", "--pull=never", "--no-healthcheck"]
    words.append('--label=fleetd.fleet="${FLEETD_FLEET}"')
    return words + [sh_word(f"--label=fleetd.{key}={value}") for key, value in labels.items()]


def common_words(this: Launch) -> list[str]:
    """The flags that podman and docker share."""
    container, profile = this.container, this.copy.profile
    words = name_words(this.copy, this.name)
    words += network_words(this.copy, this.spec, container)
    words += this.security.words(this.engine)
    if profile.selinux and this.mounts and not (this.security.privileged or this.security.labels):
        # Paths of the host keep their labels: what is mounted is open to this container alone.
        words.append("--security-opt=label=disable")
    words += [_mount(mount).sh() for mount in this.mounts]
    for name, value in this.env.variables.items():
        shown = f"--env={name}" if value.secret else f"--env={name}={value.marked}"
        words.append(Text(shown).sh())
    if container.working_dir:
        words.append(sh_word(f"--workdir={container.working_dir}"))
    if container.tty:
        words.append("--tty")
    if container.stdin:
        words.append("--interactive")
    if container.lifecycle and container.lifecycle.stop_signal:
        words.append(sh_word(f"--stop-signal={container.lifecycle.stop_signal}"))
    return words


def image_words(this: Launch) -> list[str]:
    """The entrypoint, the image, and its arguments: the end of the command line.

    Raises:
        RenderError: a secret in the command or its arguments, which every user of the host can
        read.
    """
    command = _expanded(this, "command", this.container.command)
    args = _expanded(this, "args", this.container.args)
    words = [Text(f"--entrypoint={command[0].marked}").sh()] if command else []
    return [*words, sh_word(this.image), *(word.sh() for word in [*command[1:], *args])]


def quietly(command: str) -> str:
    """An Exec line for a command that has nothing to say when it fails as expected."""
    return f"/bin/sh -c {exec_word(f'{command} >/dev/null 2>&1')}"


def oom_lines(score: int | None) -> list[str]:
    """A flag for the kernel's score, where this host lets one be set."""
    if score is None:
        return []
    flag = f'set -- "$@" --oom-score-adj={score}'
    return [f"if (echo {score} >/proc/self/oom_score_adj) 2>/dev/null; then {flag}; fi"]


def _mount(mount: Mount) -> Text:
    read_only = ",readonly" if mount.read_only else ""
    spread = f",bind-propagation={mount.propagation}" if mount.propagation else ""
    where = f"source={mount.source.marked},target={mount.target}"
    return Text(f"--mount=type=bind,{where}{read_only}{spread}")


def _expanded(this: Launch, field: str, words: Sequence[str]) -> list[Text]:
    found: list[Text] = []
    for at, word in enumerate(words):
        path = f"{this.path}.{field}[{at}]"
        expanded = this.env.expand(word, path)
        if expanded.secret:
            raise RenderError(
                path,
                "would show a secret in the list of processes; let the program read the variable "
                "itself, or mount the Secret",
            )
        found.append(expanded)
    return found
