"""Field by field: what was asked for, and what is there."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any, Final

from fleetd.core.facts import Slot
from fleetd.core.key import Key
from fleetd.workload.names import copy_dir
from tests.e2e.lab import Host
from tests.e2e.manifests import asked
from tests.e2e.manifests.asked import CAPABILITIES, File, Where
from tests.e2e.manifests.found import Found, Mount
from tests.e2e.manifests.images import WORKING_DIR, Image
from tests.e2e.manifests.manifest import Agent, Container, Document, part

HOLDER: Final = "_holder"
_SINCE_DOCKER_23: Final = frozenset({"BPF", "CHECKPOINT_RESTORE", "PERFMON"})
_ENFORCED_NOWHERE: Final = {
    "memory": "memory limits: set on the unit or by a flag, not enforced by this lab",
    "cpu": "CPU limits: set on the unit or by a flag, not enforced by this lab",
    "selinux": "SELinux: this kernel has none",
    "apparmor": "AppArmor: this kernel has none",
}


def docker_version(host: Host) -> str:
    """The version of the host's docker, empty where podman runs the containers."""
    if host.spec.runtime != "docker":
        return ""
    return host.sh("docker version --format '{{.Server.Version}}'").stdout.strip()


def unknown_capabilities(host: Host) -> frozenset[str]:
    """What an old docker gives to nobody, privileged or not, nor takes a container that asks."""
    version = docker_version(host)
    old = version and int(version.partition(".")[0]) < 23
    return _SINCE_DOCKER_23 if old else frozenset()


@dataclass(frozen=True)
class Row:
    """One field of one container."""

    container: str
    field: str
    asked: Any
    found: Any

    @property
    def same(self) -> bool:
        return bool(self.asked == self.found)

    def __str__(self) -> str:
        return f"{self.container}: {self.field}: asked {self.asked!r}, found {self.found!r}"


@dataclass
class Comparison:
    """One copy of an agent on one host. `not_run`: what cannot be seen here, and why."""

    host: Host
    agent: Agent
    images: dict[str, Image]
    found: dict[str, Found]
    rows: list[Row] = field(default_factory=list)
    not_run: set[str] = field(default_factory=set)

    def run(self) -> Comparison:
        """Compare everything; the rows are in `rows`."""
        where = self._where()
        self._order()
        for container in self.agent.containers:
            found = self.found[container.name]
            if not found.dump:
                self._row(container, "started", "yes", "it told nothing")
                continue
            self._process(container, found, where)
            self._security(container, found)
            self._namespaces(container, found)
            self._mounts(container, found, where)
            self._resources(container, found)
            self._units(container, found)
        self._ports()
        self._pod()
        return self

    # -------------------------------------------------------------------------------- process

    def _process(self, container: Container, found: Found, where: Where) -> None:
        agent, dump = self.agent, found.dump
        image = self.images[container.image]
        self._row(container, "role", "init" if container.role == "init" else "main", dump["role"])
        if found.inspected:
            mine = str(found.inspected["Image"]).removeprefix("sha256:")
            self._row(container, "image", hashlib.sha256(image.config).hexdigest(), mine)
        line = asked.command_line(agent, container, where)
        self._row(container, "command and args", [_latin(word) for word in line], dump["argv"])
        wanted = asked.environment(agent, container, where)
        wanted = {name: _latin(value) for name, value in wanted.items()}
        there = found.environment
        for name, value in wanted.items():
            self._row(container, f"env {name}", value, there.get(name))
        extra = sorted(set(there) - set(wanted) - asked.UNASKED)
        self._row(container, "env beside it", [], extra)
        directory = container.document.get("workingDir") or WORKING_DIR
        self._row(container, "workingDir", directory, dump["cwd"])
        self._row(container, "tty", bool(container.document.get("tty")), bool(dump["tty"]))
        if found.inspected:
            stdin = bool(container.document.get("stdin"))
            self._row(container, "stdin", stdin, found.inspected["Config"]["OpenStdin"])

    def _where(self) -> Where:
        host, agent = self.host, self.agent
        facts = host.sh("nproc; sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo").stdout
        cpus, memory = facts.split()
        address = host.ip
        if not agent.pod.get("hostNetwork"):
            told = [each.dump.get("addresses", []) for each in self.found.values()]
            own = [ip for ips in told for ip in ips if not ip.startswith("127.")]
            address = own[0] if own else ""
        uid = ""
        for container in agent.containers:
            for variable in container.listed("env"):
                path = part(variable, "valueFrom", "fieldRef").get("fieldPath")
                if path == "metadata.uid":
                    uid = self.found[container.name].environment.get(variable["name"], "") or uid
        return Where(host.name, host.ip, address, uid, int(cpus), int(memory) * 1024)

    # ------------------------------------------------------------------------------- security

    def _security(self, container: Container, found: Found) -> None:
        wanted = asked.security(self.agent, container, self.images[container.image])
        dump = found.dump
        self._row(container, "runAsUser", wanted.uid, dump["uid"])
        self._row(container, "runAsGroup", wanted.gid, dump["gid"])
        groups = set(dump["groups"]) - {dump["gid"]}
        self._row(container, "groups", sorted(wanted.groups - {dump["gid"]}), sorted(groups))
        mine = _names(self._host_status("CapBnd"))
        if wanted.privileged:
            mine -= unknown_capabilities(self.host)
        capabilities = mine if wanted.privileged else wanted.capabilities & mine
        if unknown := wanted.capabilities - mine:
            self.not_run.add(f"capabilities that this lab's hosts lack: {', '.join(unknown)}")
        bounding, effective = _caps(found, "CapBnd"), _caps(found, "CapEff")
        self._row(container, "capabilities that lack", [], sorted(capabilities - bounding))
        self._row(container, "capabilities beyond", [], sorted(bounding - capabilities))
        if wanted.uid == 0:
            lacking = sorted(capabilities - effective)
            self._row(container, "effective capabilities that lack", [], lacking)
        more = sorted(effective - capabilities)
        self._row(container, "effective capabilities beyond", [], more)
        no_new = found.status("NoNewPrivs") == "1"
        self._row(container, "allowPrivilegeEscalation", not wanted.no_new_privileges, not no_new)
        if wanted.seccomp is not None:
            # The lab's hosts are under a filter themselves.
            filters = int(found.status("Seccomp_filters")) - int(
                self._host_status("Seccomp_filters")
            )
            self._row(container, "seccompProfile", wanted.seccomp != "Unconfined", filters > 0)
        root = found.mount("/")
        self._row(
            container,
            "readOnlyRootFilesystem",
            wanted.read_only_root,
            bool(root and root.read_only),
        )
        pod, own = part(self.agent.pod, "securityContext"), container.part("securityContext")
        for key, what in (("seLinuxOptions", "selinux"), ("appArmorProfile", "apparmor")):
            if pod.get(key) or own.get(key):
                self.not_run.add(_ENFORCED_NOWHERE[what])

    # ----------------------------------------------------------------------------- namespaces

    def _namespaces(self, container: Container, found: Found) -> None:
        pod, mine = self.agent.pod, self._host_namespaces()
        for key, kind in (("hostNetwork", "net"), ("hostPID", "pid"), ("hostIPC", "ipc")):
            own = found.dump["ns"][kind] == mine[kind]
            self._row(container, key, bool(pod.get(key)), own)
        wanted = f"{self.agent.name}-{self.host.name}"[:63]
        if pod.get("hostNetwork"):
            wanted = self.host.name
        self._row(container, "hostname", pod.get("hostname") or wanted, found.dump["hostname"])

    def _pod(self) -> None:
        """What containers of one pod have in common."""
        # Of those that live: the number of a namespace that has ended is given to another.
        alive = [each for each in self.agent.containers if each.role != "init"]
        told = [self.found[each.name].dump for each in alive if self.found[each.name].dump]
        pod = self.agent.pod
        if len(told) > 1:
            shared = {"net": True, "pid": bool(pod.get("hostPID"))}
            if not pod.get("hostNetwork"):
                shared["ipc"] = True
            shared["pid"] |= bool(pod.get("shareProcessNamespace"))
            for kind, alike in shared.items():
                seen = {dump["ns"][kind] for dump in told}
                self.rows.append(Row("pod", f"one {kind} namespace", alike, len(seen) == 1))
        for alias in pod.get("hostAliases") or ():
            for dump in told:
                lines = [line.split() for line in dump["hosts"].splitlines()]
                there = {name for line in lines if line[:1] == [alias["ip"]] for name in line[1:]}
                wanted = set(alias["hostnames"])
                self.rows.append(Row("pod", "hostAliases", wanted, wanted & there))
        for dump in told:
            self._resolver(part(pod, "dnsConfig"), dump["resolv"].split())
        for sysctl in part(pod, "securityContext").get("sysctls") or ():
            self._sysctl(sysctl)

    def _resolver(self, config: Document, words: list[str]) -> None:
        wanted = [*(config.get("nameservers") or ()), *(config.get("searches") or ())]
        for option in config.get("options") or ():
            value = option.get("value")
            wanted.append(f"{option['name']}:{value}" if value else option["name"])
        if wanted:
            there = [word for word in wanted if word in words]
            self.rows.append(Row("pod", "dnsConfig", wanted, there))

    def _sysctl(self, sysctl: Document) -> None:
        path = f"/proc/sys/{sysctl['name'].replace('.', '/')}"
        for container, pid in self._pids():
            enter = f"nsenter --target={pid} --net --ipc --uts cat {shlex.quote(path)}"
            value = " ".join(self.host.sh(enter, check=False).stdout.split())
            self._row(container, f"sysctl {sysctl['name']}", str(sysctl["value"]), value)

    def _host_status(self, name: str) -> str:
        """A line of the status of the host's first process."""
        return self.host.sh(f"sed -n 's/^{name}:\\s*//p' /proc/1/status").stdout.strip()

    def _host_namespaces(self) -> dict[str, int]:
        kinds = ("net", "pid", "ipc")
        command = "stat -L -c %i " + " ".join(f"/proc/1/ns/{kind}" for kind in kinds)
        shown = self.host.sh(command).stdout.split()
        return dict(zip(kinds, map(int, shown), strict=True))

    def _order(self) -> None:
        """Init containers one after the other, each at its end before the next thing starts."""
        starts = [(each.name, self.found[each.name]) for each in self.agent.containers]
        names = [name for name, found in starts if found.dump]
        inits = [each.name for each in self.agent.containers if each.role != "main"]
        by_time = sorted(names, key=lambda name: self.found[name].dump["at"])
        first = [name for name in by_time if name in inits]
        self.rows.append(Row("pod", "init containers in order", inits, by_time[: len(inits)]))
        self.rows.append(Row("pod", "init containers that ran", inits, first))

    # --------------------------------------------------------------------------------- mounts

    def _mounts(self, container: Container, found: Found, where: Where) -> None:
        for wanted in container.listed("volumeMounts"):
            target = wanted["mountPath"].rstrip("/") or "/"
            mount = found.mount(target)
            if mount is None:
                self._row(container, f"mount {target}", "there", "missing")
                continue
            volume = self.agent.volumes[wanted["name"]]
            content = any(key in volume for key in ("configMap", "secret", "projected"))
            content |= "downwardAPI" in volume
            # Kubernetes mounts content read-only, whatever the mount says.
            read_only = bool(wanted.get("readOnly")) or (content and mount.kind != "tmpfs")
            if mount.read_only and not read_only and self._read_only_here(volume):
                self.not_run.add("hostPaths that are read-only on this lab's hosts")
            else:
                self._row(container, f"mount {target} readOnly", read_only, mount.read_only)
            propagation = wanted.get("mountPropagation") or "None"
            if not self._propagated_anyway(volume):
                self._row(container, f"mount {target} propagation", propagation, mount.propagation)
            self._source(container, wanted, volume, (found, mount, where))

    def _read_only_here(self, volume: Document) -> bool:
        path = shlex.quote(str(part(volume, "hostPath").get("path", "/")))
        options = self.host.sh(f"findmnt -n -o VFS-OPTIONS -T {path}", check=False).stdout
        return "ro" in options.strip().split(",")

    def _propagated_anyway(self, volume: Document) -> bool:
        """Whether docker takes no wish: what holds its own data, or lies in that, it propagates."""
        path = str(part(volume, "hostPath").get("path", "")).rstrip("/")
        own = "/var/lib/docker"
        related = bool(volume.get("hostPath")) and f"{own}/".startswith(f"{path}/")
        return self.host.spec.runtime == "docker" and (related or path.startswith(own))

    def _source(self, container: Container, wanted: Document, volume: Document, seen: Any) -> None:
        found, mount, where = seen
        target = mount.target
        sub = wanted.get("subPath") or ""
        if expression := wanted.get("subPathExpr"):
            sub = asked.expand(expression, asked.environment(self.agent, container, where))
        if "hostPath" in volume:
            path = PurePosixPath(volume["hostPath"]["path"], sub)
            shown = self.host.sh(f"stat -L -c '%d %i' {shlex.quote(str(path))}", check=False).stdout
            own = tuple(map(int, shown.split()))
            self._row(container, f"mount {target} is {path}", own, found.place(target))
        elif "emptyDir" in volume:
            self._empty_dir(container, wanted, volume, found, mount)
        else:
            files = asked.files(self.agent, container, volume, where)
            if sub:
                name = PurePosixPath(sub)
                files = {
                    str(PurePosixPath(path).relative_to(name)): file
                    for path, file in files.items()
                    if PurePosixPath(path).is_relative_to(name)
                }
            self._content(container, target, files, found)

    def _empty_dir(
        self, container: Container, wanted: Document, volume: Document, found: Found, mount: Mount
    ) -> None:
        target = mount.target
        empty = volume["emptyDir"] or {}
        if empty.get("medium") == "Memory":
            self._row(container, f"mount {target} medium", "tmpfs", mount.kind)
        if empty.get("sizeLimit"):
            self.not_run.add("emptyDir.sizeLimit on disk: nothing limits a directory")
        if wanted.get("subPath") or wanted.get("subPathExpr"):
            return
        group = part(self.agent.pod, "securityContext").get("fsGroup")
        mode = ("2777", 0, int(group)) if group is not None else ("777", 0, 0)
        self._row(container, f"mount {target} mode", mode, found.place_mode(target))
        for other in self.agent.containers:
            for their in other.listed("volumeMounts"):
                there = self.found[other.name]
                same = their["name"] == wanted["name"] and not their.get("subPath")
                if other is not container and same and there.dump:
                    place = their["mountPath"].rstrip("/")
                    is_shared = f"mount {target} is {other.name}'s {place}"
                    self._row(container, is_shared, there.place(place), found.place(target))

    def _content(
        self, container: Container, target: str, files: dict[str, File], found: Found
    ) -> None:
        pid = (found.inspected.get("State") or {}).get("Pid")
        if not pid:
            return  # an init container is over; its mount is compared, and what mains see of it
        script = f"""
            at=/proc/{pid}/root{shlex.quote(target)}
            [ -d "$at" ] && cd "$at" || {{ set -- "$at"; cd /; }}
            [ $# -eq 1 ] || set -- $(find -L . -type f ! -path './..*')
            for file do
              printf '%s\\t%s\\t%s\\n' "$file" "$(stat -L -c %a "$file")" "$(base64 -w 0 "$file")"
            done
        """
        there: dict[str, tuple[bytes, int]] = {}
        for line in self.host.sh(script).stdout.splitlines():
            name, octal, encoded = line.split("\t")
            name = "." if name.startswith("/") else name.removeprefix("./")
            there[name] = (base64.b64decode(encoded), int(octal, 8))
        self._row(container, f"mount {target} files", sorted(files), sorted(there))
        grouped = part(self.agent.pod, "securityContext").get("fsGroup") is not None
        for path, file in files.items():
            if path not in there:
                continue
            content, mode = there[path]
            if file.content is not None:
                self._row(container, f"file {target}/{path}", file.content, content)
            # With an fsGroup the group reads what the owner reads.
            wanted = file.mode | (file.mode >> 3 & 0o40) if grouped else file.mode
            self._row(container, f"mode of {target}/{path}", oct(wanted), oct(mode))

    # ---------------------------------------------------------------------- resources and units

    def _resources(self, container: Container, found: Found) -> None:
        """Limits and shares, by properties of the unit or by flags of the engine."""
        limits = container.part("resources", "limits")
        memory = asked.quantity(limits.get("memory") or 0)
        cpu = asked.quantity(limits.get("cpu") or 0)
        share = asked.quantity(container.part("resources", "requests").get("cpu") or 0) or cpu
        critical = {"system-node-critical": Fraction(10), "system-cluster-critical": Fraction(5)}
        share = max(share, critical.get(str(self.agent.pod.get("priorityClassName")), Fraction(0)))
        self.not_run |= {_ENFORCED_NOWHERE["memory"]} if memory else set()
        self.not_run |= {_ENFORCED_NOWHERE["cpu"]} if cpu else set()
        shares = max(int(share * 1024), 2)
        if container.role == "init" or self.host.spec.runtime == "docker":
            self._flags(container, memory, cpu, shares if share else 0)
            return
        unit = found.properties
        quota = -(-cpu * 100 // 1) if cpu else 0
        there = round(_seconds(unit["CPUQuotaPerSecUSec"]) * 100)
        self._row(container, "limits.memory", str(memory or "infinity"), unit["MemoryMax"])
        self._row(container, "limits.cpu", quota, there)
        weight = str(max(int(share * 100), 1)) if share else "[not set]"
        self._row(container, "requests.cpu", weight, unit["CPUWeight"])

    def _flags(self, container: Container, memory: Any, cpu: Any, shares: int) -> None:
        """What the engine was told, of a container that may be over: it is in its launcher."""
        copy = copy_dir(Key(self.agent.namespace, self.agent.name), Slot.A)
        script = f"{copy}/{container.name}.start.sh"
        words = self.host.sh(f"cat {shlex.quote(script)}").stdout.split()
        wanted = {"memory": memory, "cpus": f"{float(cpu):.3f}" if cpu else 0, "cpu-shares": shares}
        for flag, value in wanted.items():
            flags = [word.rstrip(";") for word in words if word.startswith(f"--{flag}=")]
            there = [word.partition("=")[2] for word in flags]
            self._row(container, f"--{flag}", [str(value)] if value else [], there)

    def _units(self, container: Container, found: Found) -> None:
        self._row(container, "unit", "active", found.properties["ActiveState"])
        if container.role != "init":
            self._row(container, "restarts", "0", found.properties["NRestarts"])
            self._row(container, "starts", 1, len(found.dumps))
        if container.probes:
            self._row(container, "probe unit", "active", found.probe["ActiveState"])
        if found.inspected:
            grace = self.agent.pod.get("terminationGracePeriodSeconds")
            grace = 30 if grace is None else int(grace)
            self._row(container, "terminationGracePeriodSeconds", grace, found.stop_timeout)

    def _ports(self) -> None:
        bound = [
            (name, one["HostPort"])
            for each in self.found.values()
            for name, ones in (part(each.inspected, "HostConfig", "PortBindings") or {}).items()
            for one in ones or ()
        ]
        for container in self.agent.containers:
            for port in container.listed("ports"):
                if port.get("hostPort") and not self.agent.pod.get("hostNetwork"):
                    name = f"{port['containerPort']}/{port.get('protocol', 'TCP').lower()}"
                    wanted = (name, str(port["hostPort"]))
                    self._row(container, f"hostPort {name}", True, wanted in bound)

    # ---------------------------------------------------------------------------------- actions

    def actions(self, *, stopped: bool) -> list[Row]:
        """Probes and postStart, or, of a copy that was `stopped`, preStop: what was really done."""
        rows: list[Row] = []
        where = self._where()
        for container in self.agent.containers:
            hooks = container.part("lifecycle")
            wanted: dict[str, Document] = {}
            if stopped:
                wanted = {"preStop": hooks["preStop"]} if hooks.get("preStop") else {}
            else:
                wanted = {f"{kind}Probe": each for kind, each in container.probes.items()}
                if hooks.get("postStart"):
                    wanted["postStart"] = hooks["postStart"]
            for name, action in wanted.items():
                if int(action.get("initialDelaySeconds") or 0) > 20 and name == "livenessProbe":
                    self.not_run.add(f"{name} with a long initialDelaySeconds: not waited for")
                    continue
                told, seen = self._done(container, action, where)
                rows.append(Row(container.name, name, told, told if seen else "not seen"))
        return rows

    def _done(self, container: Container, action: Document, where: Where) -> tuple[str, bool]:
        """What the action does, and whether any container saw it."""
        named = self.agent.ports(container)
        if command := part(action, "exec").get("command"):
            known = asked.environment(self.agent, container, where)
            line = [_latin(asked.expand(str(word), known)) for word in command]
            return " ".join(line), any(
                told["argv"] == line for told in self.found[container.name].execs
            )
        everything = [told for each in self.found.values() for told in each.asked]
        for kind in ("httpGet", "tcpSocket", "grpc"):
            if spec := part(action, kind):
                port = named[spec["port"]] if spec["port"] in named else int(spec["port"])
                ways = {"httpGet": str(spec.get("scheme") or "HTTP").lower(), "grpc": "grpc"}
                how = ways.get(kind, "tcp")
                heads = [
                    told["head"]
                    for told in everything
                    if (told["how"], told["port"]) == (how, port)
                ]
                shown = f"{how} {port} {spec.get('path', '')}".strip()
                return shown, any(map(_matcher(kind, spec), heads))
        return "sleep", True

    def _pids(self) -> Iterable[tuple[Container, int]]:
        for container in self.agent.containers:
            state = part(self.found[container.name].inspected, "State")
            if state.get("Pid"):
                yield container, state["Pid"]

    def _row(self, container: Container, what: str, wanted: Any, there: Any) -> None:
        self.rows.append(Row(container.name, what, wanted, there))


def _matcher(kind: str, spec: Document) -> Callable[[str], bool]:
    lines: list[str] = []
    if kind == "httpGet":
        path = spec.get("path") or "/"
        lines = [f"GET {path if path.startswith('/') else '/' + path} HTTP/"]
        lines += [f"{each['name']}: {each['value']}" for each in spec.get("httpHeaders") or ()]
    elif kind == "grpc":
        lines = [spec.get("service") or ""]
    return lambda head: all(line.lower() in head.lower() for line in lines)


def _caps(found: Found, which: str) -> frozenset[str]:
    return _names(found.status(which))


def _names(mask: str) -> frozenset[str]:
    bits = int(mask or "0", 16)
    return frozenset(name for at, name in enumerate(CAPABILITIES) if bits >> at & 1)


def _latin(text: str) -> str:
    """As the stand-in tells it: byte by byte."""
    return text.encode().decode("latin-1")


def _seconds(shown: str) -> float:
    """A time span as systemctl shows it."""
    if shown == "infinity":
        return 0.0
    units = {"ms": 0.001, "us": 0.000001, "s": 1.0, "min": 60.0}
    total = 0.0
    for word in shown.split():
        digits = word.rstrip("musin")
        total += float(digits) * units[word.removeprefix(digits)]
    return total
