"""Ansible's inventory as JSON (`ansible-inventory --list`), translated into fleetd's own form.

Of the variables only those are read that say how to reach a host, and fleetd's own:
`fleetd_labels`, `fleetd_taints`, `fleetd_known_hosts_file`, `fleetd_jump`. Each group of a host,
parents included, is a label `group.<name>: "true"`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fleetd.core.fields import Plain

_SSH = {
    "user": ("ansible_user", "ansible_ssh_user"),
    "port": ("ansible_port", "ansible_ssh_port"),
    "identityFile": ("ansible_ssh_private_key_file", "ansible_private_key_file"),
    "knownHostsFile": ("fleetd_known_hosts_file",),
    "jump": ("fleetd_jump",),
}
_ADDRESS = ("ansible_host", "ansible_ssh_host")
_BUILT_IN = {"all", "ungrouped"}
_ILLEGAL = re.compile(r"[^A-Za-z0-9_.-]+")
_PREFIX = "group."


def is_ansible(data: Plain) -> bool:
    """Whether a map is Ansible's form and not fleetd's own."""
    if not isinstance(data, dict) or "defaults" in data:
        return False
    return "_meta" in data or ("hosts" not in data and any(map(_is_group, data.values())))


def _is_group(value: Plain) -> bool:
    return isinstance(value, list) or (
        isinstance(value, dict) and bool({"hosts", "children", "vars"} & value.keys())
    )


def translate(data: dict[str, Plain]) -> dict[str, Plain]:
    """The same hosts in fleetd's form. What does not fit stays as it is, for the checks to find."""
    meta = data.get("_meta")
    variables = meta.get("hostvars", {}) if isinstance(meta, dict) else {}
    groups = {
        name: {"hosts": group} if isinstance(group, list) else group
        for name, group in data.items()
        if name != "_meta" and (isinstance(group, dict | list))
    }
    members = _members(groups)
    hosts = dict.fromkeys(
        [*variables, *(host for group in groups.values() for host in _names(group, "hosts"))]
    )
    translated = {}
    for host in hosts:
        own = variables.get(host)
        inherited = [group for group in members if host in members[group]]
        merged: dict[str, Plain] = {}
        for group in inherited:
            shared = groups[group].get("vars")
            merged.update(shared if isinstance(shared, dict) else {})
        merged.update(own if isinstance(own, dict) else {})
        translated[host] = _host(merged, inherited)
    return {"hosts": translated}


def _names(group: dict[str, Plain], field: str) -> list[str]:
    listed = group.get(field)
    return [str(name) for name in listed] if isinstance(listed, list | dict) else []


def _members(groups: dict[str, dict[str, Plain]]) -> dict[str, set[str]]:
    """The hosts of each group and of all groups below it; parents come before their children."""
    order: dict[str, int] = dict.fromkeys(groups, 0)
    for _ in groups:
        moved = False
        for name, group in groups.items():
            for child in _names(group, "children"):
                if child in order and order[child] <= order[name] < len(groups):
                    order[child] = order[name] + 1
                    moved = True
        if not moved:
            break
    return {
        name: {host for below in _below(groups, name) for host in _names(groups[below], "hosts")}
        for name in sorted(groups, key=lambda name: (order[name], name))
    }


def _below(groups: dict[str, dict[str, Plain]], name: str) -> Iterator[str]:
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        group = waiting.pop()
        if group in groups and group not in seen:
            seen.add(group)
            yield group
            waiting.extend(_names(groups[group], "children"))


def _host(variables: dict[str, Plain], groups: list[str]) -> dict[str, Plain]:
    address = _first(variables, _ADDRESS)
    ssh = {field: _first(variables, names) for field, names in _SSH.items()}
    if isinstance(ssh["port"], str) and ssh["port"].isdecimal():
        ssh["port"] = int(ssh["port"])
    labels = {_label(group): "true" for group in groups if group not in _BUILT_IN}
    own = variables.get("fleetd_labels") or {}
    return {
        **({} if address is None else {"address": address}),
        "ssh": {field: value for field, value in ssh.items() if value is not None},
        "labels": {**labels, **own} if isinstance(own, dict) else own,
        "taints": variables.get("fleetd_taints") or [],
    }


def _first(variables: dict[str, Plain], names: tuple[str, ...]) -> Plain:
    return next((variables[name] for name in names if variables.get(name) is not None), None)


def _label(group: str) -> str:
    """A legal label key for a group: other characters become '-', and the end is cut."""
    legal = _ILLEGAL.sub("-", group)[: 63 - len(_PREFIX)].rstrip("_.-")
    return f"{_PREFIX}{legal or 'unnamed'}"
