"""Host keys on real hosts: looked at, pinned once, refused when changed; and jump hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.admin import Admin, unit_agent
from tests.e2e.lab import Host, HostSpec
from tests.e2e.lab.machine import run, wait_until

pytestmark = pytest.mark.timeout(300)

BEHIND = tuple(f"n{number}" for number in range(1, 7))
HOSTS = tuple(HostSpec(name, runtime="none") for name in ("bastion", *BEHIND))
ALL = tuple(spec.name for spec in HOSTS)
KEY = "/etc/ssh/ssh_host_ed25519_key"


@pytest.fixture
def pins(admin: Admin) -> Path:
    """The known_hosts file that the inventory names: nobody has written it yet."""
    path = admin.directory / "known_hosts"
    assert not path.exists()
    return path


def know(admin: Admin, names: tuple[str, ...], **ssh: Any) -> None:
    """An inventory of these hosts, with its own known_hosts; `ssh` is in the defaults."""
    defaults = {
        "user": "fleet",
        "identityFile": str(admin.fleet.client_key),
        "knownHostsFile": "./known_hosts",
        **ssh,
    }
    hosts = {name: {"address": admin.fleet[name].ip} for name in names}
    text = yaml.safe_dump({"defaults": {"ssh": defaults}, "hosts": hosts})
    admin.inventory.write_text(text)


def rows(told: str) -> dict[str, str]:
    return {line.split()[0]: " ".join(line.split()[1:]) for line in told.splitlines()}


def fingerprint(host: Host) -> str:
    """The host's key as its own console would show it."""
    return host.sh(f"ssh-keygen -l -E sha256 -f {KEY}.pub").stdout.split()[1]


def pinned(path: Path) -> dict[str, str]:
    lines = [line.partition(" ") for line in path.read_text().splitlines()]
    return {names: key for names, _, key in lines}


def accepted(host: Host) -> list[str]:
    """Where every login that sshd let in came from, in order."""
    said = host.sh("journalctl -q --no-pager -u ssh | grep 'Accepted publickey' || true").stdout
    return [line.split(" from ")[1].split()[0] for line in said.splitlines()]


def test_keys_are_shown_then_pinned_and_then_known(admin: Admin, pins: Path) -> None:
    know(admin, ("n1", "n2"))
    prints = {name: fingerprint(admin.fleet[name]) for name in ("n1", "n2")}
    shown = admin.fleetd("enroll", "--all")
    assert rows(shown.stdout) == {name: f"offers {key}" for name, key in prints.items()}
    assert "Nothing was pinned" in shown.stderr
    assert not pins.exists()

    refused = admin.fleetd("apply", admin.write(unit_agent()), code=3)
    assert "no host key is known for it" in refused.stdout
    assert "fleetd enroll HOST (2): n1, n2" in refused.stdout
    assert "fleetd enroll n1" in admin.fleetd("why", "n1").stdout
    assert all(accepted(admin.fleet[name]) == [] for name in ("n1", "n2"))

    assert rows(admin.fleetd("enroll", "n1", "--yes").stdout) == {"n1": f"pinned {prints['n1']}"}
    address = admin.fleet["n1"].ip
    assert pinned(pins) == {f"n1,{address}": admin.fleet["n1"].disk.host_key}
    again = rows(admin.fleetd("enroll", "--all", "--yes").stdout)
    assert again == {"n1": f"known {prints['n1']}", "n2": f"pinned {prints['n2']}"}
    assert sorted(admin.reconcile().did) == [("n1", "start"), ("n2", "start")]


def test_a_changed_key_is_refused_and_never_written_over(admin: Admin, pins: Path) -> None:
    know(admin, ("n1", "n3"))
    admin.fleetd("enroll", "--all", "--yes")
    admin.apply(unit_agent(max_unavailable="100%"))
    before, host = pins.read_text(), admin.fleet["n3"]
    host.sh(f"rm {KEY}*; ssh-keygen -q -t ed25519 -N '' -f {KEY}; systemctl restart ssh")

    refused = rows(admin.fleetd("enroll", "--all", "--yes", code=3).stdout)
    assert refused["n1"].startswith("known ")
    assert refused["n3"].startswith("failed: ")
    assert "pins another key for n3" in refused["n3"]
    assert pins.read_text() == before
    logins = accepted(host)
    ended = admin.reconcile(code=3)
    assert ended.did == []
    (why,) = ended.json["holders"]["default/agent"].values()
    assert "its host key is not the one pinned" in why
    assert "fleetd enroll n3" in why
    assert accepted(host) == logins

    # The way that the message tells.
    kept = [line for line in before.splitlines(keepends=True) if not line.startswith("n3,")]
    pins.write_text("".join(kept))
    assert rows(admin.fleetd("enroll", "n3", "--yes").stdout) == {
        "n3": f"pinned {fingerprint(host)}"
    }
    assert admin.reconcile().did == []


def test_a_host_on_another_port(admin: Admin, pins: Path) -> None:
    host = admin.fleet["n2"]
    host.sh("systemd-run --quiet --unit=sshd-2222 /usr/sbin/sshd -D -p 2222")
    wait_until(lambda: listens(host, 2222), 10, "the second sshd")
    know(admin, ("n2",), port=2222)
    admin.fleetd("enroll", "n2", "--yes")
    assert list(pinned(pins)) == [f"n2,[{host.ip}]:2222"]
    before = accepted(host)
    assert admin.apply(unit_agent()).did == [("n2", "start")]
    assert accepted(host) == before  # the sshd on port 22 was not asked
    host.sh("systemctl stop sshd-2222")
    assert "nothing listens on port 2222" in admin.fleetd("why", "n2").stdout


def listens(host: Host, port: int) -> bool:
    return f":{port} " in host.sh("ss -Htln").stdout


def test_six_hosts_behind_a_jump_host_share_one_connection_to_it(admin: Admin, pins: Path) -> None:
    know(admin, ALL, jump="bastion")
    first = admin.fleetd("enroll", "--all", code=3)
    assert rows(first.stdout)["bastion"] == f"offers {fingerprint(admin.fleet['bastion'])}"
    assert "enroll bastion" in first.stdout
    assert rows(admin.fleetd("enroll", "--all", "--yes").stdout) == {
        name: f"pinned {fingerprint(admin.fleet[name])}" for name in ALL
    }
    bastion = admin.fleet["bastion"]
    before = {name: len(accepted(admin.fleet[name])) for name in ALL}
    did = admin.apply(unit_agent(max_unavailable="100%")).did
    assert sorted(did) == [(name, "start") for name in ALL]
    since = {name: accepted(admin.fleet[name])[before[name] :] for name in ALL}
    assert len(since["bastion"]) == 1
    assert {name: since[name] for name in BEHIND} == {name: [bastion.ip] for name in BEHIND}
    assert admin.fleetd("exec", "n6", "--", "hostname").stdout == "n6\n"


def test_an_authority_vouches_for_hosts(admin: Admin, pins: Path) -> None:
    know(admin, ("n4", "n5"))
    authority = admin.directory / "authority"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", authority])
    host = admin.fleet["n4"]
    public = admin.directory / "n4.pub"
    public.write_text(host.disk.host_key + "\n")
    run(["ssh-keygen", "-q", "-s", authority, "-h", "-I", "n4", "-n", "n4", public])
    certificate = (admin.directory / "n4-cert.pub").read_text()
    host.sh(
        f"cat >{KEY}-cert.pub; echo 'HostCertificate {KEY}-cert.pub'"
        " >/etc/ssh/sshd_config.d/certificate.conf; systemctl restart ssh",
        stdin=certificate,
    )
    pins.write_text(f"@cert-authority * {authority.with_suffix('.pub').read_text()}")
    ended = admin.apply(unit_agent(), code=3)
    assert ended.did == [("n4", "start")]
    assert list(ended.json["holders"]["default/agent"]) == ["n5"]
