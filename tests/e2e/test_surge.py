"""Surges and timed tolerations on real hosts: the host itself is asked, many times a second."""

from __future__ import annotations

from itertools import groupby
from textwrap import dedent

import pytest

from tests.e2e.admin import Admin, Document, daemonset, unit_agent
from tests.e2e.lab import HostSpec, boottime
from tests.e2e.lab.host import Host

pytestmark = pytest.mark.timeout(300)

HOSTS = tuple(HostSpec(f"u{number}", runtime="none") for number in range(1, 3))
NAMES = [spec.name for spec in HOSTS]
PORT = 7788
LOG = "/var/lib/surge.log"
SAMPLES = "/var/lib/surge.samples"
MIN_READY = 2
#: Seconds between two samples: a client that connects so often must never notice.
EVERY = 0.05

#: Answers each connection with its version; a second one may listen beside it (SO_REUSEPORT is 15).
AGENT = f"""
use strict; use Socket;
my $version = $ENV{{AGENT_VERSION}};
sub note {{
  open(my $u, '<', '/proc/uptime'); my ($now) = split ' ', <$u>;
  open(my $l, '>>', '{LOG}'); print $l "$version $_[0] $now\\n"; close $l;
}}
sub answer {{ my $c; accept($c, S) or return 0; syswrite($c, "$version\\n"); close $c; 1 }}
sub waiting {{ my $r = ''; vec($r, fileno(S), 1) = 1; select($r, undef, undef, $_[0]) > 0 }}
my $stop = 0; $SIG{{TERM}} = sub {{ $stop = 1 }};
socket(S, PF_INET, SOCK_STREAM, 0) or die; setsockopt(S, SOL_SOCKET, 15, 1) or die;
bind(S, sockaddr_in({PORT}, INADDR_ANY)) or die "bind: $!"; listen(S, 128) or die;
note('start');
while (!$stop) {{ answer() if waiting(0.1) }}
answer() while waiting(0);
close(S); note('stop');
"""

CLIENT = f"""
use strict; use Socket;
open(my $out, '>>', '{SAMPLES}'); select($out); $| = 1;
while (1) {{
  my $said = eval {{
    local $SIG{{ALRM}} = sub {{ die "late" }}; alarm(2);
    socket(my $c, PF_INET, SOCK_STREAM, 0) or die;
    connect($c, sockaddr_in({PORT}, inet_aton('127.0.0.1'))) or die "connect: $!";
    my $line = <$c>; alarm(0); defined $line ? $line : die "cut"
  }};
  print(defined $said ? $said : "GAP $@");
  select(undef, undef, undef, {EVERY});
}}
"""


def surging(version: str, *, broken: bool = False) -> Document:
    command = "/bin/false" if broken else "/usr/bin/perl /opt/surge/agent.pl"
    unit = f"[Service]\nEnvironment=AGENT_VERSION={version}\nExecStart={command}\n"
    spec = daemonset(
        "surge",
        {"systemd": {"unit": unit}},
        api="fleetd/v1",
        max_unavailable=0,
        min_ready=MIN_READY,
        annotations={"fleetd/progress-deadline-seconds": "8"},
    )
    spec["spec"]["updateStrategy"]["rollingUpdate"]["maxSurge"] = 1
    return spec


def install(host: Host) -> None:
    """The programs, and nothing of an earlier test."""
    for name, text in (("agent", AGENT), ("client", CLIENT)):
        script = f"cat >/opt/surge/{name}.pl <<'END'\n{dedent(text)}\nEND"
        host.sh(f"mkdir -p /opt/surge; rm -f {LOG} {SAMPLES}\n{script}")


def sample(host: Host) -> None:
    """Let a client connect again and again, on the host itself."""
    host.sh("systemd-run --quiet --collect --unit=surge-client perl /opt/surge/client.pl")


def lives(host: Host) -> list[tuple[str, str, float]]:
    """Version, start or stop, uptime of the host: in the order in which they were noted."""
    lines = [line.split() for line in host.sh(f"cat {LOG}").stdout.splitlines()]
    return [(version, event, float(at)) for version, event, at in lines]


@pytest.fixture
def surge(admin: Admin) -> Admin:
    for host in admin.fleet.hosts.values():
        host.sh("systemctl stop surge-client", check=False)
        install(host)
    return admin


def test_old_and_new_together_then_new_alone_and_never_a_gap(surge: Admin) -> None:
    surge.apply(surging("v1"))
    hosts = list(surge.fleet.hosts.values())
    for host in hosts:
        sample(host)
    surge.apply(surging("v2"))
    for host in hosts:
        host.sh("systemctl stop surge-client")
        events = lives(host)
        assert [(version, event) for version, event, _ in events] == [
            ("v1", "start"),
            ("v2", "start"),
            ("v1", "stop"),
        ]
        (_, began, ended) = [at for *_, at in events]
        assert ended - began >= MIN_READY
        answers = host.sh(f"cat {SAMPLES}").stdout.splitlines()
        assert [line for line in answers if line.startswith("GAP")] == []
        first = answers.index("v2")
        last = len(answers) - 1 - answers[::-1].index("v1")
        # Alone, then both for at least minReadySeconds, then the new one alone.
        assert 0 < first < last < len(answers) - 1
        assert (last - first) * EVERY <= (ended - began) + 1
        assert {answer for answer, _ in groupby(answers)} == {"v1", "v2"}
    assert surge.reconcile().did == []


def test_a_broken_new_copy_leaves_the_old_one_alone(surge: Admin) -> None:
    surge.apply(surging("v1"))
    surge.apply(surging("v2", broken=True), code=3)
    for host in surge.fleet.hosts.values():
        assert [(version, event) for version, event, _ in lives(host)] == [("v1", "start")]
    surge.fleetd("rollout", "undo", "ds/surge")
    for host in surge.fleet.hosts.values():
        assert [(version, event) for version, event, _ in lives(host)] == [("v1", "start")]
        shown = host.sh("systemctl list-units --all --plain --no-legend 'fleetd-*.service'").stdout
        assert len(shown.splitlines()) == 1


def test_copies_run_under_a_taint_for_as_long_as_they_tolerate_it(admin: Admin) -> None:
    seconds = 12
    toleration = {
        "key": "repair",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": seconds,
    }
    spec = unit_agent(pod={"tolerations": [toleration]}, max_unavailable=2)
    admin.apply(spec)
    admin.fleetd("taint", NAMES[0], "repair:NoExecute")
    tainted = boottime()
    assert admin.reconcile().did == []
    done: list[tuple[str, str]] = []
    while not done:
        assert boottime() < tainted + 60
        done = admin.reconcile().did
    assert done == [(NAMES[0], "remove")]
    (life,) = admin.timeline(hosts=NAMES[:1]).runs[NAMES[0]]
    assert life.end >= tainted + seconds - 1
    assert admin.reconcile().did == []
    admin.fleetd("taint", NAMES[0], "repair-")
    assert admin.reconcile().did == [(NAMES[0], "start")]


def test_a_pod_deleted_by_hand_is_replaced_under_on_delete(admin: Admin) -> None:
    def agent(version: str) -> Document:
        spec = unit_agent(version=version)
        spec["spec"]["updateStrategy"] = {"type": "OnDelete"}
        return spec

    admin.apply(agent("v1"))
    admin.apply(agent("v2"))
    admin.fleetd("delete", "pod", f"agent-{NAMES[0]}")
    admin.reconcile()
    timeline = admin.timeline()
    assert [timeline.versions(name) for name in NAMES] == [["v1", "v2"], ["v1"]]
