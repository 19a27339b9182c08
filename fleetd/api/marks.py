"""`label` and `annotate`: what people hang on objects after they were made.

It lies beside what was applied: the next apply of a file takes nothing of it away, since the file
never said it (see `merge`). A generation does not rise (K 139); the resourceVersion does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from fleetd.api.draft import Draft, config_map_of, daemonset_of, document_of, secret_of, to_json
from fleetd.api.history import CHANGE_CAUSE
from fleetd.api.reading import history
from fleetd.api.reports import Marks
from fleetd.core.daemonset import Object
from fleetd.core.meta import Key
from fleetd.core.names import label_key, label_value
from fleetd.core.records import ObjectRecord
from fleetd.core.validation import validate
from fleetd.errors import InvalidInput, Refused
from fleetd.ports import Put, Store

PREFIXES = {"DaemonSet": "daemonset.apps", "ConfigMap": "configmap", "Secret": "secret"}


def read_changes(marks: Marks) -> dict[str, str | None]:
    """The changes by key, None for one to take. Raises InvalidInput for another form."""
    found: dict[str, str | None] = {}
    what = marks.field.removesuffix("s")
    for change in marks.changes:
        key, equals, value = change.partition("=")
        if not equals:
            if not change.endswith("-"):
                raise InvalidInput(
                    f"{change!r} is no change of {_article(what)}: write KEY=VALUE or KEY-"
                )
            key = change[:-1]
        if wrong := label_key(key):
            raise InvalidInput(f"{change!r}: the key of {_article(what)} {wrong}")
        if what == "label" and (wrong := label_value(value)):
            raise InvalidInput(f"{change!r}: the value of a label {wrong}")
        if key in found:
            raise InvalidInput(f"{key} is written twice; say it once")
        found[key] = value if equals else None
    return found


def check_overwrites(
    changes: Mapping[str, str | None], present: Mapping[str, str], *, overwrite: bool
) -> None:
    """Raise Refused where a change would replace another value unasked."""
    for key, value in changes.items():
        have = present.get(key)
        if not overwrite and value is not None and have is not None and have != value:
            raise Refused(f"'{key}' already has a value ({have}), and --overwrite is false")


def line_of(name: str, marks: Marks, changes: Mapping[str, str | None], *, changed: bool) -> str:
    """Kubectl's line: `daemonset.apps/ne labeled`, `node/a unlabeled`, `node/a not labeled`."""
    if marks.field == "annotations":
        return f"{name} annotated"
    if not changed:
        return f"{name} not labeled"
    taken = all(value is None for value in changes.values())
    return f"{name} {'unlabeled' if taken else 'labeled'}"


def mark_object(store: Store, kind: str, key: Key, marks: Marks, *, now: float, who: str) -> str:
    """Change the labels or annotations of an object; the line to print.

    Raises:
        InvalidInput: for a change of another form, or one that the object's rules do not allow.
        NotFound: there is no such object.
        Refused: a value would be overwritten unasked.
    """
    changes = read_changes(marks)
    draft = Draft(store, now=now, who=who)
    record = draft.get(kind, key)
    document = document_of(record)
    metadata = document["metadata"]
    present = dict(metadata.get(marks.field) or {})
    check_overwrites(changes, present, overwrite=marks.overwrite)
    after = {**present, **{name: value for name, value in changes.items() if value is not None}}
    for name, value in changes.items():
        if value is None:
            after.pop(name, None)
    changed = after != present
    if changed:
        metadata[marks.field] = after
        marked = replace(record, document_json=to_json(document))
        _check(marked)
        draft.put(marked)
        if kind == "DaemonSet" and CHANGE_CAUSE in changes:
            _name_cause(draft, key, after.get(CHANGE_CAUSE, ""))
        verb = "label" if marks.field == "labels" else "annotate"
        draft.commit(verb, " ".join(marks.changes))
    return line_of(f"{PREFIXES[kind]}/{key.name}", marks, changes, changed=changed)


def _name_cause(draft: Draft, key: Key, cause: str) -> None:
    """A change-cause belongs to the revision in force; nothing else of that changes."""
    for row in history(draft.store, key)[-1:]:
        draft.changes.append(Put(replace(row, cause=cause)))


def _check(record: ObjectRecord) -> None:
    readers: Mapping[str, Callable[[ObjectRecord], Object]] = {
        "DaemonSet": daemonset_of,
        "ConfigMap": config_map_of,
        "Secret": secret_of,
    }
    thing = readers[record.kind](record)
    wrong = [finding for finding in validate(thing) if not finding.note]
    if wrong:
        raise InvalidInput("; ".join(f"{finding.path}: {finding.message}" for finding in wrong))


def _article(what: str) -> str:
    return f"an {what}" if what.startswith("a") else f"a {what}"
