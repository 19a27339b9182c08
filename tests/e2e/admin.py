"""What an operator does, for tests on real hosts: run `fleetd`, and write what it reads.

An `Admin` runs the real command as a process of its own on the fleet's network, with its own state
directory and inventory, so that it can be killed at any moment and a second one can be set against
it. Documents are made as plain dicts: `unit_agent` and `pod_agent` deploy the test agent of the
lab, which holds an exclusive lock for as long as it lives.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from typing import Any, Final

import yaml

from tests.e2e.lab import Entry, Fleet, Timeline

Document = dict[str, Any]

FLEETD: Final = Path(sys.executable).with_name("fleetd")
#: Where the test agent keeps lock and log, on hosts and in containers.
AGENT_DIR: Final = "/var/lib/lab-agent"
IMAGE: Final = "example/agent:v1"


@dataclass(frozen=True, slots=True)
class Result:
    """How one run of `fleetd` ended."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """What was printed as JSON."""
        return json.loads(self.stdout)

    @property
    def actions(self) -> list[Document]:
        """The report's actions: node, daemonset, action, reason, detail, result, message."""
        return list(self.json["actions"])

    @property
    def did(self) -> list[tuple[str, str]]:
        """The report's actions in short, in order: (node, action)."""
        return [(action["node"], action["action"]) for action in self.actions]

    def decisions(self, node: str) -> list[str]:
        """Reasons of what was decided about a node and was no action: waiting, held, unknown."""
        return [each["reason"] for each in self.json["decisions"] if each["node"] == node]

    def __str__(self) -> str:
        return f"fleetd {' '.join(self.argv)}\nexited {self.code}\n{self.stdout}\n{self.stderr}"


@dataclass
class Admin:
    """One coordinator: its directory holds the inventory, the state and the documents."""

    fleet: Fleet
    directory: Path
    inventory: Path = field(init=False)
    state: Path = field(init=False)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.inventory = self.directory / "inventory.yaml"
        self.state = self.directory / "state"
        self.know()

    def know(self, entries: Iterable[Entry] | None = None) -> Path:
        """Write the inventory: these entries, else all hosts of the fleet."""
        return self.fleet.write_inventory(self.inventory, entries)

    # -------------------------------------------------------------------------------- running

    def fleetd(self, *words: str | Path, code: int | None = 0, timeout: float = 90) -> Result:
        """Run `fleetd WORDS...` to its end; asserts the exit code unless `code` is None."""
        return self.end(self.start(*words), code=code, timeout=timeout)

    def end(self, started: Popen[str], *, code: int | None = 0, timeout: float = 90) -> Result:
        """Wait for what `start` began; asserts the exit code unless `code` is None."""
        words = tuple(map(str, started.args)) if isinstance(started.args, list) else ()
        try:
            out, err = started.communicate(timeout=timeout)
        except TimeoutExpired:
            started.kill()
            out, err = started.communicate()
            raise AssertionError(f"{words} still ran after {timeout} s\n{out}\n{err}") from None
        result = Result(words[words.index(str(FLEETD)) + 1 :], started.returncode, out, err)
        assert code is None or result.code == code, str(result)
        return result

    def start(self, *words: str | Path) -> Popen[str]:
        """Start `fleetd WORDS...`: `kill()` of what is returned is SIGKILL to fleetd itself."""
        return self.fleet.start_coordinator(self.argv(*words), env=self.env, cwd=self.directory)

    def argv(self, *words: str | Path) -> list[str]:
        """The whole command line."""
        known = [str(FLEETD), "-i", str(self.inventory), "--state", str(self.state)]
        return [*known, *map(str, words)]

    @property
    def env(self) -> dict[str, str]:
        """The environment of every run: nothing of the tests' own gets in."""
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "HOME": str(self.directory), "LC_ALL": "C.UTF-8"}

    # ------------------------------------------------------------------------------ documents

    def write(self, *documents: Document, name: str = "spec.yaml") -> Path:
        """Write documents into one file of the admin's directory; returns its path."""
        path = self.directory / name
        path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
        return path

    def apply(
        self, *documents: Document, flags: Sequence[str] = (), code: int | None = 0
    ) -> Result:
        """Write documents and apply them, waiting, with the report as JSON."""
        return self.fleetd("apply", self.write(*documents), "-o", "json", *flags, code=code)

    def reconcile(self, *flags: str, code: int | None = 0) -> Result:
        """Run `reconcile` with the report as JSON."""
        return self.fleetd("reconcile", "-o", "json", *flags, code=code)

    def get(self, kind: str, *names: str, flags: Sequence[str] = ()) -> Any:
        """Objects of a kind as `get -o json` prints them: one when one is named, else a list."""
        return self.fleetd("get", kind, *names, "-o", "json", *flags).json

    # ---------------------------------------------------------------------------------- proof

    def timeline(self, lock: str = "lock", hosts: Iterable[str] = ()) -> Timeline:
        """The lives of the agents with this lock, on these hosts or on all."""
        chosen = [self.fleet[name] for name in hosts] or list(self.fleet.hosts.values())
        return Timeline.read(chosen, lock)

    def lives(self, host: str, lock: str = "lock") -> int:
        """How many copies have ever started on a host."""
        return len(self.timeline(lock, [host]).runs[host])


# ------------------------------------------------------------------------------------ documents


def daemonset(
    name: str,
    template: Document,
    *,
    api: str = "apps/v1",
    max_unavailable: int | str = 1,
    min_ready: int = 1,
    annotations: Mapping[str, str] | None = None,
) -> Document:
    """A DaemonSet around a template's spec."""
    metadata: Document = {"name": name}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {
        "apiVersion": api,
        "kind": "DaemonSet",
        "metadata": metadata,
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "minReadySeconds": min_ready,
            "updateStrategy": {"rollingUpdate": {"maxUnavailable": max_unavailable}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": template},
        },
    }


def unit_agent(
    name: str = "agent",
    version: str = "v1",
    *,
    lock: str = "lock",
    env: Mapping[str, str] | None = None,
    directives: str = "",
    systemd: Document | None = None,
    pod: Document | None = None,
    **more: Any,
) -> Document:
    """The test agent as a systemd workload.

    `env` is what agent.sh reads; `directives` end the unit text; `systemd` and `pod` add fields to
    the workload (files, env, readinessProbe, ...) and beside it (tolerations, nodeSelector, ...);
    `more` goes to `daemonset`.
    """
    words = " ".join(f'"{key}={value}"' for key, value in _agent_env(version, lock, env).items())
    unit = f"[Service]\nEnvironment={words}\nExecStart=/opt/lab/agent\n{directives}"
    template = {"systemd": {"unit": unit, **(systemd or {})}, **(pod or {})}
    return daemonset(name, template, api="fleetd/v1", **more)


def pod_agent(
    name: str = "agent",
    version: str = "v1",
    *,
    image: str = IMAGE,
    lock: str = "lock",
    env: Mapping[str, str] | None = None,
    container: Document | None = None,
    pod: Document | None = None,
    mounts: Mapping[str, Document] | None = None,
    **more: Any,
) -> Document:
    """The test agent as a container; its lock lies on a hostPath.

    `mounts` maps a directory in the container to its volume (`{"configMap": {"name": "c"}}`);
    `container` and `pod` add fields; `env` wins over `container["env"]` only by being first.
    """
    volumes = {AGENT_DIR: {"hostPath": {"path": AGENT_DIR}}, **(mounts or {})}
    extra = dict(container or {})
    variables = [{"name": k, "value": v} for k, v in _agent_env(version, lock, env).items()]
    template = {
        "containers": [
            {
                "name": "agent",
                "image": image,
                "env": [*variables, *extra.pop("env", [])],
                "volumeMounts": [
                    {"name": f"v{index}", "mountPath": path} for index, path in enumerate(volumes)
                ],
                **extra,
            }
        ],
        "volumes": [{"name": f"v{i}", **source} for i, source in enumerate(volumes.values())],
        **(pod or {}),
    }
    return daemonset(name, template, **more)


def config_map(name: str, data: Mapping[str, str]) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": dict(data),
    }


def secret(name: str, data: Mapping[str, str]) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": dict(data),
    }


def _agent_env(version: str, lock: str, env: Mapping[str, str] | None) -> dict[str, str]:
    return {"AGENT_VERSION": version, "AGENT_LOCK": f"{AGENT_DIR}/{lock}", **(env or {})}
