from __future__ import annotations

import pytest

from fleetd.core import daemonset, meta, pod
from fleetd.core.fields import SECTIONS, Disposition, asks_for_nothing, rows
from fleetd.core.meta import Model

MODELS: dict[str, type[Model]] = {
    model.__name__: model
    for module in (meta, pod, daemonset)
    for model in vars(module).values()
    if isinstance(model, type) and issubclass(model, Model) and model.__name__ in SECTIONS
}
OTHER_NAMES = {
    "SystemdDaemonSet": "DaemonSet",
    "SystemdDaemonSetSpec": "DaemonSetSpec",
    "SystemdTemplate": "Template",
}
NO_MODEL = {"Model", "Placement"}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_what_is_honoured_is_what_the_model_has(name: str) -> None:
    fields = {field.alias for field in MODELS[name].model_fields.values()}
    honoured = {f.name for f in SECTIONS[name].values() if f.disposition is Disposition.HONOURED}
    kept = {f.name for f in SECTIONS[name].values() if f.kept}
    assert honoured <= fields <= kept


def test_every_model_of_a_document_is_in_the_table() -> None:
    models = {
        model.__name__
        for module in (meta, pod, daemonset)
        for model in vars(module).values()
        if isinstance(model, type) and issubclass(model, Model)
    }
    assert models - NO_MODEL == set(MODELS)
    assert set(OTHER_NAMES.values()) <= set(MODELS)


def test_every_type_is_known() -> None:
    simple = {"string", "int", "bool", "quantity", "intOrString", "mode", "any"}
    for section in SECTIONS.values():
        for field in section.values():
            kind = field.type.removeprefix("[]").removeprefix("map[").removesuffix("]")
            assert kind in simple | set(SECTIONS), field


@pytest.mark.parametrize(
    "path",
    [
        "spec.template.spec.runtimeClassName",
        "spec.template.spec.activeDeadlineSeconds",
        "spec.template.spec.resourceClaims[]",
        "spec.template.spec.hostUsers",
        "spec.template.spec.containers[].volumeDevices[]",
        "spec.template.spec.volumes[].csi",
        "spec.template.spec.volumes[].persistentVolumeClaim",
    ],
)
def test_what_would_change_what_runs_is_refused(path: str) -> None:
    assert dict(rows())[path].disposition is Disposition.REFUSED


def test_every_ignored_field_says_why() -> None:
    unsaid = [path for path, f in rows() if f.disposition is Disposition.IGNORED and not f.note]
    assert unsaid == []


@pytest.mark.parametrize(
    ("section", "name", "value", "nothing"),
    [
        ("PodSpec", "hostUsers", True, True),
        ("PodSpec", "hostUsers", False, False),
        ("PodSpec", "hostUsers", 1, False),
        ("PodSpec", "resourceClaims", [], True),
        ("PodSpec", "resourceClaims", [{}], False),
        ("PodSpec", "runtimeClassName", "", True),
        ("PodSpec", "runtimeClassName", "gvisor", False),
        ("PodSecurityContext", "windowsOptions", {}, True),
        ("PodSecurityContext", "windowsOptions", {"unheardOf": None}, False),
        ("PodSecurityContext", "supplementalGroupsPolicy", "Merge", True),
        ("PodSecurityContext", "supplementalGroupsPolicy", "Strict", False),
    ],
)
def test_an_empty_value_of_a_refused_field_asks_for_nothing(
    section: str, name: str, value: object, nothing: bool
) -> None:
    assert asks_for_nothing(value, SECTIONS[section][name]) is nothing
