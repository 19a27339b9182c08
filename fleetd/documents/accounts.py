"""Which agents will look for a Kubernetes API when they run.

No field of a manifest says so. What tells it: the agent's service account is given rights by a
binding beside it, or it asks for an account's token, or reads the variables that every pod in a
cluster has. Such an agent starts like any other, and its owner should know what it will not get.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from fleetd.core.fields import Plain
from fleetd.errors import Problem

BINDINGS = frozenset({"ClusterRoleBinding", "RoleBinding"})
_TOKEN_DIR = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
_CLUSTER_VARIABLES = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")


@dataclass(frozen=True, slots=True)
class _Agent:
    source: str
    line: int
    path: str
    namespace: str
    account: str
    signs: tuple[str, ...]


@dataclass(slots=True)
class Accounts:
    """Gathers bindings and agents from all documents; bindings may come after their agents."""

    _roles: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    _agents: list[_Agent] = field(default_factory=list)

    def bind(self, binding: Plain) -> None:
        """Take in a RoleBinding or ClusterRoleBinding, of whatever shape it is."""
        role = _map(_map(binding).get("roleRef"))
        own = _map(_map(binding).get("metadata")).get("namespace") or "default"
        for subject in map(_map, _list(_map(binding).get("subjects"))):
            if subject.get("kind") == "ServiceAccount":
                key = (str(subject.get("namespace") or own), str(subject.get("name")))
                self._roles[key].append(f"{role.get('kind')} {role.get('name')}")

    def take(self, daemonset: Plain, source: str, line: int, prefix: str) -> None:
        """Take in a DaemonSet as it was written; `line` is that of its pod's spec."""
        spec = _map(_map(_map(daemonset.get("spec")).get("template")).get("spec"))
        self._agents.append(
            _Agent(
                *(source, line, f"{prefix}spec.template.spec"),
                namespace=str(_map(daemonset.get("metadata")).get("namespace") or "default"),
                account=str(spec.get("serviceAccountName") or spec.get("serviceAccount") or ""),
                signs=tuple(dict.fromkeys(_signs(spec))),
            )
        )

    def notes(self) -> Iterator[Problem]:
        """One for each agent that will miss the API, with what tells so."""
        for agent in self._agents:
            roles = self._roles.get((agent.namespace, agent.account), []) if agent.account else []
            given = [f"its account {agent.account} has {', '.join(dict.fromkeys(roles))}"]
            why = "; ".join([*(given if roles else ()), *agent.signs])
            if why:
                message = "seems to ask a Kubernetes API when it runs, and will find none here"
                yield Problem(agent.source, agent.line, agent.path, f"{message}: {why}")


def _signs(spec: Plain) -> Iterator[str]:
    if spec.get("automountServiceAccountToken") is True:
        yield "it wants its account's token"
    for volume in map(_map, _list(spec.get("volumes"))):
        for source in map(_map, _list(_map(volume.get("projected")).get("sources"))):
            if "serviceAccountToken" in source:
                yield f"volume {volume.get('name')} holds its account's token"
    containers = [*_list(spec.get("initContainers")), *_list(spec.get("containers"))]
    for container in map(_map, containers):
        for variable in map(_map, _list(container.get("env"))):
            if variable.get("name") in _CLUSTER_VARIABLES:
                yield f"it is given {variable.get('name')}"
        for mount in map(_map, _list(container.get("volumeMounts"))):
            if str(mount.get("mountPath")).rstrip("/") == _TOKEN_DIR:
                yield f"it reads {_TOKEN_DIR}"


def _map(value: Plain) -> Plain:
    return value if isinstance(value, dict) else {}


def _list(value: Plain) -> Plain:
    return value if isinstance(value, list) else []
