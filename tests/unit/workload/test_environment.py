from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fleetd.core.facts import Slot
from fleetd.core.pod import PodSpec
from fleetd.workload.content import Content
from fleetd.workload.environment import Environment, container_env
from fleetd.workload.errors import RenderError
from fleetd.workload.parts import Copy
from tests.unit.workload.rendering import CONTENT, PODMAN, daemonset

META = {
    "labels": {"app": "agent", "tier": "node"},
    "annotations": {"note": 'a "b"\n\tc', "empty": ""},
}
HOST = {
    "FLEETD_NODE_NAME": "web-1",
    "FLEETD_HOST_IP": "192.0.2.7",
    "FLEETD_POD_NAME": "agent-web-1",
    "FLEETD_NAMESPACE": "mon",
    "FLEETD_POD_UID": "0-1-2",
    "FLEETD_POD_IP": "10.0.0.9",
}


def made(
    container: Mapping[str, Any],
    spec: Mapping[str, Any] | None = None,
    *,
    content: Content = CONTENT,
    annotations: Mapping[str, str] | None = None,
) -> tuple[Copy, Environment]:
    one = {"name": "main", "image": "busybox:1", **container}
    others = (spec or {}).get("containers", [])
    ds = daemonset({**(spec or {}), "containers": [one, *others]}, metadata=META)
    metadata = ds.metadata.model_copy(update={"annotations": annotations or {}})
    copy = Copy(ds.model_copy(update={"metadata": metadata}), "r1", Slot.A, PODMAN, content)
    pod = ds.spec.template.spec
    assert isinstance(pod, PodSpec)
    return copy, container_env(copy, pod, pod.containers[0], "box")


def seen(
    container: Mapping[str, Any],
    spec: Mapping[str, Any] | None = None,
    *,
    secrets: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
    **kwargs: Any,
) -> dict[str, str]:
    """What a process would see: the shell of a launcher puts it together, `before` it these."""
    _, env = made(container, spec, **kwargs)
    values = [f"{key}='{value}'" for key, value in HOST.items()]
    script = ["set -eu", *values, *before, *env.lines]
    for holder, found in env.secrets.items():
        script.append(f"{holder}='{(secrets or {})[found.key]}'")
    script += [f"printf '%s\\0%s\\0' {name} {text.sh()}" for name, text in env.variables.items()]
    done = subprocess.run(
        ["/bin/sh", "-s"], input="\n".join(script).encode(), stdout=subprocess.PIPE, check=True
    )
    words = done.stdout.decode().split("\0")[:-1]
    return dict(zip(words[::2], words[1::2], strict=True))


def field(path: str) -> dict[str, Any]:
    return {"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("spec.nodeName", "web-1"),
        ("spec.serviceAccountName", "default"),
        ("metadata.name", "agent-web-1"),
        ("metadata.namespace", "mon"),
        ("metadata.uid", "0-1-2"),
        ("metadata.labels['tier']", "node"),
        ("metadata.labels['controller-revision-hash']", "r1"),
        ("metadata.labels['pod-template-generation']", "1"),
        ("metadata.labels['nope']", ""),
        ("metadata.annotations['note']", 'a "b"\n\tc'),
        ("status.hostIP", "192.0.2.7"),
        ("status.hostIPs", "192.0.2.7"),
        ("status.podIP", "10.0.0.9"),
        ("status.podIPs", "10.0.0.9"),
    ],
)
def test_fields_of_the_pod(path: str, expected: str) -> None:
    assert seen({"env": [field(path)]}) == {"X": expected}


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        pytest.param(
            "getent() { echo '127.0.1.1 STREAM'; echo '192.0.2.9 RAW'; }", "192.0.2.9", id="by-name"
        ),
        pytest.param(
            "getent() { return 2; }; hostname() { echo '192.0.2.8 192.0.2.9'; }",
            "192.0.2.8",
            id="own",
        ),
        pytest.param(
            "getent() { return 2; }; hostname() { return 1; }", "web-1.example", id="none"
        ),
    ],
)
def test_a_host_that_is_known_by_name_tells_its_address(before: str, expected: str) -> None:
    named = ["FLEETD_HOST_IP=web-1.example", before]
    env = {"env": [field("status.hostIP"), {"name": "URL", "value": "http://$(X)/"}]}
    assert seen(env, before=named) == {"X": expected, "URL": f"http://{expected}/"}


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7"])
def test_an_address_stays_as_the_inventory_has_it(address: str) -> None:
    before = [f"FLEETD_HOST_IP={address}", "getent() { echo 192.0.2.9; }"]
    assert seen({"env": [field("status.hostIP")]}, before=before) == {"X": address}


def test_on_the_hosts_network_a_pod_has_the_hosts_address() -> None:
    assert seen({"env": [field("status.podIP")]}, {"hostNetwork": True}) == {"X": "192.0.2.7"}


def test_the_account_is_told_as_it_is_named() -> None:
    spec = {"serviceAccountName": "agent"}
    assert seen({"env": [field("spec.serviceAccountName")]}, spec) == {"X": "agent"}


def test_the_generation_is_kubernetes_own_where_it_is_told() -> None:
    own = {"deprecated.daemonset.template.generation": "7"}
    path = "metadata.labels['pod-template-generation']"
    assert seen({"env": [field(path)]}, annotations=own) == {"X": "7"}


LIMITS = {
    "limits": {"cpu": "1500m", "memory": "100Mi", "ephemeral-storage": "1G"},
    "requests": {"cpu": "250m"},
}


@pytest.mark.parametrize(
    ("resource", "divisor", "expected"),
    [
        ("limits.cpu", "0", "2"),
        ("limits.cpu", "1", "2"),
        ("limits.cpu", "1m", "1500"),
        ("limits.memory", "0", "104857600"),
        ("limits.memory", "1Mi", "100"),
        ("limits.memory", "1Gi", "1"),
        ("limits.memory", "1M", "105"),
        ("limits.ephemeral-storage", "1k", "1000000"),
        ("requests.cpu", "1m", "250"),
        ("requests.cpu", "0", "1"),
        ("requests.memory", "1Mi", "100"),
        ("limits.hugepages-2Mi", "0", "0"),
    ],
)
def test_amounts_are_told_in_units_rounded_up(resource: str, divisor: str, expected: str) -> None:
    ref = {"resource": resource, "divisor": divisor}
    env = [{"name": "X", "valueFrom": {"resourceFieldRef": ref}}]
    assert seen({"env": env, "resources": LIMITS}) == {"X": expected}


def test_amounts_of_another_container() -> None:
    ref = {"resource": "limits.cpu", "containerName": "other"}
    env = [{"name": "X", "valueFrom": {"resourceFieldRef": ref}}]
    other = {"name": "other", "image": "busybox:1", "resources": {"limits": {"cpu": 5}}}
    spec = {"hostNetwork": True, "containers": [other]}
    assert seen({"env": env, "resources": LIMITS}, spec) == {"X": "5"}
    with pytest.raises(RenderError, match=r"containerName: there is no container 'other'"):
        seen({"env": env})


def test_a_limit_that_is_not_set_is_what_the_host_has() -> None:
    refs = {
        "CPU": ("limits.cpu", "0"),
        "MILLI": ("limits.cpu", "1m"),
        "MEMORY": ("limits.memory", "0"),
        "MEBI": ("limits.memory", "1Mi"),
        "NONE": ("requests.memory", "0"),
    }
    env = [
        {"name": name, "valueFrom": {"resourceFieldRef": {"resource": ref, "divisor": divisor}}}
        for name, (ref, divisor) in refs.items()
    ]
    cpus = os.sysconf("SC_NPROCESSORS_ONLN")
    kib = int(Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0])
    assert seen({"env": env}) == {
        "CPU": f"{cpus}",
        "MILLI": f"{cpus * 1000}",
        "MEMORY": f"{kib * 1024}",
        "MEBI": f"{-(-kib // 1024)}",
        "NONE": "0",
    }


def test_whole_objects_come_first_and_the_later_wins() -> None:
    content = Content(
        config_maps={
            "one": {"A": b"one", "B": b"one", "raw": b"\xff"},
            "two": {"B": b"two", "C": b"two"},
        },
        secrets={"db": {"password": "d1", "C": "d2"}},
    )
    sources = [
        {"configMapRef": {"name": "one"}},
        {"configMapRef": {"name": "two"}},
        {"secretRef": {"name": "db"}, "prefix": "DB_"},
        {"configMapRef": {"name": "none", "optional": True}},
        {"secretRef": {"name": "none", "optional": True}},
    ]
    env = [{"name": "C", "value": "own"}, {"name": "D", "value": "$(A) $(DB_password) $(E)"}]
    container = {"envFrom": sources, "env": env}
    assert seen(container, content=content, secrets={"password": "p", "C": "c"}) == {
        "A": "one",
        "B": "two",
        "DB_C": "c",
        "DB_password": "p",
        "C": "own",
        "D": "one p $(E)",
    }
    _, found = made(container, content=content)
    assert {name for name, text in found.variables.items() if text.secret} == {
        "D",
        "DB_C",
        "DB_password",
    }


def test_keys_that_are_no_names_of_variables_are_skipped_and_told() -> None:
    content = Content(config_maps={"one": {"1st": b"x", "2nd": b"y", "ok.k": b"z"}})
    container = {"envFrom": [{"configMapRef": {"name": "one"}}]}
    _, found = made(container, content=content)
    assert list(found.variables) == ["ok.k"]
    told = subprocess.run(
        ["/bin/sh", "-c", "\n".join(found.lines)], capture_output=True, text=True, check=True
    )
    assert told.stderr == "envFrom: skipped, being no names of variables: 1st, 2nd (of one)\n"
    prefixed = {"envFrom": [{"configMapRef": {"name": "one"}, "prefix": "N_"}]}
    assert seen(prefixed, content=content) == {"N_1st": "x", "N_2nd": "y", "N_ok.k": "z"}


def test_a_secret_that_no_shell_can_hold_is_left_out_and_told() -> None:
    content = Content(secrets={"tls": {"tls.crt": "d1", "word": "d2"}})
    _, found = made({"envFrom": [{"secretRef": {"name": "tls"}}]}, content=content)
    assert list(found.variables) == ["word"]
    (line,) = found.lines
    assert "being secrets that only a file can bring (mount them): tls.crt (of tls)" in line


@pytest.mark.parametrize(
    ("container", "message"),
    [
        pytest.param(
            {"envFrom": [{"configMapRef": {"name": "none"}}]},
            r"box\.envFrom\[0\]\.configMapRef\.name: there is no ConfigMap none",
            id="config-map",
        ),
        pytest.param(
            {"envFrom": [{"secretRef": {"name": "none"}}]},
            r"box\.envFrom\[0\]\.secretRef\.name: there is no Secret none",
            id="secret",
        ),
        pytest.param(
            {"env": [field("status.phase")]},
            r"box\.env\[0\]\.valueFrom\.fieldRef\.fieldPath: no value for 'status\.phase'",
            id="field",
        ),
        pytest.param(
            {
                "env": [
                    {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "no"}}}
                ]
            },
            r"box\.env\[0\]\.valueFrom\.configMapKeyRef: ConfigMap conf has no key no",
            id="key",
        ),
    ],
)
def test_what_is_not_there_is_told_with_its_place(
    container: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(RenderError, match=message):
        made(container)


def test_an_optional_key_that_is_not_there_makes_no_variable() -> None:
    refs = [
        {"configMapKeyRef": {"name": "conf", "key": "no", "optional": True}},
        {"secretKeyRef": {"name": "no", "key": "no", "optional": True}},
    ]
    env = [{"name": "X", "valueFrom": ref} for ref in refs]
    assert seen({"env": [*env, {"name": "Y", "value": "$(X)"}]}) == {"Y": "$(X)"}
