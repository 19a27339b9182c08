"""`drain`, `uncordon` and the pods of `delete`."""

from __future__ import annotations

import pytest

from fleetd.client import Change, Report, RunOptions
from fleetd.core.key import Key
from tests.unit.cli.conftest import CommandLine
from tests.unit.cli.shapes import daemonset, node, pod


def on(name: str, host: str) -> dict[str, object]:
    item = pod(f"{name}-{host}")
    item["spec"]["nodeName"] = host
    item["metadata"]["ownerReferences"] = [{"kind": "DaemonSet", "name": name}]
    return item


@pytest.fixture(autouse=True)
def objects(fleetd: CommandLine) -> None:
    empty, labelled = node("empty"), node("rack")
    labelled["metadata"]["labels"] = {"rack": "a"}
    fleetd.client.objects = {
        "nodes": [node("web-01"), empty, labelled],
        "pods": [on("ne", "web-01"), on("logs", "web-01")],
        "daemonsets": [daemonset("ne")],
    }


@pytest.mark.parametrize("rule", ["K183"])
def test_a_node_with_agents_is_cordoned_and_refused(fleetd: CommandLine, rule: str) -> None:
    ended = fleetd("drain", "web-01")
    assert (ended.code, ended.out) == (3, "node/web-01 cordoned\n")
    assert "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets" in ended.err
    assert ended.err.endswith("default/ne-web-01, default/logs-web-01\n")


@pytest.mark.parametrize("rule", ["K183"])
def test_agents_may_be_left_running(fleetd: CommandLine, rule: str) -> None:
    flags = ["--ignore-daemonsets", "--delete-emptydir-data", "--force"]
    ended = fleetd("drain", "web-01", *flags)
    assert (ended.code, ended.out) == (0, "node/web-01 cordoned\nnode/web-01 drained\n")
    assert ended.err == (
        "Warning: ignoring DaemonSet-managed Pods: default/ne-web-01, default/logs-web-01\n"
    )


def test_a_node_without_agents_needs_no_flag(fleetd: CommandLine) -> None:
    ended = fleetd("drain", "node/empty")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "node/empty cordoned\nnode/empty drained\n"


def test_agents_go_when_asked_and_are_waited_for(fleetd: CommandLine) -> None:
    fleetd.client.report = Report(
        changes=(
            Change("Node", "", "web-01", "configured"),
            Change("Node", "", "empty", "unchanged"),
        )
    )
    ended = fleetd("drain", "web-01", "empty", "--evict-daemonsets", "--timeout", "5m")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "node/web-01 cordoned",
        "node/empty already cordoned",
        "node/web-01 drained",
        "node/empty drained",
    ]
    options = RunOptions(timeout_s=300.0)
    assert fleetd.client.calls == [("drain", ("web-01", "empty"), options, True)]
    assert [mutating for _, mutating in fleetd.opener.opened] == [True]


def test_a_node_that_still_has_agents_is_not_drained(fleetd: CommandLine) -> None:
    fleetd.client.report = Report(
        changes=(Change("Node", "", "web-01", "configured"),),
        holders={"default/ne": {"web-01": "unreachable: no route to host"}},
        converged=False,
    )
    ended = fleetd("drain", "web-01", "empty", "--evict-daemonsets")
    assert ended.code == 3
    assert "node/web-01 drained" not in ended.out
    assert "node/empty drained" in ended.out
    assert "unreachable: no route to host (1): web-01" in ended.out


@pytest.mark.parametrize("flag", ["--ignore-daemonsets", "--evict-daemonsets"])
def test_a_dry_drain_does_nothing(fleetd: CommandLine, flag: str) -> None:
    fleetd("drain", "web-01", flag, "--dry-run")
    assert [mutating for _, mutating in fleetd.opener.opened] == [False]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "name nodes, or choose them with -l SELECTOR"),
        (["web-01", "-l", "a=b"], "names and a selector do not go together"),
        (["web-01", "--ignore-daemonsets", "--evict-daemonsets"], "--ignore-daemonsets leaves"),
        (["nobody"], 'nodes "nobody" not found'),
        (["-l", "rack=z"], "no node has labels that match rack=z"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_drained(fleetd: CommandLine, argv: list[str], message: str) -> None:
    ended = fleetd("drain", *argv)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err


@pytest.mark.parametrize("verb", ["cordon", "uncordon"])
def test_nodes_are_chosen_by_labels(fleetd: CommandLine, verb: str) -> None:
    assert fleetd(verb, "-l", "rack=a").out == f"node/rack {verb}ed\n"
    assert fleetd(verb, "node", "web-01", "empty").out == (
        f"node/web-01 {verb}ed\nnode/empty {verb}ed\n"
    )


def test_uncordon_brings_back_what_a_drain_took_away(fleetd: CommandLine) -> None:
    taint = {"key": "fleetd/drained", "effect": "NoExecute"}
    fleetd.client.objects["nodes"] = [node("web-01", taints=[taint]), node("empty")]
    fleetd.client.report = Report(changes=(Change("Node", "", "web-01", "configured"),))
    ended = fleetd("uncordon", "web-01", "empty")
    assert (ended.code, ended.out) == (0, "node/empty uncordoned\nnode/web-01 uncordoned\n")
    assert fleetd.client.calls[-1] == ("drain", ("web-01",), RunOptions(), False)


# ----------------------------------------------------------------------------------------- pods


def test_a_deleted_pod_is_made_anew_and_waited_for(fleetd: CommandLine) -> None:
    ended = fleetd("delete", "pod", "ne-web-01", "logs-web-01")
    assert ended.code == 0
    assert ended.out == 'pod "ne-web-01" deleted\npod "logs-web-01" deleted\n'
    assert [call for call in fleetd.client.calls if call[0] != "get"] == [
        ("delete pod", Key("default", "ne"), "web-01"),
        ("delete pod", Key("default", "logs"), "web-01"),
        ("status", "default", "ne", RunOptions()),
        ("status", "default", "logs", RunOptions()),
    ]


def test_pods_are_deleted_by_labels_and_left_alone(fleetd: CommandLine) -> None:
    ended = fleetd("delete", "pods", "-l", "controller-revision-hash=7d9f", "--wait=false")
    assert ended.out.count("deleted") == 2
    assert [call[0] for call in fleetd.client.calls if call[0] != "get"] == ["delete pod"] * 2


def test_a_dry_run_deletes_no_pod(fleetd: CommandLine) -> None:
    ended = fleetd("delete", "pod/ne-web-01", "--dry-run=client")
    assert (ended.code, ended.out) == (4, 'pod "ne-web-01" deleted (dry run)\n')
    assert [mutating for _, mutating in fleetd.opener.opened] == [False]


@pytest.mark.parametrize("flags", [[], ["--ignore-not-found"]], ids=["error", "ignored"])
def test_a_pod_that_is_not_there(fleetd: CommandLine, flags: list[str]) -> None:
    ended = fleetd("delete", "pod", "gone", *flags)
    assert (ended.code, ended.out) == (0 if flags else 2, "")
    assert 'pods "gone" not found' in ended.err


@pytest.mark.parametrize(
    "cascade", ["background", "foreground", "orphan"], ids=lambda word: f"K182-{word}"
)
def test_copies_go_with_their_set_as_asked(fleetd: CommandLine, cascade: str) -> None:
    fleetd("delete", "ds", "--all", f"--cascade={cascade}")
    names = (("daemonsets", "default", "ne"),)
    assert fleetd.client.calls[-1] == ("delete", names, (), cascade, RunOptions())
