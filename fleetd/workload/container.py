"""What podman and docker have in common: one container of a copy, and the flags that both know.

Semantics are those of a kubelet: `command` is the entrypoint, `args` are its arguments, an image's
own health check does not run, and the default capabilities are containerd's. Amounts come out in
the units that the kubelet computes them in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleetd.core import quantity
from fleetd.core.pod import Container, PodSpec
from fleetd.workload.environment import Environment, Text, container_env
from fleetd.workload.errors import RenderError
from fleetd.workload.names import container_name, unit_name
from fleetd.workload.parts import Copy
from fleetd.workload.quoting import exec_word, sh_word
from fleetd.workload.volumes import Mount, mounts


@dataclass(frozen=True, slots=True)
class Launch:
    """One container of a copy, with all that its engine has to know."""

    copy: Copy
    spec: PodSpec
    container: Container
    path: str
    env: Environment
    mounts: tuple[Mount, ...]

    @property
    def name(self) -> str:
        """What the engine calls it."""
        return container_name(self.copy.ds, self.container.name, self.copy.slot)

    @property
    def unit(self) -> str:
        """Its MAIN unit."""
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
    """What an engine asks of a unit: lines for `[Unit]` and `[Service]`, and the words of `run`.

    Each of `words` is one word of a shell, quoted already.
    """

    unit: Sequence[str]
    service: Sequence[str]
    words: Sequence[str]


def launch(copy: Copy, spec: PodSpec, at: int) -> Launch:
    """Container number `at` of the pod.

    Raises:
        RenderError: see `container_env` and `mounts`.
    """
    container = spec.containers[at]
    path = f"spec.template.spec.containers[{at}]"
    env = container_env(copy, spec, container, path)
    return Launch(copy, spec, container, path, env, mounts(copy, spec, container, path))


def common_words(this: Launch) -> list[str]:
    """The flags that podman and docker share."""
    copy, spec = this.copy, this.spec
    labels = {"ds": str(copy.ds), "slot": copy.slot.value, "revision": copy.revision}
    words = [f"--name={this.name}", "--pull=never", "--no-healthcheck"]
    words.append('--label=fleetd.fleet="${FLEETD_FLEET}"')
    words += [sh_word(f"--label=fleetd.{key}={value}") for key, value in labels.items()]
    if spec.host_network:
        words.append("--network=host")
    else:
        words.append('--hostname="$(printf %.63s "${FLEETD_POD_NAME}")"')
        words += [sh_word(f"--publish={port}") for port in _published(this.container)]
    if spec.host_pid:
        words.append("--pid=host")
    words += _security(this)
    words += [_mount(mount).sh() for mount in this.mounts]
    for name, value in this.env.variables.items():
        shown = f"--env={name}" if value.secret else f"--env={name}={value.marked}"
        words.append(Text(shown).sh())
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


def cpu_limit_milli(this: Launch) -> int | None:
    """`limits.cpu` in thousandths of a processor."""
    return _amount(this, "limits", "cpu", milli=True)


def cpu_request_milli(this: Launch) -> int | None:
    """`requests.cpu` in thousandths; where only a limit is set, the limit, as Kubernetes has it."""
    asked = _amount(this, "requests", "cpu", milli=True)
    return cpu_limit_milli(this) if asked is None else asked


def memory_limit(this: Launch) -> int | None:
    """`limits.memory` in bytes."""
    return _amount(this, "limits", "memory", milli=False)


def _amount(this: Launch, kind: str, name: str, *, milli: bool) -> int | None:
    resources = this.container.resources
    value = (resources.limits if kind == "limits" else resources.requests).get(name)
    if value is None:
        return None
    try:
        amount = quantity.milli(value) if milli else quantity.whole(value)
    except ValueError as error:
        raise RenderError(f"{this.path}.resources.{kind}.{name}", f"{value!r} {error}") from error
    return amount or None  # zero means: no limit


def _published(container: Container) -> Iterable[str]:
    for port in container.ports:
        if port.host_port:
            address = f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip
            on = f"{address}:{port.host_port}" if address else f"{port.host_port}"
            yield f"{on}:{port.container_port}/{port.protocol.lower()}"


def _security(this: Launch) -> list[str]:
    context = this.container.security_context
    words: list[str] = []
    if context and context.privileged:
        words.append("--privileged")
    elif this.copy.profile.selinux and this.mounts:
        # Paths of the host keep their labels: what is mounted is open to this container alone.
        words.append("--security-opt=label=disable")
    return words


def quietly(command: str) -> str:
    """An Exec line for a command that has nothing to say when it fails as expected."""
    return f"/bin/sh -c {exec_word(f'{command} >/dev/null 2>&1')}"


def capability_words(this: Launch, defaults: Iterable[str]) -> list[str]:
    """What the document asks for, and `defaults`: what containerd gives and this engine not."""
    context = this.container.security_context
    if context and context.privileged:
        return []
    asked = context.capabilities if context and context.capabilities else None
    add = list(asked.add) if asked else []
    drop = list(asked.drop) if asked else []
    if "ALL" not in drop and "ALL" not in add:
        add += [name for name in defaults if name not in drop and name not in add]
    drop = [name for name in drop if name not in add]
    return [
        *(sh_word(f"--cap-drop={name}") for name in drop),
        *(sh_word(f"--cap-add={name}") for name in add),
    ]


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
