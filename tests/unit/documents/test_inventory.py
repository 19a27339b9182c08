from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from fleetd.core.node import Host, Inventory, Taint
from fleetd.documents import program
from fleetd.documents.inventory import read_inventory
from fleetd.documents.ranges import expand
from fleetd.errors import InvalidInput, InventoryUnknown

FORM = """\
defaults:
  ssh: {user: fleet, identityFile: keys/fleet, knownHostsFile: ~/known, jump: bastion-1}
  labels: {site: fra1, role: none}
hosts:
  bastion-1: {address: 192.0.2.1}
  web-[01:03]: {address: "10.0.0.[11:13]", labels: {role: web}}
  gpu-01:
    address: 10.0.1.5
    taints: ["dedicated=gpu:NoSchedule", {key: broken, effect: NoExecute}]
    ssh: {port: 2222, user: root, jump: ""}
"""


def read(tmp_path: Path, text: str, name: str = "hosts.yaml") -> Inventory:
    (tmp_path / name).write_text(text)
    return read_inventory([str(tmp_path / name)])


def problems_of(tmp_path: Path, text: str, name: str = "hosts.yaml") -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path, text, name)
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems]


def make_program(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


def hosts_of(inventory: Inventory) -> dict[str, Host]:
    return {host.name: host for host in inventory.hosts}


def test_the_form(tmp_path: Path) -> None:
    inventory = read(tmp_path, FORM)
    hosts = hosts_of(inventory)
    assert list(hosts) == ["bastion-1", "gpu-01", "web-01", "web-02", "web-03"]
    assert inventory.sources == (str(tmp_path / "hosts.yaml"),)
    web = hosts["web-02"]
    assert web.ssh.address == "10.0.0.12"
    assert (web.ssh.user, web.ssh.port, web.ssh.jump) == ("fleet", 22, "bastion-1")
    assert web.ssh.identity_file == str(tmp_path / "keys/fleet")
    assert web.ssh.known_hosts_file == str(Path.home() / "known")
    assert web.labels == {"site": "fra1", "role": "web"}
    gpu = hosts["gpu-01"]
    assert (gpu.ssh.user, gpu.ssh.port, gpu.ssh.jump) == ("root", 2222, "")
    assert gpu.taints == (Taint("dedicated", "gpu", "NoSchedule"), Taint("broken", "", "NoExecute"))


def test_labels_of_ours_may_be_given(tmp_path: Path) -> None:
    ours = {"fleetd/runtime": "podman", "fleetd/streams": "off"}
    (host,) = read(tmp_path, f"hosts: {{a: {{labels: {json.dumps(ours)}}}}}\n").hosts
    assert host.labels == ours


def test_the_jump_host_of_the_defaults_is_reached_without_itself(tmp_path: Path) -> None:
    assert hosts_of(read(tmp_path, FORM))["bastion-1"].ssh.jump == ""


def test_a_host_without_an_address_is_reached_by_its_name(tmp_path: Path) -> None:
    (host,) = read(tmp_path, "hosts: {web-1.example: }\n").hosts
    assert host.ssh.address == "web-1.example"


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("a", ["a"]),
        ("a-[1:3]", ["a-1", "a-2", "a-3"]),
        ("a-[08:10]", ["a-08", "a-09", "a-10"]),
        ("a-[1:7:3]", ["a-1", "a-4", "a-7"]),
        ("[a,b]-[1:2]", ["a-1", "a-2", "b-1", "b-2"]),
        ("a[0:0]", ["a0"]),
    ],
)
def test_ranges(text: str, texts: list[str]) -> None:
    assert expand(text) == texts


@pytest.mark.parametrize(
    "text",
    [
        "a[1:]",
        "a[3:1]",
        "a[1",
        "a]1",
        "a[]",
        "a[001:20]",
        "a[1:9:0]",
        "a[0:99999]",
        "[0:999][0:99]",
    ],
)
def test_bad_ranges(text: str) -> None:
    with pytest.raises(ValueError, match=r"range|counts|digits|bracket|more than"):
        expand(text)


@given(st.integers(0, 500), st.integers(0, 60), st.integers(1, 7))
def test_a_range_is_what_it_counts(first: int, more: int, step: int) -> None:
    texts = expand(f"n[{first:04d}:{first + more:04d}:{step}]")
    assert texts == [f"n{n:04d}" for n in range(first, first + more + 1, step)]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("Web_1: {address: 1.1.1.1}", "the name 'Web_1' must be"),
        ("'a;reboot': {address: 1.1.1.1}", "the name 'a;reboot' must be"),
        ("a: {address: -oProxyCommand=x}", "must be an IP address or a DNS name"),
        ("a: {adress: 1.1.1.1}", "unknown field 'adress'; did you mean address?"),
        ("a: {labels: {rack: 12}}", 'must be a string, not the number 12; write "12" in quotes'),
        ("a: {labels: {'a b': c}}", "the key 'a b' must be"),
        ("a: {labels: {fleetd/runtime: lxc}}", "must be one of docker, podman"),
        ("a: {labels: {fleetd/runtim: podman}}", "did you mean fleetd/runtime?"),
        ('a: {labels: {fleetd/streams: "never"}}', "must be one of off, on"),
        ('a: {labels: {fleetd/stream: "off"}}', "did you mean fleetd/streams?"),
        ("a: {taints: [gpu]}", "must be written key=value:effect"),
        ("a: {taints: ['gpu:Never']}", "the effect 'Never' must be one of"),
        ("a: {taints: ['x=1:NoSchedule', 'x=2:NoSchedule']}", "the taint is there twice"),
        ("a: {taints: [{key: a, effct: NoExecute}]}", "unknown field 'effct'"),
        ("a: {taints: [{key: a, value: 1, effect: NoExecute}]}", "value must be a string"),
        ("a: {ssh: {user: '-l root'}}", "must be at most 32 letters"),
        ("a: {ssh: {port: 0}}", "must be from 1 to 65535"),
        ("a: {ssh: {port: '22'}}", "must be a number, not the string"),
        ("a: {ssh: {jump: b}}", "the jump host b is not in the inventory"),
        ("a: {ssh: {jump: a}}", "jumps in a circle: a > a"),
        ("a-[1:3]: {address: '10.0.0.[1:2]'}", "2 addresses for 3 hosts"),
        ("a-[1:: {}", "has a bracket without its other half"),
        ("a: 12", "must be a map"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, entry: str, message: str) -> None:
    (problem,) = problems_of(tmp_path, f"hosts:\n  {entry}\n")
    assert problem.startswith("hosts.yaml:2: ")
    assert message in problem


def test_every_error_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "hosts:\n  a: {address: 10.0.0.1}\n  b: {address: 10.0.0.1}\n  C: {}\ngroups: {}\n"
    )
    (tmp_path / "b.yaml").write_text("hosts:\n  a: {address: 10.0.0.3}\n")
    with pytest.raises(InvalidInput) as caught:
        read_inventory([str(tmp_path)])
    found = [(Path(p.source).name, p.line, p.message) for p in caught.value.problems]
    assert [place[:2] for place in found] == [
        ("a.yaml", 4),
        ("a.yaml", 5),
        ("a.yaml", 3),
        ("b.yaml", 2),
    ]
    assert found[2][2] == f"b has the address of a ({tmp_path}/a.yaml:2): 10.0.0.1"
    assert found[3][2] == f"the host a is in {tmp_path}/a.yaml:2 already"


def test_the_same_address_on_another_port_is_another_host(tmp_path: Path) -> None:
    text = "hosts:\n  a: {address: h}\n  b: {address: h, ssh: {port: 2022}}\n"
    assert len(read(tmp_path, text).hosts) == 2


def test_a_longer_circle_of_jumps(tmp_path: Path) -> None:
    text = "hosts:\n  a: {ssh: {jump: b}}\n  b: {ssh: {jump: a}}\n  c: {ssh: {jump: a}}\n"
    problems = problems_of(tmp_path, text)
    assert [problem.partition(": ")[0] for problem in problems] == ["hosts.yaml:2", "hosts.yaml:3"]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "hosts: {}\n", "defaults: {}\n"])
def test_an_empty_source_is_unknown(tmp_path: Path, text: str) -> None:
    (tmp_path / "hosts.yaml").write_text(text)
    with pytest.raises(InventoryUnknown):
        read_inventory([str(tmp_path / "hosts.yaml")])


def test_a_source_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(InventoryUnknown, match="No such file"):
        read_inventory([str(tmp_path / "none.yaml")])
    with pytest.raises(InventoryUnknown, match="names no host"):
        read_inventory([str(tmp_path)])
    with pytest.raises(InventoryUnknown, match="no source"):
        read_inventory([])


def test_an_empty_source_beside_a_good_one_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("hosts: {a: }\n")
    (tmp_path / "b.yaml").write_text("")
    with pytest.raises(InventoryUnknown, match=r"b\.yaml: is empty"):
        read_inventory([str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")])


def test_a_program_prints_our_form(tmp_path: Path) -> None:
    source = make_program(tmp_path / "hosts", '[ "$1" = --list ] && echo \'{"hosts": {"a": {}}}\'')
    assert [host.name for host in read_inventory([str(source)]).hosts] == ["a"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('echo \'{"hosts": {"a": {}}}\'; echo bad >&2; exit 3', "ended with status 3: bad"),
        ("kill -9 $$", "ended with status -9"),
        ('echo \'{"hosts": {"a": {}\'', "printed something else than JSON"),
        ("true", "printed nothing"),
        ("echo '{\"hosts\": {}}'", "names no host"),
        ("printf '\\033[31m' >&2; exit 1", "ended with status 1: [31m"),
    ],
)
def test_a_program_that_fails_leaves_the_inventory_unknown(
    tmp_path: Path, line: str, message: str
) -> None:
    source = make_program(tmp_path / "hosts", line)
    with pytest.raises(InventoryUnknown) as caught:
        read_inventory([str(source)])
    assert message in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_program_that_cannot_be_run_is_unknown(tmp_path: Path) -> None:
    source = tmp_path / "hosts"
    source.write_text("no program\n")
    source.chmod(0o755)
    with pytest.raises(InventoryUnknown, match="cannot be run"):
        read_inventory([str(source)])


def test_a_program_is_ended_at_its_deadline_with_its_children(tmp_path: Path) -> None:
    source = make_program(tmp_path / "hosts", "sleep 600 & echo $! > pid; wait")
    source.write_text(source.read_text().replace("> pid", f"> {tmp_path}/pid"))
    with pytest.raises(program.SourceFailed, match="did not end within"):
        program.run(source, deadline_s=1)
    child = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    end = time.monotonic() + 30
    while lives(child) and time.monotonic() < end:
        time.sleep(0.01)  # the kernel ends what was killed in its own time
    assert not lives(child)


def lives(status: Path) -> bool:
    try:
        return ") Z " not in status.read_text()
    except OSError:
        return False


def test_a_data_file_with_a_careless_mode_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").write_text("hosts: {a: }\n")
    (tmp_path / "hosts.yaml").chmod(0o777)
    assert len(read_inventory([str(tmp_path)]).hosts) == 1


ANSIBLE = {
    "_meta": {
        "hostvars": {
            "web-1": {
                "ansible_host": "10.0.0.1",
                "ansible_port": "2222",
                "ansible_user": "deploy",
                "ansible_ssh_private_key_file": "keys/id",
                "fleetd_labels": {"rack": "r1"},
                "fleetd_taints": ["dedicated=web:NoSchedule"],
                "fleetd_jump": "db-1",
                "ntp_servers": ["a", "b"],
            }
        }
    },
    "all": {"children": ["ungrouped", "prod"], "vars": {"ansible_user": "all"}},
    "prod": {"children": ["web", "db tier"], "vars": {"ansible_user": "prod"}},
    "web": {"hosts": ["web-1", "web-2"]},
    "db tier": {"hosts": ["db-1"]},
}


def test_ansible(tmp_path: Path) -> None:
    hosts = hosts_of(read(tmp_path, json.dumps(ANSIBLE), "ansible.json"))
    assert sorted(hosts) == ["db-1", "web-1", "web-2"]
    first = hosts["web-1"]
    assert (first.ssh.address, first.ssh.port, first.ssh.user) == ("10.0.0.1", 2222, "deploy")
    assert first.ssh.identity_file == str(tmp_path / "keys/id")
    assert first.ssh.jump == "db-1"
    assert first.labels == {"group.prod": "true", "group.web": "true", "rack": "r1"}
    assert first.taints == (Taint("dedicated", "web", "NoSchedule"),)
    assert hosts["web-2"].ssh.user == "prod"
    assert hosts["db-1"].labels == {"group.prod": "true", "group.db-tier": "true"}


def test_ansible_names_are_no_ranges_and_are_checked(tmp_path: Path) -> None:
    form = {"_meta": {"hostvars": {"web[1:2]": {}}}, "all": {"children": ["all"]}}
    (problem,) = problems_of(tmp_path, json.dumps(form), "ansible.json")
    assert "the name 'web[1:2]' must be" in problem


def test_ansible_values_of_a_wrong_type_are_told(tmp_path: Path) -> None:
    hosts = {"a": {"ansible_port": "ssh", "fleetd_labels": [1], "ansible_host": 5}}
    problems = problems_of(tmp_path, json.dumps({"_meta": {"hostvars": hosts}}), "ansible.json")
    assert len(problems) == 3
