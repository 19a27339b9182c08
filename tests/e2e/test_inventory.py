"""Inventories that others keep: Ansible's, programs, and directories of both, over real hosts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.admin import Admin, unit_agent
from tests.e2e.lab import HostSpec
from tests.e2e.proof import leftovers, snapshots

pytestmark = pytest.mark.timeout(300)

NAMES = ("db-1", "web-1", "web-2")
HOSTS = tuple(HostSpec(name, runtime="none") for name in NAMES)
FROM_ANSIBLE = Path(__file__).parents[2] / "inventory" / "from-ansible"


def ansible(admin: Admin, names: Iterable[str] = NAMES) -> dict[str, Any]:
    """What `ansible-inventory --list` printed for a fleet of groups, with our addresses."""
    shared = {
        "ansible_user": "fleet",
        "ansible_ssh_private_key_file": str(admin.fleet.client_key),
        "fleetd_known_hosts_file": str(admin.fleet.known_hosts),
        "ansible_python_interpreter": "/usr/bin/python3",
        "ntp_servers": ["192.0.2.1", "192.0.2.2"],
    }
    own: dict[str, dict[str, Any]] = {
        "db-1": {"fleetd_taints": ["dedicated=db:NoSchedule"], "fleetd_labels": {"disk": "ssd"}},
        "web-1": {"ansible_port": 22},
        "web-2": {"http_port": 8080},
    }
    hosts = {name: {"ansible_host": admin.fleet[name].ip, **shared, **own[name]} for name in names}
    return {
        "_meta": {"hostvars": hosts},
        "all": {"children": ["ungrouped", "site_fra1"]},
        "site_fra1": {"children": ["web", "db"]},
        "web": {"hosts": [name for name in names if name.startswith("web")]},
        "db": {"hosts": [name for name in names if name.startswith("db")]},
    }


def ours(admin: Admin, *names: str) -> str:
    """The same in fleetd's form."""
    ssh = {
        "user": "fleet",
        "identityFile": str(admin.fleet.client_key),
        "knownHostsFile": str(admin.fleet.known_hosts),
    }
    hosts = {name: {"address": admin.fleet[name].ip} for name in names}
    return yaml.safe_dump({"defaults": {"ssh": ssh}, "hosts": hosts})


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def labels(admin: Admin, name: str) -> dict[str, str]:
    found: dict[str, str] = admin.get("nodes", name)["metadata"]["labels"]
    return found


def test_a_fleet_that_ansible_knows_needs_no_second_list(admin: Admin) -> None:
    answer = admin.directory / "answer.json"
    answer.write_text(json.dumps(ansible(admin)))
    # The example of the repository as it is, with an ansible-inventory that tells what it is asked.
    tools = admin.directory / "tools"
    tools.mkdir()
    asked = tools / "asked"
    program(tools / "ansible-inventory", f'echo "$@" >{asked}; cat {answer}')
    script = FROM_ANSIBLE.read_text().removeprefix("#!/bin/sh\n")
    admin.inventory = program(admin.directory / "hosts", f"PATH={tools}:$PATH\n{script}")

    spec = unit_agent(max_unavailable="100%", pod={"nodeSelector": {"group.site_fra1": "true"}})
    assert admin.apply(spec).did == [("web-1", "start"), ("web-2", "start")]
    assert asked.read_text() == "-i /etc/ansible/hosts --list\n"
    assert "dedicated=db:NoSchedule" in admin.fleetd("why", "db-1", "agent").stdout
    assert labels(admin, "web-1").items() >= {("group.web", "true"), ("group.site_fra1", "true")}
    assert labels(admin, "db-1")["disk"] == "ssd"
    assert "ntp_servers" not in json.dumps(admin.get("nodes"))

    # What Ansible forgets has left.
    answer.write_text(json.dumps(ansible(admin, ("db-1", "web-1"))))
    assert admin.reconcile().did == [("web-2", "remove")]
    assert leftovers(admin.fleet["web-2"]) == []


def test_a_directory_is_one_inventory(admin: Admin) -> None:
    folder = admin.inventory = admin.directory / "inventory"
    folder.mkdir()
    (folder / "10-db.yaml").write_text(ours(admin, "db-1"))
    (folder / "20-ansible.json").write_text(json.dumps(ansible(admin, ["web-1"])))
    more = yaml.safe_load(ours(admin, "web-2"))
    program(folder / "30-program", f"cat <<'END'\n{json.dumps(more)}\nEND")
    (folder / ".hidden.yaml").write_text("hosts: {")
    (folder / "README.md").write_text("not an inventory")
    (folder / "archive").mkdir()
    (folder / "archive" / "old.yaml").write_text("hosts: {")
    spec = unit_agent(max_unavailable="100%")
    assert admin.apply(spec).did == [(name, "start") for name in NAMES]
    assert "group.web" in labels(admin, "web-1")
    before = snapshots(admin.fleet.hosts.values())

    def refused(*words: str) -> None:
        said = admin.reconcile(code=2).stderr
        assert all(word in said for word in words), said
        assert snapshots(admin.fleet.hosts.values()) == before

    program(folder / "30-program", "echo trouble >&2; exit 7")
    refused("30-program", "7", "trouble")
    program(folder / "30-program", "true")
    refused("30-program", "printed nothing")
    program(folder / "30-program", 'echo \'{"hosts": {"web-2": \'')
    refused("30-program", "JSON")
    program(folder / "30-program", f"cat <<'END'\n{json.dumps(more)}\nEND")
    (folder / "40-again.yaml").write_text(ours(admin, "db-1"))
    refused("db-1", "10-db.yaml", "40-again.yaml")
    (folder / "40-again.yaml").write_text("")
    refused("40-again.yaml", "is empty")
    (folder / "40-again.yaml").unlink()
    assert admin.reconcile().did == []
