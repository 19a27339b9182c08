"""Kubernetes' rules for the objects that users write (K 147-170), and fleetd's few of its own.

Pure, over typed objects: the loader runs it on what files say, the API on what a merge has made. It
finds everything that is wrong, each with its field path.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import difflib
import json
import re
from collections.abc import Mapping

from fleetd.core import names
from fleetd.core.daemonset import (
    REPLACES,
    ConfigMap,
    DaemonSet,
    Object,
    Secret,
    SystemdSpec,
)
from fleetd.core.findings import Finding, Findings
from fleetd.core.logins import KEYS as LOGIN_KEYS
from fleetd.core.meta import LabelSelector, ObjectMeta
from fleetd.core.paths import child
from fleetd.core.pod import PodSpec
from fleetd.core.surge import SHARE_PORTS, SURGE, clash
from fleetd.core.validation_placement import check_placement
from fleetd.core.validation_pod import check_pod
from fleetd.core.validation_systemd import check_systemd

MAX_CONTENT_BYTES = 1 << 20
MAX_ANNOTATION_BYTES = 256 << 10

PROGRESS_DEADLINE = "fleetd/progress-deadline-seconds"
MAX_UNREACHABLE = "fleetd/max-unreachable"
UNREACHABLE = "fleetd/unreachable"
SET = "fleetd/set"
"""Names the set of an object, for `apply --prune`."""
ANNOTATIONS = (MAX_UNREACHABLE, PROGRESS_DEADLINE, REPLACES, SET, SURGE, UNREACHABLE)
_REPLACEABLE = (".service", ".socket", ".timer", ".path")
_WHOLE = re.compile(r"[0-9]{1,9}\Z")


def validate(thing: Object) -> tuple[Finding, ...]:
    """All errors and notes about one object."""
    found = Findings()
    _metadata(found, thing.metadata)
    if isinstance(thing, DaemonSet):
        _daemonset(found, thing)
    elif isinstance(thing, ConfigMap):
        _config_map(found, thing)
    else:
        _secret(found, thing)
    return tuple(found)


def _metadata(found: Findings, meta: ObjectMeta) -> None:
    found.check("metadata.name", names.dns_subdomain, meta.name)
    found.check("metadata.namespace", names.dns_label, meta.namespace)
    check_labels(found, "metadata.labels", meta.labels)
    _annotations(found, "metadata.annotations", meta.annotations)


def check_labels(found: Findings, path: str, labels: Mapping[str, str]) -> None:
    """Legal keys and values (K 169)."""
    for key, value in labels.items():
        if wrong := names.label_key(key):
            found.error(child(path, key), f"the key {key!r} {wrong}")
        if wrong := names.label_value(value):
            found.error(child(path, key), f"the value {value!r} {wrong}")


def _annotations(found: Findings, path: str, annotations: Mapping[str, str]) -> None:
    for key in annotations:
        if wrong := names.label_key(key.lower()):
            found.error(child(path, key), f"the key {key!r} {wrong}")
    if sum(len(k) + len(v) for k, v in annotations.items()) > MAX_ANNOTATION_BYTES:
        found.error(path, f"more than {MAX_ANNOTATION_BYTES >> 10} KiB in all")


def _daemonset(found: Findings, daemonset: DaemonSet) -> None:
    spec = daemonset.spec
    _own_annotations(found, daemonset.metadata.annotations)
    if REPLACES in daemonset.metadata.annotations:
        _replaces(found, daemonset)
    found.at_least("spec.minReadySeconds", spec.min_ready_seconds, 0)
    found.at_least("spec.revisionHistoryLimit", spec.revision_history_limit, 0)
    labels = spec.template.metadata.labels
    check_labels(found, "spec.template.metadata.labels", labels)
    _annotations(found, "spec.template.metadata.annotations", spec.template.metadata.annotations)
    if _selector(found, spec.selector) and not selects(spec.selector, labels):
        found.error(
            "spec.template.metadata.labels",
            "spec.selector does not match these labels",
            "give the template the labels that the selector asks for",
        )
    _strategy(found, daemonset)
    pod = spec.template.spec
    check_placement(found, "spec.template.spec", pod)
    if isinstance(pod, PodSpec):
        check_pod(found, "spec.template.spec", pod)
    else:
        check_systemd(found, "spec.template.spec.systemd", pod.systemd)


def _own_annotations(found: Findings, annotations: Mapping[str, str]) -> None:
    for key, value in annotations.items():
        path = child("metadata.annotations", key)
        if key == PROGRESS_DEADLINE and not (_WHOLE.match(value) and int(value)):
            found.error(path, f"{value!r} must be a number of seconds above 0", 'write "600"')
        elif key == MAX_UNREACHABLE:
            wrong = names.count_or_percent(int(value) if _WHOLE.match(value) else value)
            if wrong:
                found.error(path, f"{value!r} {wrong}", 'write "20%" or "5"')
        elif key == SURGE and value != SHARE_PORTS:
            found.error(path, f"{value!r} must be {SHARE_PORTS}")
        elif key == UNREACHABLE and value not in {"count", "skip"}:
            found.error(path, f"{value!r} must be count or skip")
        elif key.startswith("fleetd/") and key not in ANNOTATIONS:
            near = difflib.get_close_matches(key, ANNOTATIONS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(ANNOTATIONS)}"
            found.error(path, f"fleetd knows no annotation {key}", hint)


def _replaces(found: Findings, daemonset: DaemonSet) -> None:
    """Units that the host has of its own, to be stopped before the first copy starts."""
    path = child("metadata.annotations", REPLACES)
    spec = daemonset.spec.template.spec
    borrowed = spec.systemd.existing_unit if isinstance(spec, SystemdSpec) else None
    if not daemonset.replaces:
        found.error(path, "names no unit", 'write "old-agent.service", or leave it out')
    for unit in daemonset.replaces:
        if not found.check(path, names.unit, unit):
            continue
        if not unit.endswith(_REPLACEABLE):
            found.error(path, f"{unit} cannot be replaced; {', '.join(_REPLACEABLE)} can")
        elif unit.startswith("fleetd-"):
            found.error(path, f"{unit}: units named fleetd-... are fleetd's own")
        elif unit == borrowed:
            found.error(path, f"{unit} cannot be the existingUnit and be replaced, too")
    if str(daemonset.spec.update_strategy.rolling_update.max_unavailable).rstrip("%") == "0":
        found.error(
            "spec.updateStrategy.rollingUpdate.maxUnavailable",
            f"must be above 0 beside {REPLACES}: a host has no agent between the old and the new",
        )


def _selector(found: Findings, selector: LabelSelector) -> bool:
    """Check a selector (K 148); True when it is sound and can be matched."""
    path = "spec.selector"
    before = len(found.errors())
    if not selector.match_labels and not selector.match_expressions:
        found.error(path, "must not be empty: it would select every pod")
    check_labels(found, f"{path}.matchLabels", selector.match_labels)
    for i, expression in enumerate(selector.match_expressions):
        here = f"{path}.matchExpressions[{i}]"
        found.check(f"{here}.key", names.label_key, expression.key)
        if expression.operator in {"In", "NotIn"} and not expression.values:
            found.error(f"{here}.values", f"{expression.operator} needs at least one value")
        if expression.operator in {"Exists", "DoesNotExist"} and expression.values:
            found.error(f"{here}.values", f"{expression.operator} takes no values")
        for j, value in enumerate(expression.values):
            found.check(f"{here}.values[{j}]", names.label_value, value)
    return len(found.errors()) == before


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether a sound selector matches these labels."""
    if any(labels.get(key) != value for key, value in selector.match_labels.items()):
        return False
    for expression in selector.match_expressions:
        present = expression.key in labels
        listed = present and labels[expression.key] in expression.values
        holds = {
            "In": listed,
            "NotIn": not listed,
            "Exists": present,
            "DoesNotExist": not present,
        }[expression.operator]
        if not holds:
            return False
    return True


def _strategy(found: Findings, daemonset: DaemonSet) -> None:
    """Both knobs (K 153-157). Both may be above 0 here, which Kubernetes refuses (K 156)."""
    strategy = daemonset.spec.update_strategy
    if strategy.type == "OnDelete":
        return
    path = "spec.updateStrategy.rollingUpdate"
    down, surge = strategy.rolling_update.max_unavailable, strategy.rolling_update.max_surge
    wrong = False
    for name, value in (("maxUnavailable", down), ("maxSurge", surge)):
        if message := names.count_or_percent(value):
            found.error(f"{path}.{name}", f"{value!r} {message}")
            wrong = True
    if wrong:
        return
    may_stop, may_surge = names.scaled(down, 100) > 0, names.scaled(surge, 100) > 0
    if may_surge and (between := clash(daemonset)):
        why = f"{between.path}: {between.why}"
        if may_stop:
            found.note(f"{path}.maxSurge", f"copies are updated in place: {why}")
        else:
            hint = "set maxUnavailable to 1 or more and maxSurge to 0"
            found.error(
                f"{path}.maxSurge",
                f"maxSurge {surge} needs two copies side by side on a host, but {why}",
                f"{hint}, or {between.hint}" if between.hint else hint,
            )
    elif not may_stop and not may_surge:
        found.error(
            f"{path}.maxUnavailable",
            f"maxUnavailable {down} and maxSurge {surge}: both cannot be 0",
            "set maxUnavailable to 1 or more",
        )


def _config_map(found: Findings, config_map: ConfigMap) -> None:
    size = sum(len(text.encode()) for text in config_map.data.values())
    for key in config_map.data:
        found.check(child("data", key), names.config_key, key)
    for key, text in config_map.binary_data.items():
        path = child("binaryData", key)
        found.check(path, names.config_key, key)
        size += _base64(found, path, text)
        if key in config_map.data:
            found.error(path, f"the key {key} is in data as well", "keep one of them")
    _content_size(found, "data", size)


def _secret(found: Findings, secret: Secret) -> None:
    size = 0
    for key, text in secret.data.items():
        path = child("data", key)
        found.check(path, names.config_key, key)
        size += _base64(found, path, text, "write plain text under stringData")
    _content_size(found, "data", size)
    if secret.type in LOGIN_KEYS:
        _logins(found, secret, LOGIN_KEYS[secret.type])


def _logins(found: Findings, secret: Secret, key: str) -> None:
    """A Secret of logins holds a JSON document; nothing of it is ever told."""
    path = child("data", key)
    if key not in secret.data:
        found.error(path, f"a Secret of type {secret.type} must have this key")
        return
    with contextlib.suppress(binascii.Error):
        data = base64.b64decode("".join(secret.data[key].split()), validate=True)
        try:
            json.loads(data)
        except ValueError:
            found.error(path, "is no JSON document", "`podman login --authfile FILE` writes one")


def _base64(found: Findings, path: str, text: str, hint: str = "") -> int:
    """The number of bytes that a base64 text stands for; the text itself is never told."""
    try:
        return len(base64.b64decode("".join(text.split()), validate=True))
    except (binascii.Error, ValueError):
        found.error(path, "is not base64", hint)
        return 0


def _content_size(found: Findings, path: str, size: int) -> None:
    if size > MAX_CONTENT_BYTES:
        found.error(path, f"{size} bytes in all; at most {MAX_CONTENT_BYTES} fit in one object")
