from __future__ import annotations

import base64
import contextlib
import io
import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from fleetd.core.daemonset import ConfigMap, DaemonSet, Secret, SystemdSpec
from fleetd.core.pod import PodSpec
from fleetd.core.references import Reference, references
from fleetd.core.validation import validate
from fleetd.documents.load import Documents, load
from fleetd.errors import InvalidInput

GUIDES = Path(__file__).parent / "guides"
AGENT = (GUIDES / "smallest.yaml").read_text()


def load_text(text: str) -> Documents:
    return load(["-"], io.BytesIO(text.encode()))


def problems_of(text: str) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        load_text(text)
    return [str(problem) for problem in caught.value.problems]


def agent(pod: str = "", container: str = "", spec: str = "") -> str:
    """A good DaemonSet with lines added to its parts; the container's begin on line 19."""
    text = AGENT
    text += textwrap.indent(textwrap.dedent(container), " " * 10)
    text += textwrap.indent(textwrap.dedent(pod), " " * 6)
    return text + textwrap.indent(textwrap.dedent(spec), " " * 2)


def systemd(body: str) -> str:
    head = "apiVersion: fleetd/v1\nkind: DaemonSet\nmetadata: {name: own}\nspec:\n  template:\n"
    body = textwrap.indent(textwrap.dedent(body), " " * 8)
    return f"{head}    spec:\n      systemd:\n{body}"


def only_daemonset(documents: Documents) -> DaemonSet:
    (loaded,) = documents.objects
    assert isinstance(loaded.object, DaemonSet)
    return loaded.object


@pytest.mark.parametrize("guide", sorted(GUIDES.glob("*.yaml")), ids=lambda path: path.stem)
def test_guides_load_and_are_a_fixed_point(guide: Path) -> None:
    documents = load([str(guide)], io.BytesIO())
    daemonset = only_daemonset(documents)
    assert isinstance(daemonset.spec.template.spec, PodSpec)
    again = load_text(json.dumps(dict(documents.objects[0].raw)))
    assert again.objects[0].object == daemonset
    assert again.objects[0].raw == documents.objects[0].raw


def test_the_old_group_gets_its_selector_with_a_note() -> None:
    documents = load([str(GUIDES / "old.yaml")], io.BytesIO())
    daemonset = only_daemonset(documents)
    assert daemonset.api_version == "apps/v1"
    assert daemonset.spec.selector.match_labels == {"app": "old"}
    assert daemonset.spec.update_strategy.type == "RollingUpdate"
    assert {note.path for note in documents.notes} == {"spec.selector", "spec.updateStrategy"}


def test_a_directory_is_read_in_name_order_and_not_below(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", "c.json", ".hidden.yaml", "d.txt", "sub/e.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        stem = Path(name).stem.strip(".")
        form = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": stem}}
        (tmp_path / name).write_text(json.dumps(form))
    loaded = load([str(tmp_path)], io.BytesIO()).objects
    assert [each.object.metadata.name for each in loaded] == ["a", "b", "c"]


def test_lists_are_taken_apart_and_lines_kept() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n" + textwrap.indent(
        "- apiVersion: v1\n  kind: ConfigMap\n  metadata:\n    name: a\n"
        "- apiVersion: v1\n  kind: Secret\n  metadata:\n    name: B\n",
        "  ",
    )
    (problem,) = problems_of(text)
    assert problem.startswith("stdin:11: items[1].metadata.name: 'B' must be")
    first, second = load_text(text.replace("B", "b")).objects
    assert (first.line, first.line_of("metadata.name")) == (4, 7)
    assert (second.line, second.line_of("metadata.name")) == (8, 11)


def test_companions_are_skipped_with_one_line() -> None:
    companion = "---\napiVersion: v1\nkind: {}\nmetadata: {{name: a}}\n"
    text = AGENT + "".join(companion.format(kind) for kind in ("Service", "Role", "Service"))
    documents = load_text(text)
    assert len(documents.objects) == 1
    assert documents.summary().endswith(": Role, 2 Service")


def test_only_companions_are_an_error() -> None:
    (problem,) = problems_of("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n")
    assert "nothing but Deployment" in problem


def test_what_a_server_wrote_is_accepted_in_silence() -> None:
    text = AGENT.replace(
        "  name: smallest\n",
        "  name: smallest\n  creationTimestamp: null\n  uid: 1-2\n  resourceVersion: '7'\n"
        "  generation: 3\n  managedFields: [{manager: kubectl}]\n  selfLink: /a\n"
        "  ownerReferences: [{kind: Thing}]\n"
        "  annotations:\n    kubectl.kubernetes.io/last-applied-configuration: '{}'\n",
    )
    documents = load_text(text + "status: {numberReady: 3}\n")
    assert documents.notes == documents.asides == ()
    assert documents.objects[0].raw["metadata"] == {"name": "smallest", "annotations": {}}
    assert "status" not in documents.objects[0].raw


def test_ignored_fields_are_noted_once_each_and_dropped() -> None:
    documents = load_text(
        agent(
            "serviceAccountName: a\nschedulerName: default-scheduler\ndnsPolicy: ClusterFirst\n"
            "enableServiceLinks: true\nrestartPolicy: Always\n",
            "imagePullPolicy: IfNotPresent\nterminationMessagePolicy: File\n",
        )
    )
    assert {note.path.rpartition(".")[2] for note in documents.notes} == {
        "serviceAccountName",
        "schedulerName",
    }
    assert {aside.path.rpartition(".")[2] for aside in documents.asides} == {
        "enableServiceLinks",
        "terminationMessagePolicy",
    }
    pod = documents.objects[0].raw["spec"]["template"]["spec"]
    kept = {"tolerations", "containers", "restartPolicy", "dnsPolicy", "serviceAccountName"}
    assert pod.keys() == kept
    assert "terminationMessagePolicy" not in pod["containers"][0]


@pytest.mark.parametrize(
    ("pod", "container", "path"),
    [
        ("hostUsers: false", "", "hostUsers"),
        ("runtimeClassName: gvisor", "", "runtimeClassName"),
        ("activeDeadlineSeconds: 9", "", "activeDeadlineSeconds"),
        ("resourceClaims: [{name: a}]", "", "resourceClaims"),
        ("readinessGates: [{conditionType: a}]", "", "readinessGates"),
        (
            "securityContext: {supplementalGroupsPolicy: Strict}",
            "",
            "securityContext.supplementalGroupsPolicy",
        ),
        ("volumes: [{name: a, csi: {driver: b}}]", "", "volumes[0].csi"),
        ("volumes: [{name: a, nfs: {server: b, path: /}}]", "", "volumes[0].nfs"),
        ("", "volumeDevices: [{name: a, devicePath: /b}]", "containers[0].volumeDevices"),
        ("", "restartPolicyRules: [{action: Restart}]", "containers[0].restartPolicyRules"),
        ("", "resources: {claims: [{name: a}]}", "containers[0].resources.claims"),
        (
            "",
            "env: [{name: A, valueFrom: {fileKeyRef: {key: b}}}]",
            "containers[0].env[0].valueFrom.fileKeyRef",
        ),
        (
            "",
            "securityContext: {windowsOptions: {a: b}}",
            "containers[0].securityContext.windowsOptions",
        ),
        (
            "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{}]}}",
            "",
            "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution",
        ),
    ],
    ids=lambda value: value[:40] or "-",
)
def test_a_field_that_is_not_supported_yet_is_refused_by_name(
    pod: str, container: str, path: str
) -> None:
    (problem,) = problems_of(agent(pod, container))
    assert f"spec.template.spec.{path}: {path.rpartition('.')[2].split('[')[0]} " in problem
    assert "is not supported" in problem
    assert ":19:" in problem


def test_a_refused_field_that_asks_for_nothing_is_accepted() -> None:
    documents = load_text(
        agent(
            "hostUsers: true\nresourceClaims: []\nruntimeClassName: ''\nreadinessGates:\n"
            "securityContext: {windowsOptions: {}, supplementalGroupsPolicy: Merge}\n",
            "volumeDevices: []\nrestartPolicyRules: null\n",
        )
    )
    assert documents.notes == ()


@pytest.mark.parametrize(
    ("pod", "hint"),
    [
        ("nodeSelectors: {a: b}", "did you mean nodeSelector?"),
        ("hostnetwork: true", "did you mean hostNetwork?"),
        ("updateStrategy: {}", "it belongs at spec.updateStrategy"),
        ("zzz: 1", "known here: "),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_name(pod: str, hint: str) -> None:
    (problem,) = problems_of(agent(pod))
    assert "unknown field" in problem
    assert hint in problem


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ("env: [{name: A, value: 8080}]", 'must be a string, not the number 8080; write "8080"'),
        ("env: [{name: A, value: on}]", 'must be a string, not the boolean on; write "on"'),
        ("env: [{name: A, value: 1.10}]", 'not the number 1.10; write "1.10" in quotes'),
        ("env: {A: b}", "must be a list, not the map"),
        ("securityContext: {privileged: 'true'}", "must be true or false, not the string"),
        ("ports: [{containerPort: '80'}]", "must be a number, not the string; write it without"),
        ("ports: [{containerPort: 8e99}]", "is too large a number"),
        ("ports: [{containerPort: 80, protocol: tcp}]", "must be one of 'TCP', 'UDP' or 'SCTP'"),
        ("ports: [{name: a}]", "ports[0].containerPort: is required"),
        ("args: [a, null]", "args[1]: is empty"),
        ("resources: {limits: {memory: [1]}}", "must be a quantity, not the list"),
    ],
)
def test_wrong_types_and_words(container: str, message: str) -> None:
    (problem,) = problems_of(agent("", container))
    assert message in problem


def test_all_problems_of_all_files_come_in_order(tmp_path: Path) -> None:
    bad = agent("hostUsers: false\nnodeName: A\n", "args: [1]\nvolumeDevices: [{}]\n")
    bad = bad.replace("  name: smallest", "  name: Smallest")
    (tmp_path / "a.yaml").write_text(bad + "---\nkind: DaemonSet\n---\n- 1\n---\n{\n")
    (tmp_path / "b.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n")
    with pytest.raises(InvalidInput) as caught:
        load([str(tmp_path), str(tmp_path / "none.yaml")], io.BytesIO())
    found = [(Path(p.source).name, p.line, p.path) for p in caught.value.problems]
    assert found == [
        ("a.yaml", 4, "metadata.name"),
        ("a.yaml", 19, "spec.template.spec.containers[0].args[0]"),
        ("a.yaml", 20, "spec.template.spec.containers[0].volumeDevices"),
        ("a.yaml", 21, "spec.template.spec.hostUsers"),
        ("a.yaml", 22, "spec.template.spec.nodeName"),
        ("a.yaml", 24, ""),
        ("a.yaml", 26, ""),
        ("a.yaml", 29, ""),
        ("b.yaml", 3, "metadata.name"),
        ("none.yaml", 0, ""),
    ]


def test_one_object_may_be_written_once() -> None:
    (problem,) = problems_of(f"{AGENT}---\n{AGENT}")
    assert "DaemonSet default/smallest is in stdin:1 already" in problem


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("apiVersion: apps/v2\nkind: DaemonSet\n", "write apps/v1"),
        ("apiVersion: apps/v1\nkind: ConfigMap\n", "write v1"),
        ("apiVersion: fleetd/v1\nkind: Deployment\n", "fleetd/v1 has DaemonSet only"),
    ],
)
def test_wrong_versions(text: str, hint: str) -> None:
    (problem,) = problems_of(text)
    assert hint in problem


def test_numbers_in_annotations_are_taken_as_written() -> None:
    zeros = "0" * 64
    text = AGENT.replace(
        "  name: smallest\n", f"  name: smallest\n  annotations: {{sum: {zeros}}}\n"
    )
    documents = load_text(text)
    assert documents.objects[0].object.metadata.annotations == {"sum": zeros}
    assert len(documents.notes) == 1


def test_modes_are_octal_as_in_kubernetes() -> None:
    (loaded,) = load_text(
        agent("volumes: [{name: a, secret: {secretName: s, defaultMode: 0400}}]")
    ).objects
    assert isinstance(loaded.object, DaemonSet)
    pod = loaded.object.spec.template.spec
    assert isinstance(pod, PodSpec)
    assert pod.volumes[0].secret is not None
    assert pod.volumes[0].secret.default_mode == 0o400


def test_a_volume_without_a_source_is_an_empty_dir() -> None:
    pod = only_daemonset(load_text(agent("volumes: [{name: a}]"))).spec.template.spec
    assert isinstance(pod, PodSpec)
    assert pod.volumes[0].empty_dir is not None


def test_string_data_is_folded_into_data() -> None:
    (loaded,) = load_text(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: eA==, b: eA==}\n"
        "stringData: {b: päss}\n"
    ).objects
    assert isinstance(loaded.object, Secret)
    assert loaded.object.data == {"a": "eA==", "b": base64.b64encode("päss".encode()).decode()}
    assert "stringData" not in loaded.raw
    assert "eA==" not in repr(loaded)


@pytest.mark.parametrize("field", ["data", "stringData"])
def test_a_wrong_value_of_a_secret_is_not_told(field: str) -> None:
    text = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n{field}: {{pin: 4711}}\n"
    (problem,) = problems_of(text)
    assert f"{field}.pin: must be a string" in problem
    assert "4711" not in problem


def test_config_maps_and_namespaces() -> None:
    (loaded,) = load_text(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n---\n"
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: ''}\ndata: {a.conf: x}\n"
    ).objects
    assert isinstance(loaded.object, ConfigMap)
    assert loaded.object.key == ("default", "c")


def test_a_systemd_workload_with_local_files(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("key: value\n")
    (tmp_path / "x86").write_bytes(b"\x7fELF\xff")
    (tmp_path / "own.yaml").write_text(
        systemd(
            """
            unit: |
              [Service]
              ExecStart=/opt/agent
            files:
              - {path: /etc/agent.conf, source: a.conf, mode: "0640", onChange: reload}
              - {path: /opt/agent, perArchitecture: {amd64: ./x86}, mode: 0755}
              - {path: /opt/other, source: ./x86}
            """
        )
    )
    daemonset = only_daemonset(load([str(tmp_path / "own.yaml")], io.BytesIO()))
    spec = daemonset.spec.template.spec
    assert isinstance(spec, SystemdSpec)
    config, agent_file, other = spec.systemd.files
    assert (config.content, config.source, config.mode) == ("key: value\n", None, 0o640)
    coded = base64.b64encode(b"\x7fELF\xff").decode()
    assert (agent_file.per_architecture, agent_file.mode) == ({"amd64": coded}, 0o755)
    assert other.content_base64 == coded
    assert daemonset.spec.selector.match_labels == {"app.kubernetes.io/name": "own"}


def test_a_local_file_that_is_missing_is_told(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        systemd("existingUnit: a.service\nfiles: [{path: /etc/a, source: gone}]\n")
    )
    with pytest.raises(
        InvalidInput, match=r"own.yaml:9: .*source: cannot read .*gone: No such file"
    ):
        load([str(tmp_path / "own.yaml")], io.BytesIO())


def test_containers_do_not_belong_to_a_systemd_workload() -> None:
    (problem,) = problems_of(
        systemd("existingUnit: a.service\n") + "      containers: [{name: a, image: b}]\n"
    )
    assert "unknown field 'containers'" in problem


def test_references() -> None:
    daemonset = only_daemonset(
        load_text(
            agent(
                """
                volumes:
                  - {name: a, configMap: {name: c, items: [{key: k, path: p}], optional: true}}
                  - {name: b, secret: {secretName: s}}
                """,
                """
                env:
                  - {name: A, valueFrom: {configMapKeyRef: {name: c, key: a}}}
                  - {name: B, valueFrom: {secretKeyRef: {name: s, key: b, optional: true}}}
                """,
            )
        )
    )
    pod = "spec.template.spec"
    assert references(daemonset) == (
        Reference("ConfigMap", "c", "a", f"{pod}.containers[0].env[0].valueFrom.configMapKeyRef"),
        Reference("Secret", "s", "b", f"{pod}.containers[0].env[1].valueFrom.secretKeyRef", True),
        Reference("ConfigMap", "c", None, f"{pod}.volumes[0].configMap.name", True),
        Reference("ConfigMap", "c", "k", f"{pod}.volumes[0].configMap.items[0].key", True),
        Reference("Secret", "s", None, f"{pod}.volumes[1].secret.secretName"),
    )


_SHIPPER = json.loads(
    json.dumps(dict(load([str(GUIDES / "shipper.yaml")], io.BytesIO()).objects[0].raw))
)


def _places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value)
    nested = [
        place
        for key, item in below
        if isinstance(item, dict | list)
        for place in _places(item, (*way, key))
    ]
    keys = value if isinstance(value, dict) else range(len(value))
    return [*((*way, key) for key in keys), *nested]


@given(
    place=st.sampled_from(_places(_SHIPPER)),
    value=st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.lists(st.none() | st.integers() | st.text(max_size=3), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.none() | st.integers(), max_size=2),
)
def test_a_document_with_any_value_anywhere_loads_or_is_refused(
    place: tuple[Any, ...], value: Any
) -> None:
    document = json.loads(json.dumps(_SHIPPER))
    inside = document
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    with contextlib.suppress(InvalidInput):
        for loaded in load_text(json.dumps(document)).objects:
            assert not any(not finding.note for finding in validate(loaded.object))
