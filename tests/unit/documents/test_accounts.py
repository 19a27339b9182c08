"""Which agents are said to look for a Kubernetes API."""

from __future__ import annotations

import io

import pytest

from fleetd.documents.load import load

AGENT = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: watch}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      %s
"""
CONTAINER = "containers: [{name: main, image: example/agent%s}]"
BINDING = """
---
apiVersion: rbac.authorization.k8s.io/v1
kind: %s
metadata: {name: b, namespace: watch}
roleRef: {kind: ClusterRole, name: reader}
subjects: [{kind: %s, name: %s, namespace: %s}]
"""
WITH_ACCOUNT = "{serviceAccountName: eye, containers: [{name: main, image: example/agent}]}"


def notes(text: str) -> list[str]:
    found = load(["-"], io.BytesIO(text.encode())).notes
    return [note.message for note in found if "Kubernetes API" in note.message]


@pytest.mark.parametrize("kind", ["ClusterRoleBinding", "RoleBinding"])
@pytest.mark.parametrize("first", [True, False], ids=["binding first", "binding last"])
def test_an_account_with_rights_is_told_with_its_role(kind: str, first: bool) -> None:
    agent = AGENT % WITH_ACCOUNT
    binding = BINDING % (kind, "ServiceAccount", "eye", "watch")
    [note] = notes(f"{binding}---{agent}" if first else f"{agent}{binding}")
    assert note.endswith("its account eye has ClusterRole reader")


@pytest.mark.parametrize(
    ("kind", "name", "namespace"),
    [("ServiceAccount", "other", "watch"), ("ServiceAccount", "eye", "else"), ("User", "eye", "x")],
    ids=["another account", "another namespace", "a user"],
)
def test_rights_of_others_tell_nothing(kind: str, name: str, namespace: str) -> None:
    binding = BINDING % ("ClusterRoleBinding", kind, name, namespace)
    assert notes(AGENT % WITH_ACCOUNT + binding) == []


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("{automountServiceAccountToken: true, %s}" % (CONTAINER % ""), "account's token"),
        (
            "{volumes: [{name: t, projected: {sources: [{serviceAccountToken: {path: x}}]}}], %s}"
            % (CONTAINER % ""),
            "volume t holds its account's token",
        ),
        (
            "{%s}" % (CONTAINER % ", env: [{name: KUBERNETES_SERVICE_HOST, value: 10.0.0.1}]"),
            "KUBERNETES_SERVICE_HOST",
        ),
        (
            "{volumes: [{name: t, emptyDir: {}}], %s}"
            % (
                CONTAINER % ", volumeMounts: [{name: t, mountPath: "
                "/var/run/secrets/kubernetes.io/serviceaccount/}]"
            ),
            "it reads /var/run/secrets/kubernetes.io/serviceaccount",
        ),
    ],
    ids=["token mounted", "token projected", "cluster variable", "token directory"],
)
def test_other_signs(spec: str, why: str) -> None:
    [note] = notes(AGENT % spec)
    assert why in note


@pytest.mark.parametrize(
    "binding",
    ["subjects: none", "subjects: [1, {kind: ServiceAccount}]", "roleRef: x", "metadata: []"],
)
def test_a_binding_of_any_shape_is_taken(binding: str) -> None:
    text = f"---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n{binding}\n"
    assert notes(AGENT % WITH_ACCOUNT + text) == []
