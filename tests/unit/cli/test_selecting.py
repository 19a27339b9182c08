from __future__ import annotations

import pytest

from fleetd.cli.kinds import kind_of
from fleetd.cli.selecting import by_fields, by_labels
from fleetd.client import Shape
from fleetd.errors import InvalidInput
from tests.unit.cli.shapes import event, node, pod, secret

LABELS = {
    "web": {"app": "web", "tier": "front", "rank": "5"},
    "db": {"app": "db", "tier": "back", "rank": "11"},
    "bare": {},
}


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("app=web", ["web"]),
        ("app==web", ["web"]),
        ("app = web", ["web"]),
        ("app!=web", ["db", "bare"]),
        ("app in (web, db)", ["web", "db"]),
        ("app notin (web)", ["db", "bare"]),
        ("app", ["web", "db"]),
        ("!app", ["bare"]),
        ("! app", ["bare"]),
        ("app in (web,db),tier=back", ["db"]),
        ("app,tier!=back", ["web"]),
        ("rank>9", ["db"]),
        ("rank<9", ["web"]),
        ("app=", []),
        ("example.com/app=x", []),
    ],
)
def test_labels_are_selected_as_with_kubectl(selector: str, names: list[str]) -> None:
    chosen = by_labels(selector)
    found = [name for name, labels in LABELS.items() if chosen({"metadata": {"labels": labels}})]
    assert found == names


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("app in web", "cannot be read"),
        ("app=web db", "cannot be read"),
        ("=web", "cannot be read"),
        ("a/b/c=x", "the key 'a/b/c' has a prefix"),
        ("app=we/b", "the value 'we/b' must be"),
        ("rank>many", "'many' in the selector 'rank>many' is not a whole number"),
    ],
)
def test_a_selector_that_cannot_be_read_is_refused(selector: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        by_labels(selector)


@pytest.mark.parametrize(
    ("kind", "item", "selector", "chosen"),
    [
        ("pods", pod(), "spec.nodeName=web-01", True),
        ("pods", pod(), "spec.nodeName!=web-01", False),
        ("pods", pod(), "status.phase==Running,metadata.name=ne-web-01", True),
        ("pods", pod(), "metadata.namespace=other", False),
        ("nodes", node(), "metadata.name=web-01", True),
        ("nodes", node(), "spec.unschedulable=false", True),
        ("nodes", node(unschedulable=True), "spec.unschedulable=true", True),
        ("events", event(), "involvedObject.name=ne,involvedObject.kind=DaemonSet", True),
        ("events", event(), "reason=FailedCreate", False),
        ("events", event(), "type!=Warning", True),
        ("secrets", secret(), "type=Opaque", True),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_fields_are_selected_as_with_kubectl(
    kind: str, item: Shape, selector: str, chosen: bool
) -> None:
    assert by_fields(selector, kind_of(kind))(item) is chosen


@pytest.mark.parametrize(
    ("kind", "selector", "message"),
    [
        ("pods", "spec.image=x", "pods cannot be selected by the field spec.image; they can by"),
        ("nodes", "metadata.namespace=x", "nodes cannot be selected by"),
        ("pods", "status.phase", "is no field selector"),
    ],
)
def test_other_fields_are_refused(kind: str, selector: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        by_fields(selector, kind_of(kind))
