"""One file of manifests on one host, from `fleetd validate` to the last trace removed."""

from __future__ import annotations

import re
import shlex
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from fleetd.core.fields import SECTIONS, Disposition
from tests.e2e.admin import Admin, Result
from tests.e2e.lab import Entry, Fleet, Host
from tests.e2e.manifests.compare import Comparison, Row, docker_version, unknown_capabilities
from tests.e2e.manifests.found import cursor, look
from tests.e2e.manifests.images import Image
from tests.e2e.manifests.manifest import (
    Agent,
    Document,
    Manifest,
    Reference,
    made_up,
    part,
)
from tests.e2e.proof import leftovers, wipe

#: How long probes and hooks get to be seen, after the copy is available.
SEEN_S: Final = 25.0
#: How long a copy gets to be available; a probe may begin after 30 s.
AVAILABLE_S: Final = 75
_OBSERVED: Final = ("kubernetes.io/os", "kubernetes.io/arch", "kubernetes.io/hostname")
_NOTE: Final = re.compile(r"note: (?:\S+?:\d+: )?(.*)", re.DOTALL)
_MAKE: Final = {
    "Directory": "mkdir -p {0}",
    "File": "mkdir -p $(dirname {0}) && : >>{0}",
    "CharDevice": "mkdir -p $(dirname {0}) && mknod {0} c 1 3",
    "BlockDevice": "mkdir -p $(dirname {0}) && mknod {0} b 7 0",
    "Socket": "mkdir -p $(dirname {0}) && perl -MIO::Socket::UNIX -e"
    " 'IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die $!' {0}",
}


_EDITOR: Final = """import sys, yaml
with open(sys.argv[1]) as file:
    document = yaml.safe_load(file)
document.setdefault({field!r}, {{}}).update({values!r})
with open(sys.argv[1], "w") as file:
    yaml.safe_dump(document, file)
"""


@dataclass
class Outcome:
    """How it went. `problems` is empty when everything was as asked."""

    name: str
    runtime: str
    started: bool = False
    rows: list[Row] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    supplied: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    not_run: set[str] = field(default_factory=set)
    skipped: str = ""
    seconds: float = 0.0


def run_on(fleet: Fleet, host: Host, manifest: Manifest, images: dict[str, Image]) -> Outcome:
    """Apply, compare, delete; whatever goes wrong is among the outcome's problems."""
    outcome = Outcome(manifest.name, host.spec.runtime)
    outcome.skipped = _cannot(host, manifest)
    if outcome.skipped:
        outcome.not_run.add(outcome.skipped)
        return outcome
    began = time.monotonic()
    wipe(host)
    try:
        directory = fleet.directory / "admins" / f"{host.name}-{manifest.name}"
        _Course(Admin(fleet, directory), host, manifest, images, outcome).run()
    except Exception:  # noqa: BLE001 - one file's failure must not end the others'
        outcome.problems.append(traceback.format_exc()[-4000:])
    outcome.problems += [str(row) for row in outcome.rows if not row.same]
    outcome.seconds = time.monotonic() - began
    return outcome


def _cannot(host: Host, manifest: Manifest) -> str:
    """Why no copy of it can run on the engine of this host."""
    asked_for = {
        str(name).removeprefix("CAP_")
        for agent in manifest.agents
        for container in agent.containers
        for name in container.part("securityContext", "capabilities").get("add") or ()
    }
    unknown = sorted(asked_for & unknown_capabilities(host))
    return f"docker {docker_version(host)} knows no {', '.join(unknown)}" if unknown else ""


@dataclass
class _Course:
    admin: Admin
    host: Host
    manifest: Manifest
    images: dict[str, Image]
    outcome: Outcome

    def run(self) -> None:
        self.admin.know([self._entry()])
        self._validate()
        files = self._supply()
        for agent in self.manifest.agents:
            self._make_paths(agent)
        since = cursor(self.host)
        applied = self.admin.fleetd(
            "apply", *files, "-o", "json", f"--timeout={AVAILABLE_S}s", code=None, timeout=200
        )
        self.outcome.started = applied.code == 0
        if applied.code != 0:
            self.outcome.problems.append(f"{_short(applied)}\n{self._journal(since)}")
        for agent in self.manifest.agents:
            self._compare(agent, since)
        self.admin.fleetd("delete", "-f", *_each("-f", files), "-o", "json", timeout=200)
        for agent in self.manifest.agents:
            found = look(self.host, agent, since)
            comparison = Comparison(self.host, agent, self.images, found)
            self.outcome.rows += comparison.actions(stopped=True)
        if left := leftovers(self.host):
            self.outcome.problems.append(f"left on the host: {left}")

    # ------------------------------------------------------------------------------ documents

    def _validate(self) -> None:
        """Every ignored field is named, once, with a reason; and so is a need of an API server."""
        result = self.admin.fleetd("validate", self.manifest.path)
        notes = [found[1] for line in result.stderr.splitlines() if (found := _NOTE.match(line))]
        self.outcome.ignored = notes
        for document in self.manifest.of_kind("DaemonSet"):
            root = "DaemonSet"
            for path, reason in _ignored(root, document):
                told = [note for note in notes if note.startswith(f"{path}:") and reason in note]
                if len(told) != 1:
                    told_as = "never" if not told else "more than once"
                    self.outcome.problems.append(f"ignored field {path}: {told_as} named")
        if needs_api(self.manifest) and not any("Kubernetes API" in note for note in notes):
            self.outcome.problems.append("no note says that the agent asks a Kubernetes API")

    def _supply(self) -> list[Path]:
        """The files to apply. What is missing is refused by name first."""
        manifest, directory = self.manifest, self.admin.directory
        lacking = [*manifest.missing, *manifest.incomplete]
        if not lacking:
            return [manifest.path]
        refused = self.admin.fleetd("apply", manifest.path, code=2)
        for namespace, reference in lacking:
            self.outcome.supplied.append(f"{reference.kind} {namespace}/{reference.name}")
            if reference.keys == {".dockerconfigjson"}:
                continue
            if reference.kind not in refused.stderr or reference.name not in refused.stderr:
                missing = f"{reference.kind} {reference.name}"
                self.outcome.problems.append(f"{missing} is missing, and was not named:\n{refused}")
        for namespace, reference in manifest.incomplete:
            self._complete(namespace, reference)
        if not manifest.missing:
            return [manifest.path]
        supplied = directory / "supplied.yaml"
        supplied.write_text(yaml.safe_dump_all(manifest.supplied))
        return [manifest.path, supplied]

    def _complete(self, namespace: str, reference: Reference) -> None:
        """Add keys to an object of the file as an operator does who may not change the file."""
        alone = self.admin.write(self.manifest.held(namespace, reference), name="alone.yaml")
        self.admin.fleetd("apply", alone)
        values = {key: made_up(reference.name, key) for key in sorted(reference.keys)}
        field_name = "stringData" if reference.kind == "Secret" else "data"
        editor = self.admin.directory / "editor.py"
        editor.write_text(_EDITOR.format(field=field_name, values=values))
        words = ["edit", reference.kind.lower(), reference.name, "-n", namespace]
        env = {**self.admin.env, "KUBE_EDITOR": f"{sys.executable} {editor}"}
        ended = self.admin.fleet.coordinator(self.admin.argv(*words), env=env)
        assert ended.returncode == 0, ended.stderr

    def _entry(self) -> Entry:
        """The host with all labels that selectors ask for, and a taint that is tolerated."""
        labels: dict[str, str] = {}
        taints: list[str] = []
        for agent in self.manifest.agents:
            labels |= wanted_labels(agent.pod)
            taints = taints or tolerated_taints(agent.pod)
        tolerant = all(tolerated_taints(agent.pod) for agent in self.manifest.agents)
        return Entry(self.host, labels=labels, taints=taints if tolerant else [])

    def _make_paths(self, agent: Agent) -> None:
        """What a manifest says must be on the host before it comes."""
        for volume in agent.volumes.values():
            path = part(volume, "hostPath")
            if make := _MAKE.get(str(path.get("type") or "")):
                quoted = shlex.quote(path["path"])
                self.host.sh(f"[ -e {quoted} ] || {{ {make.format(quoted)}; }}")

    def _compare(self, agent: Agent, since: str) -> None:
        comparison = Comparison(self.host, agent, self.images, look(self.host, agent, since))
        deadline = time.monotonic() + SEEN_S
        while True:
            done = comparison.actions(stopped=False)
            if all(row.same for row in done) or time.monotonic() > deadline:
                break
            time.sleep(1)
            comparison.found = look(self.host, agent, since)
        self.outcome.rows += [*comparison.run().rows, *done]
        self.outcome.not_run |= comparison.not_run

    def _journal(self, since: str) -> str:
        """What the units of fleetd and the engine said, for a person to see why."""
        command = f"journalctl --no-pager -q -o short --after-cursor={shlex.quote(since)}"
        noise = "standin|sshd|sudo|logind|user@|session-|storage-overlay|systemd\\[[0-9]{2,}\\]"
        return self.host.sh(f"{command} | grep -Ev '{noise}' | tail -n 30").stdout[-4000:]


def _each(flag: str, files: list[Path]) -> Iterator[str | Path]:
    for at, file in enumerate(files):
        if at:
            yield flag
        yield file


def _short(result: Result) -> str:
    said = f"{result.stdout[-2500:]}\n{result.stderr[-2500:]}"
    return f"fleetd {result.argv[4]} exited {result.code}\n{said}"


# ------------------------------------------------------------------------------------- the host


def wanted_labels(pod: Document) -> dict[str, str]:
    """Labels that make a host eligible: those of the selector, and of one term of the affinity."""
    labels = {
        key: str(value) for key, value in part(pod, "nodeSelector").items() if key not in _OBSERVED
    }
    required = part(
        pod, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"
    )
    for term in (required.get("nodeSelectorTerms") or ())[:1]:
        for each in term.get("matchExpressions") or ():
            if each["key"] in _OBSERVED:
                continue
            values = each.get("values") or ["yes"]
            if each["operator"] in {"In", "Exists"}:
                labels.setdefault(each["key"], values[0])
            elif each["operator"] in {"Gt", "Lt"}:
                step = 1 if each["operator"] == "Gt" else -1
                labels.setdefault(each["key"], str(int(values[0]) + step))
    return labels


def tolerated_taints(pod: Document) -> list[str]:
    """One taint that the pod tolerates, as an inventory writes it; none when it tolerates none."""
    for each in pod.get("tolerations") or ():
        key, value = each.get("key") or "lab/tainted", each.get("value") or ""
        effect = each.get("effect") or "NoSchedule"
        if each.get("operator") != "Exists" and not each.get("key"):
            continue
        if str(key).startswith(("node.kubernetes.io/", "CriticalAddonsOnly")):
            continue
        if each.get("tolerationSeconds") is not None:
            continue
        return [f"{key}={value}:{effect}" if value else f"{key}:{effect}"]
    return []


# -------------------------------------------------------------------------------------- ignored


def _ignored(section: str, value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Fields of a document that have no effect, with the reason that the table gives."""
    for name, below in (value or {}).items():
        row = SECTIONS[section].get(name)
        if row is None or below is None:
            continue
        here = f"{path}.{name}" if path else name
        if row.disposition is Disposition.IGNORED and row.type not in SECTIONS and not row.silent:
            yield here, row.note
        kind = row.type.removeprefix("[]")
        if kind in SECTIONS and row.disposition is not Disposition.REFUSED:
            many = isinstance(below, list)
            for at, item in enumerate(below if many else [below]):
                yield from _ignored(kind, item, f"{here}[{at}]" if many else here)


def needs_api(manifest: Manifest) -> bool:
    """Whether the file gives an agent's account rights at an API server."""
    bound = {
        subject.get("name")
        for kind in ("ClusterRoleBinding", "RoleBinding")
        for binding in manifest.of_kind(kind)
        for subject in binding.get("subjects") or ()
    }
    accounts = {
        agent.pod.get("serviceAccountName") or agent.pod.get("serviceAccount")
        for agent in manifest.agents
    }
    return bool(bound & (accounts - {None}))
