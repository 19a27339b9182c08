"""What people say of nodes: cordon, hold, labels and taints, laid over the inventory.

The overlay wins over the inventory and survives its changes; a null hides what the inventory says.
A node may be spoken of before any pass has met it, when the inventory has it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, get_args

from fleetd.api.marks import check_overwrites, line_of, read_changes
from fleetd.api.reports import Marks
from fleetd.core.names import label_key, label_value
from fleetd.core.node import DRAINED, Effect, Host, Taint
from fleetd.core.records import AuditRecord, NodeRecord, TaintRecord
from fleetd.errors import InvalidInput, NotFound
from fleetd.ports import Change, Drop, Put, Store

OWN = frozenset({"fleetd/hold", "fleetd/left"})
"""Annotations that tell how a node stands; the verbs about that set them."""

EFFECTS: tuple[Effect, ...] = get_args(Effect)


class Nodes:
    """The verbs about nodes, for one caller. Each returns the line that kubectl would print."""

    def __init__(self, store: Store, hosts: Mapping[str, Host], *, now: float, who: str) -> None:
        """`hosts` are those of the inventory, by name."""
        self._store = store
        self._hosts = hosts
        self._now = now
        self._who = who

    def cordon(self, name: str, *, on: bool) -> str:
        """Set or take Kubernetes' cordon: a taint that keeps new copies away if not tolerated."""
        record = self._record(name)
        word = "cordoned" if on else "uncordoned"
        if record.cordoned == on:
            return f"node/{name} already {word}"
        return self._write(replace(record, cordoned=on), "cordon" if on else "uncordon", "", word)

    def hold(self, name: str, *, on: bool) -> str:
        """Set or lift hands-off: nothing starts, updates or is removed there."""
        record = self._record(name)
        word = "held" if on else "unheld"
        if record.held == on:
            return f"node/{name} already {word}"
        return self._write(replace(record, held=on), "hold" if on else "unhold", "", word)

    def mark(self, name: str, marks: Marks) -> str:
        """Change labels or annotations.

        Raises InvalidInput for a change of another form, Refused where a value would be overwritten
        unasked.
        """
        record = self._record(name)
        changes = read_changes(marks)
        if marks.field == "annotations":
            return self._annotate(record, marks, changes)
        labels: dict[str, str | None] = json.loads(record.labels_json)
        inventory = self._inventory_labels(name)
        check_overwrites(changes, _shown(inventory, labels), overwrite=marks.overwrite)
        for key, value in changes.items():
            if value is not None or key in inventory:
                labels[key] = value
            else:
                labels.pop(key, None)
        changed = json.loads(record.labels_json) != labels
        line = line_of(f"node/{name}", marks, changes, changed=changed)
        if changed:
            text = json.dumps(labels, sort_keys=True)
            self._write(replace(record, labels_json=text), "label", " ".join(marks.changes), "")
        return line

    def _annotate(self, record: NodeRecord, marks: Marks, changes: Mapping[str, str | None]) -> str:
        present: dict[str, str] = json.loads(record.annotations_json)
        if OWN.intersection(changes):
            raise InvalidInput(f"{', '.join(OWN)} is fleetd's own; say `fleetd hold {record.name}`")
        check_overwrites(changes, present, overwrite=marks.overwrite)
        merged = {**present, **changes}
        after = {key: value for key, value in merged.items() if value is not None}
        if after != present:
            text = json.dumps(after, sort_keys=True)
            detail = " ".join(marks.changes)
            self._write(replace(record, annotations_json=text), "annotate", detail, "")
        return line_of(f"node/{record.name}", marks, changes, changed=after != present)

    def drain(self, name: str, *, on: bool) -> bool:
        """Cordon a node and keep every copy away from it, or take both back; False: was so."""
        record = self._record(name)
        place = (DRAINED.key, DRAINED.effect)
        overlay = {(item["key"], item["effect"]): item for item in json.loads(record.taints_json)}
        if (place in overlay) == on and record.cordoned == on:
            return False
        overlay.pop(place, None)
        if on:
            overlay[place] = asdict(DRAINED)
        text = json.dumps([item for _, item in sorted(overlay.items())])
        after = replace(record, taints_json=text, cordoned=on)
        self._write(after, "drain" if on else "uncordon", "", "")
        return True

    def taint(self, name: str, changes: Sequence[str]) -> str:
        """Set (`key=value:Effect`, `key:Effect`) or take (`key:Effect-`, `key-`) taints.

        Raises InvalidInput for another form, NotFound for a taint to take that is not there.
        """
        record = self._record(name)
        overlay = {(item["key"], item["effect"]): item for item in json.loads(record.taints_json)}
        inventory = {(taint.key, taint.effect) for taint in self._inventory_taints(name)}
        for change in changes:
            if change.endswith("-"):
                _untaint(overlay, inventory, name, change)
            else:
                taint = _taint(change)
                overlay[taint.key, taint.effect] = asdict(taint)
        text = json.dumps([item for _, item in sorted(overlay.items())])
        if json.loads(record.taints_json) == json.loads(text):
            return f"node/{name} not tainted"
        done = "untainted" if all(change.endswith("-") for change in changes) else "tainted"
        return self._write(replace(record, taints_json=text), "taint", " ".join(changes), done)

    def _record(self, name: str) -> NodeRecord:
        rows = self._store.read(NodeRecord, name=name)
        if not rows and name not in self._hosts:
            raise NotFound(f"node {name} is not in the inventory, nor known from earlier")
        return rows[0] if rows else NodeRecord(name)

    def _write(self, record: NodeRecord, verb: str, detail: str, done: str) -> str:
        subject = f"Node {record.name}"
        audit = AuditRecord(self._now, self._who, verb, subject, detail, node=record.name)
        self._store.commit([Put(record), *self._taint_times(record), Put(audit)])
        return f"node/{record.name} {done}"

    def _taint_times(self, record: NodeRecord) -> list[Change]:
        """Since when a node has its NoExecute taints: what is new among them, from now on."""
        taints = {(one.key, one.effect): one.value for one in self._inventory_taints(record.name)}
        for item in json.loads(record.taints_json):
            taints[item["key"], item["effect"]] = item["value"]
        wanted = {
            (key, value)
            for (key, effect), value in taints.items()
            if effect == "NoExecute" and value is not None
        }
        known = {(row.key, row.value) for row in self._store.read(TaintRecord, node=record.name)}
        changes: list[Change] = [
            Drop(TaintRecord, node=record.name, key=key, value=value)
            for key, value in sorted(known - wanted)
        ]
        changes += [
            Put(TaintRecord(record.name, *one, self._now)) for one in sorted(wanted - known)
        ]
        return changes

    def _inventory_labels(self, name: str) -> Mapping[str, str]:
        return self._hosts[name].labels if name in self._hosts else {}

    def _inventory_taints(self, name: str) -> tuple[Taint, ...]:
        return self._hosts[name].taints if name in self._hosts else ()


def _shown(inventory: Mapping[str, str], overlay: Mapping[str, str | None]) -> dict[str, str]:
    """The labels that people gave: the inventory's under the overlay, which may hide some."""
    merged = {**inventory, **overlay}
    return {key: value for key, value in merged.items() if value is not None}


def _taint(change: str) -> Taint:
    front, colon, effect = change.rpartition(":")
    key, _, value = front.partition("=")
    if not colon:
        raise InvalidInput(
            f"{change!r} is no change of a taint: write KEY=VALUE:EFFECT, KEY:EFFECT, "
            "KEY:EFFECT- or KEY-"
        )
    _check("taint", change, label_key(key), label_value(value))
    return Taint(key, value, _effect(change, effect))


def _untaint(
    overlay: dict[tuple[str, str], dict[str, Any]],
    inventory: set[tuple[str, Effect]],
    name: str,
    change: str,
) -> None:
    """Take the taints that a `key-` or `key:Effect-` names; hide those of the inventory."""
    key, colon, effect = change[:-1].partition(":")
    effects = (_effect(change, effect),) if colon else EFFECTS
    found = False
    for place in [(key, effect) for effect in effects]:
        shown = overlay.pop(place, None)
        if place in inventory:
            overlay[place] = {"key": key, "value": None, "effect": place[1]}
            found |= shown is None or shown["value"] is not None
        else:
            found |= shown is not None
    if not found:
        raise NotFound(f"node {name} has no taint {change[:-1]}")


def _effect(change: str, effect: str) -> Effect:
    for known in EFFECTS:
        if known == effect:
            return known
    raise InvalidInput(f"{change!r}: the effect is one of {', '.join(EFFECTS)}, not {effect!r}")


def _check(what: str, change: str, wrong_key: str, wrong_value: str) -> None:
    if wrong_key:
        raise InvalidInput(f"{change!r}: the key of a {what} {wrong_key}")
    if wrong_value:
        raise InvalidInput(f"{change!r}: the value of a {what} {wrong_value}")
