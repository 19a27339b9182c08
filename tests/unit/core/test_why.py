from __future__ import annotations

from dataclasses import replace

import pytest

from fleetd.core.node import Node
from fleetd.core.plan import plan
from fleetd.core.why import explain
from fleetd.core.world import SetState
from tests.unit.core.worlds import AGENT, NOW, daemonset, hosts, node, record, world

STATE = SetState(
    daemonset(template={"nodeSelector": {"role": "web"}}),
    "r2",
    record("r2", finished=1),
    failures={"n2": "pull: no such image"},
)
WEB = {"role": "web"}


def lines(words: str, name: str, first: Node | None = None) -> str:
    names = [f"n{index}" for index in range(len(words.split()))]
    nodes = [node(each, labels=WEB) for each in names]
    if first is not None:
        nodes[0] = first
    what = world(hosts(words), STATE, nodes=tuple(nodes))
    return "\n".join(explain(name, AGENT, what, plan(what, NOW), NOW))


@pytest.mark.parametrize(
    ("words", "name", "first", "expected"),
    [
        pytest.param("new", "n0", None, "eligible: yes", id="eligible"),
        pytest.param("new", "n0", None, "decision: keep (UpToDate)", id="kept"),
        pytest.param("-", "n0", None, "copy: none", id="no-copy"),
        pytest.param(
            "-",
            "n0",
            node("n0"),
            "eligible: no, nodeSelector role=web does not match",
            id="label",
        ),
        pytest.param(
            "new",
            "n0",
            node("n0", "a=b:NoSchedule", labels=WEB),
            "no, taint a=b:NoSchedule is not tolerated; a copy that is there may stay",
            id="taint",
        ),
        pytest.param(
            "-",
            "n0",
            node("n0", unknown_labels=frozenset({"role"})),
            "eligible: not known yet, label role has not been observed yet",
            id="label-unknown",
        ),
        pytest.param("?", "n0", None, "host: Unreachable: connection timed out", id="silent"),
        pytest.param(
            "new", "n0", node("n0", labels=WEB, held=True), "the node is on hold (Held)", id="held"
        ),
        pytest.param(
            "old! old",
            "n1",
            None,
            "decision: wait (NoSlot): maxUnavailable is 1, down: n0",
            id="waits-for-a-slot",
        ),
        pytest.param("new%", "n0", None, "copy: disabled: fleetd-default.agent", id="damage"),
        pytest.param("new new old!", "n2", None, "last failure: pull: no such image", id="failure"),
        pytest.param("new", "n0", None, "rollout: revision r2, RolloutComplete", id="rollout"),
    ],
)
def test_why(words: str, name: str, first: Node | None, expected: str) -> None:
    assert expected in lines(words, name, first)


def test_nothing_to_say_of_what_is_not_there() -> None:
    what = world(hosts("new"), STATE)
    result = plan(what, NOW)
    other = replace(STATE, daemonset=daemonset("other")).key
    assert explain("n9", AGENT, what, result, NOW) == ()
    assert explain("n0", other, what, result, NOW) == ()
