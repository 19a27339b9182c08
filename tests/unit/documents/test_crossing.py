"""Documents that another process has loaded: the same again, and held to the same rules."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from fleetd.documents.crossing import pack, unpack
from fleetd.documents.load import Documents, load
from fleetd.errors import InvalidInput

AGENTS = sorted((Path(__file__).parents[3] / "agents").rglob("*.yaml"))
LIST = """\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: a}
  data: {k: "1"}
- apiVersion: v1
  kind: Secret
  metadata:
    name: b
  stringData:
    k: hush
---
apiVersion: v1
kind: Namespace
metadata: {name: n}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: r}
"""
UNIT = """\
apiVersion: fleetd/v1
kind: DaemonSet
metadata: {name: unit}
spec:
  template:
    spec:
      systemd:
        unit: "[Service]\\nExecStart=/bin/true\\n"
        files:
        - {path: /etc/a, source: a}
        - {path: /usr/local/bin/b, mode: "0755", perArchitecture: {amd64: b, arm64: b}}
"""


def read(text: str) -> Documents:
    return load(["-"], io.BytesIO(text.encode()))


def sent(documents: Documents) -> Any:
    return json.loads(json.dumps(pack(documents)))


def crossed(documents: Documents) -> Documents:
    return unpack(sent(documents))


@pytest.mark.parametrize("path", AGENTS, ids=lambda path: path.stem)
def test_what_arrives_is_what_was_loaded(path: Path) -> None:
    documents = load([str(path)], io.BytesIO())
    there = crossed(documents)
    assert there == documents
    for ours, theirs in zip(documents.objects, there.objects, strict=True):
        assert theirs.object == ours.object
        assert theirs.raw == ours.raw
        for field in ours.lines.document.lines:
            assert theirs.line_of(field) == ours.line_of(field)


def test_items_of_a_list_keep_their_lines() -> None:
    there = crossed(read(LIST))
    a, b = there.objects
    assert (a.line, a.line_of("data.k"), a.line_of("data.other")) == (4, 7, 7)
    assert (b.line, b.line_of("metadata.name"), b.line_of("stringData.k")) == (8, 11, 13)
    assert there.skipped == {"ClusterRole": 1}


def test_local_files_are_in_the_documents_and_are_not_read_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text\n")
    (tmp_path / "b").write_bytes(b"\x7fELF\xff")
    (tmp_path / "unit.yaml").write_text(UNIT)
    documents = load([str(tmp_path / "unit.yaml")], io.BytesIO())
    plain = sent(documents)
    for path in tmp_path.iterdir():
        path.unlink()
    assert unpack(plain) == documents


def test_a_file_of_ours_is_not_read_for_anybody() -> None:
    head, _, _ = UNIT.rpartition("        - {path: /usr")
    plain = sent(read(head.replace("source: a", 'content: ""')))
    files = plain["objects"][0][0]["spec"]["template"]["spec"]["systemd"]["files"]
    files[0] = {"path": "/etc/a", "source": "/etc/passwd"}
    with pytest.raises(InvalidInput, match=r"files\[0\].source: has to be read where"):
        unpack(plain)


def test_nobodys_word_is_taken_for_a_document_being_right() -> None:
    plain = sent(read(LIST))
    plain["objects"][0][0]["data"]["k"] = 7
    plain["objects"][1][0]["metadata"]["name"] = "Not A Name"
    with pytest.raises(InvalidInput) as caught:
        unpack(plain)
    places = [(each.source, each.line, each.path) for each in caught.value.problems]
    assert places == [("stdin", 7, "items[0].data.k"), ("stdin", 11, "items[1].metadata.name")]


def test_one_object_may_not_be_sent_twice() -> None:
    plain = sent(read(LIST))
    plain["objects"].append(plain["objects"][0])
    with pytest.raises(InvalidInput, match="ConfigMap default/a is in stdin:4 already"):
        unpack(plain)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"objects": [7]}, id="no-object"),
        pytest.param({"objects": [[[], "s", 0, ""]]}, id="no-map"),
        pytest.param({"objects": [[{}, "s", 9, ""]]}, id="no-such-text"),
        pytest.param({"texts": None}, id="no-texts"),
        pytest.param({"texts": [{"line": "x", "lines": {}}]}, id="no-line"),
        pytest.param({"notes": [["too", "short"]]}, id="no-note"),
        pytest.param({"skipped": ["Role"]}, id="no-counts"),
    ],
)
def test_what_is_no_form_of_documents_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="these are no loaded documents"):
        unpack(sent(read(LIST)) | change)
