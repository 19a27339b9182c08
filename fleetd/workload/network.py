"""Whose namespaces a container lives in, and what its pod is called there.

A pod of one container owns them; in a pod with a holder the holder owns network, ipc and, where
processes are shared, pid, with all that belongs to these: ports, names, addresses of other hosts,
kernel parameters. The containers join it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fleetd.core.facts import Runtime
from fleetd.core.pod import Container, PodSpec
from fleetd.workload.dns import has_resolver, resolver_lines
from fleetd.workload.holder import asks_for_address, has_holder, holder_name
from fleetd.workload.parts import Copy
from fleetd.workload.quoting import sh_word


def network_words(copy: Copy, spec: PodSpec, container: Container) -> list[str]:
    """The flags of a container of the pod."""
    if has_holder(spec):
        return [*_joined(copy, spec), *_resolver(copy, spec, container)]
    own = [] if spec.host_network else [_hostname(spec)]
    published = [] if spec.host_network else [f"--publish={p}" for p in _published([container])]
    return [
        *(["--network=host"] if spec.host_network else []),
        *own,
        *map(sh_word, published),
        *(["--pid=host"] if spec.host_pid else []),
        *(["--ipc=host"] if spec.host_ipc else []),
        *_names(spec),
        *_resolver(copy, spec, container),
    ]


def holder_words(copy: Copy, spec: PodSpec) -> list[str]:
    """The flags of the pod's holder."""
    if spec.host_network:
        words = ["--network=host"]
    else:
        ports = _published([*spec.init_containers, *spec.containers])
        words = [_hostname(spec), *(sh_word(f"--publish={port}") for port in dict.fromkeys(ports))]
    if spec.host_ipc:
        words.append("--ipc=host")
    elif copy.profile.runtime is Runtime.DOCKER or copy.profile.runtime_version > 3:
        words.append("--ipc=shareable")  # podman 3 knows no other
    return [*words, *_names(spec)]


def network_lines(copy: Copy, spec: PodSpec, container: Container) -> Sequence[str]:
    """Lines of a shell that a launcher runs before: the pod's address, its resolver."""
    lines: list[str] = []
    if asks_for_address(container):
        lines += _address(copy, spec)
    return (*lines, *resolver_lines(spec, _resolver_path(copy, container)))


def _joined(copy: Copy, spec: PodSpec) -> list[str]:
    holder = holder_name(copy.ds, copy.slot)
    words = ["--network=host" if spec.host_network else f"--network=container:{holder}"]
    words.append("--ipc=host" if spec.host_ipc else f"--ipc=container:{holder}")
    if spec.host_pid:
        words.append("--pid=host")
    elif spec.share_process_namespace:
        words.append(f"--pid=container:{holder}")
    if not spec.host_network and copy.profile.runtime is Runtime.PODMAN:
        words.append(_hostname(spec))  # docker gives it the holder's by itself
    if spec.host_network:
        words += _aliases(spec)
    return words


def _hostname(spec: PodSpec) -> str:
    if spec.hostname:
        return f"--hostname={spec.hostname}"
    return '--hostname="$(printf %.63s "${FLEETD_POD_NAME}")"'


def _names(spec: PodSpec) -> list[str]:
    security = spec.security_context
    sysctls = [(_dotted(each.name), each.value) for each in security.sysctls] if security else []
    return [*_aliases(spec), *(sh_word(f"--sysctl={name}={value}") for name, value in sysctls)]


def _aliases(spec: PodSpec) -> list[str]:
    return [
        sh_word(f"--add-host={name}:{alias.ip}")
        for alias in spec.host_aliases
        for name in alias.hostnames
    ]


def _dotted(name: str) -> str:
    """`net/ipv4/conf/eth0.1/x` as `net.ipv4.conf.eth0/1.x`: what an engine reads."""
    slash, dot = name.find("/"), name.find(".")
    if slash < 0 or 0 <= dot < slash:
        return name
    return name.translate(str.maketrans("/.", "./"))


def _published(containers: Iterable[Container]) -> Iterable[str]:
    for port in (port for container in containers for port in container.ports):
        if port.host_port:
            address = f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip
            on = f"{address}:{port.host_port}" if address else f"{port.host_port}"
            yield f"{on}:{port.container_port}/{port.protocol.lower()}"


def _resolver_path(copy: Copy, container: Container) -> str:
    return f"{copy.dir}/{container.name}.resolv.conf"


def _resolver(copy: Copy, spec: PodSpec, container: Container) -> list[str]:
    if not has_resolver(spec):
        return []
    source = _resolver_path(copy, container)
    return [f"--mount=type=bind,source={source},target=/etc/resolv.conf,readonly"]


def _address(copy: Copy, spec: PodSpec) -> list[str]:
    if spec.host_network:
        return ["FLEETD_POD_IP=$FLEETD_HOST_IP"]
    engine, holder = copy.profile.runtime, holder_name(copy.ds, copy.slot)
    told = f"$({engine} inspect --format"
    networks = "{{range .NetworkSettings.Networks}}{{println .IPAddress}}{{end}}"
    default = "{{println .NetworkSettings.IPAddress}}"  # of podman 3
    return [
        f"FLEETD_POD_IP={told} '{networks}' {holder} | grep -m 1 .) ||",
        f"  FLEETD_POD_IP={told} '{default}' {holder} | grep -m 1 .) ||",
        '  { echo "the pod has no address" >&2; exit 1; }',
    ]
