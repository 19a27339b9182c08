"""The holder of a pod's namespaces: its unit, and the launcher that makes what it runs in.

A kubelet pulls an image for that. Here it is made on the spot, and empty: the holder runs the
host's own shell from the host's own directories, read-only, with no capability, and waits. As the
first process of a shared pid namespace it also buries the dead. The image goes with the last
holder.
"""

from __future__ import annotations

from fleetd.core.bundle import BundleUnit
from fleetd.core.facts import Role, Runtime
from fleetd.core.pod import PodSpec
from fleetd.workload import docker, podman
from fleetd.workload.container import name_words, quietly
from fleetd.workload.holder import holder_name, holder_unit
from fleetd.workload.names import HOLDER, container_name, target_name
from fleetd.workload.network import holder_words
from fleetd.workload.parts import Copy, Parts, text_file, unit_file
from fleetd.workload.quoting import exec_word, sh_word, text
from fleetd.workload.stamp import stamp_line
from fleetd.workload.values import values_path

IMAGE = "localhost/fleetd-holder:1"

_WAIT = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"
_RESTARTS_BESIDE_STOPS = 247
"""The class of systemd whose automatic restart may find units bound to it still stopping."""


def holder_parts(copy: Copy, spec: PodSpec) -> Parts:
    """The holder of a pod that has one."""
    name, unit = holder_name(copy.ds, copy.slot), holder_unit(copy.ds, copy.slot)
    script = f"{copy.dir}/{HOLDER}.start.sh"
    return Parts(
        files=(
            text_file(script, _launcher(copy, spec, name), 0o600),
            unit_file(unit, _unit(copy, spec, name, unit, script)),
        ),
        units=(BundleUnit(unit, Role.MAIN),),
        containers=(name,),
    )


def _launcher(copy: Copy, spec: PodSpec, name: str) -> str:
    engine = copy.profile.runtime
    words = [f"{engine} run", *name_words(copy, name), *holder_words(copy, spec), "--rm"]
    if engine is Runtime.PODMAN:
        words += ["--replace", *podman.DETACHED, "--http-proxy=false", "--read-only-tmpfs=false"]
    else:
        words += ["--log-driver=none", *docker.group_words(copy)]
    words += ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    if copy.profile.selinux:
        words.append("--security-opt=label=disable")
    words += ["--stop-timeout=5", '"$@"', "--entrypoint=/bin/sh", IMAGE, "-c", sh_word(_WAIT)]
    if engine is Runtime.PODMAN:
        words.append(">/dev/null")
    lines = [
        f"# Holds the namespaces of DaemonSet {copy.ds}; made by fleetd.",
        "set -eu",
        f". {values_path(copy.ds, copy.slot)}",
        f"{engine} image inspect {IMAGE} >/dev/null 2>&1 ||",
        f"  tar -c -f - -T /dev/null | {engine} import - {IMAGE} >/dev/null",
        "set --",
        "for place in /bin /lib /lib64 /usr; do",
        '  [ ! -d "$place" ] ||',
        '    set -- "$@" "--mount=type=bind,source=$place,target=$place,readonly"',
        "done",
        "exec " + " \\\n  ".join(words),
    ]
    return "\n".join(lines) + "\n"


def _unit(copy: Copy, spec: PodSpec, name: str, unit: str, script: str) -> str:
    target = target_name(copy.ds)
    pause = 5
    if copy.profile.systemd < _RESTARTS_BESIDE_STOPS:
        pause = spec.termination_grace_period_seconds + 35
    lines = [
        "[Unit]",
        f"Description={text(f'Holder of DaemonSet {copy.ds} (fleetd)')}",
        *copy.head(),
        f"X-Fleetd-Revision={copy.revision}",
        f"PartOf={target}",
        f"Wants={target}",
        "Wants=network-online.target",
        *(podman.UNIT if copy.profile.runtime is Runtime.PODMAN else docker.UNIT),
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        *_service(copy, spec, name),
        # It stays where another pod's holder uses it.
        f"ExecStopPost=-{quietly(f'{copy.profile.runtime} image rm {IMAGE}')}",
        stamp_line(copy.ds, copy.slot, unit),
        f"ExecStart=/bin/sh {exec_word(script)}",
        "SyslogIdentifier=%N",
        "KillMode=mixed",
        "Restart=always",
        f"RestartSec={pause}",
        "TimeoutStartSec=120",
        "TimeoutStopSec=60",
        "SuccessExitStatus=143 137",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def _service(copy: Copy, spec: PodSpec, name: str) -> list[str]:
    if copy.profile.runtime is Runtime.PODMAN:
        members = [
            container_name(copy.ds, each.name, copy.slot)
            for each in (*spec.init_containers, *spec.containers)
        ]
        return [
            *podman.NOTIFY,
            # What a power cut left of them would keep the holder from being removed.
            *podman.before(copy, *members, name),
            f"ExecStop=-/usr/bin/env podman stop -i -t 5 {name}",
            podman.after(name),
        ]
    return [
        docker.kind_of_service(copy),
        docker.before(name),
        docker.running(name),
        f"ExecStop=-/usr/bin/env docker stop -t 5 {name}",
        docker.after(name),
    ]
