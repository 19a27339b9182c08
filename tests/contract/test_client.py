"""Every verb works the same with and without the service: one suite, two forms of the client."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fleetd.client import (
    Change,
    Client,
    Edited,
    LogQuery,
    Marks,
    Query,
    RunOptions,
    Shape,
)
from fleetd.core.key import Key
from fleetd.errors import FleetdError, InvalidInput, NotFound, Refused
from fleetd.testing.fleet import Fault
from fleetd.testing.store import FakeStore
from tests.contract.forms import HOSTS, World, play
from tests.unit.api.archives import config, docker_files, identity, write

AGENT = Key("default", "agent")
UNIT = "fleetd-default.agent.main.a.service"
Play = Callable[..., None]


@pytest.fixture(params=["in-process", "verbs", "service"])
def tell(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """In this process, through a socket to the same, and to a whole service with its loop."""
    return partial(play, request.param, tmp_path)


@pytest.fixture(params=["in-process", "verbs"])
def tell_alone(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Where nothing is done to hosts but what is asked for."""
    return partial(play, request.param, tmp_path)


def agent(version: str = "1", more: str = "") -> str:
    return f"""\
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: agent
  labels: {{team: a}}
spec:
  selector: {{matchLabels: {{app: agent}}}}
  minReadySeconds: 1
  updateStrategy: {{rollingUpdate: {{maxUnavailable: 3}}}}
  template:
    metadata: {{labels: {{app: agent}}}}
    spec:
      containers:
      - name: main
        image: registry.example/agent:{version}
{more}"""


class Heard:
    """Progress, as it comes."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, Any]]] = []

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        self.events.append((event, fields))

    def named(self, event: str) -> list[Mapping[str, Any]]:
        return [fields for name, fields in self.events if name == event]


def unwatched(event: str, fields: Mapping[str, Any]) -> None:
    """Nobody looks."""


async def applied(client: Client, world: World, text: str | None = None) -> None:
    path = world.write("agent.yaml", agent() if text is None else text)
    report = await client.apply([path], RunOptions(), unwatched)
    assert report.converged, report


async def daemonset(client: Client) -> Shape:
    (shape,) = await client.get("daemonsets", Query(name="agent"))
    return shape


def image_of(shape: Shape) -> str:
    image = shape["spec"]["template"]["spec"]["containers"][0]["image"]
    assert isinstance(image, str)
    return image


def test_each_verb_of_the_client_is_in_this_suite() -> None:
    verbs = {name for name, _ in inspect.getmembers(Client, inspect.isfunction)}
    verbs -= {name for name in verbs if name.startswith("_")}
    named = set(re.findall(r"\bclient\.(\w+)\(", Path(__file__).read_text()))
    assert verbs - named == set()


def test_apply_brings_a_daemonset_about_and_tells_how(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        heard = Heard()
        path = world.write("agent.yaml", agent())
        report = await client.apply([path], RunOptions(), heard)
        assert report.converged
        assert report.changes == (
            Change("DaemonSet", "default", "agent", "created", report.changes[0].diff),
        )
        assert {entry.node: entry.outcome for entry in report.entries} == dict.fromkeys(
            HOSTS, "done"
        )
        assert report.daemonsets[0]["status"]["numberAvailable"] == 3
        assert [fields["changes"] for fields in heard.named("applied")] == [report.changes]
        assert {fields["node"] for fields in heard.named("action_ended")} == set(HOSTS)
        assert heard.named("decided")
        again = await client.apply([path], RunOptions(), unwatched)
        assert [change.verb for change in again.changes] == ["unchanged"]

    tell(story)


def test_documents_come_from_the_callers_stdin(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        report = await client.apply(["-"], RunOptions(wait=False), unwatched)
        assert [change.name for change in report.changes] == ["agent"]

    tell(story, stdin=agent().encode())


def test_apply_in_a_dry_run_changes_nothing(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        path = world.write("agent.yaml", agent())
        report = await client.apply([path], RunOptions(dry_run=True), unwatched)
        assert {entry.outcome for entry in report.entries} == {"planned"}
        assert await client.get("daemonsets", Query(name="agent")) == []

    tell(story)


def test_apply_prunes_what_its_set_held_before(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        def settings(name: str) -> str:
            notes = "annotations: {fleetd/set: a}"
            return f"{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}, {notes}}}}}\n"

        both = world.write("both.yaml", settings("x") + "---\n" + settings("y"))
        await client.apply([both], RunOptions(), unwatched)
        one = world.write("one.yaml", settings("x"))
        report = await client.apply([one], RunOptions(), unwatched, prune=True)
        assert [(each.name, each.verb) for each in report.changes] == [
            ("x", "unchanged"),
            ("y", "pruned"),
        ]

    tell(story)


def test_what_is_wrong_with_a_document_is_told_at_its_file_and_line(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        wrong = agent().replace("minReadySeconds: 1", "minReadySeconds: -1\n  minReady: 1")
        path = world.write("agent.yaml", wrong)
        asks = [
            client.validate([path]),
            client.diff([path]),
            client.apply([path], RunOptions(), unwatched),
            client.delete([], [path], "background", RunOptions(), unwatched),
        ]
        for ask in asks:
            with pytest.raises(InvalidInput) as caught:
                await ask
            told = [(each.source, each.line, each.path) for each in caught.value.problems]
            assert told == [(path, 8, "spec.minReadySeconds"), (path, 9, "spec.minReady")]
            assert caught.value.problems[1].hint
            assert caught.value.exit_code == 2

    tell(story)


def test_what_only_the_state_can_refuse_is_told_at_its_file_and_line(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        await applied(client, world)
        other = agent().replace("matchLabels: {app: agent}", "matchLabels: {app: other}")
        other = other.replace(
            "metadata: {labels: {app: agent}}", "metadata: {labels: {app: other}}"
        )
        path = world.write("again.yaml", f"# a comment\n---\n{other}")
        with pytest.raises(InvalidInput) as caught:
            await client.diff([path])
        assert [(each.source, each.line, each.path) for each in caught.value.problems] == [
            (path, 9, "spec.selector")
        ]

    tell(story)


def test_local_files_are_folded_in_where_the_document_is(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        world.write("settings.conf", "a = 1\n")
        document = """\
apiVersion: fleetd/v1
kind: DaemonSet
metadata: {name: unit}
spec:
  template:
    spec:
      systemd:
        unit: |
          [Service]
          ExecStart=/bin/sleep infinity
        files:
        - {path: /etc/unit.conf, source: settings.conf}
"""
        path = world.write("unit.yaml", document)
        await client.apply([path], RunOptions(wait=False), unwatched)
        (shape,) = await client.get("daemonsets", Query(name="unit"))
        (file,) = shape["spec"]["template"]["spec"]["systemd"]["files"]
        assert (file["content"], file.get("source")) == ("a = 1\n", None)

    tell(story)


def test_validate_names_objects_and_notes(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        path = world.write("agent.yaml", agent("1", "      automountServiceAccountToken: true\n"))
        names, notes = await client.validate([path])
        assert names == ("daemonset/agent",)
        assert [note.partition(" seems to")[0] for note in notes if "Kubernetes API" in note] == [
            f"{path}:12: spec.template.spec:"
        ]

    tell(story)


def test_diff_shows_what_apply_would_change(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        await applied(client, world)
        path = world.write("next.yaml", agent("2"))
        (change,) = await client.diff([path])
        assert change.verb == "configured"
        assert "+        image: registry.example/agent:2" in change.diff.replace("-   ", "    ")
        assert image_of(await daemonset(client)) == "registry.example/agent:1"

    tell(story)


def test_get_gives_every_kind(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: hush}\n"
        settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {k: v}\n"
        await applied(client, world, f"{agent()}---\n{secret}---\n{settings}")
        every = Query(namespace=None)
        assert [each["kind"] for each in await client.get("pods", every)] == ["Pod"] * 3
        names = [each["metadata"]["name"] for each in await client.get("nodes", every)]
        assert names == list(HOSTS)
        assert len(await client.get("controllerrevisions", every)) == 1
        assert await client.get("events", every)
        (found,) = await client.get("secrets", every)
        assert found["data"] == {"k": "aHVzaA=="}
        (found,) = await client.get("configmaps", every)
        assert found["data"] == {"k": "v"}
        with pytest.raises(InvalidInput, match="there is no kind 'things' here"):
            await client.get("things", every)

    tell(story)


def test_get_looks_at_the_hosts_when_asked(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        await applied(client, world)
        await client.hold("h2", on=True)  # so that nobody mends it
        world.fleet.hosts["h2"].stop(UNIT)
        (before,) = await client.get("daemonsets", Query(name="agent"))
        (now,) = await client.get("daemonsets", Query(name="agent", refresh=True))
        assert now["status"]["numberReady"] == 2
        # A service may have seen it by itself.
        assert before["status"]["numberReady"] in ({2, 3} if client.apart else {3})

    tell(story)


def test_describe_tells_of_a_thing_and_knows_when_there_is_none(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        await applied(client, world)
        text = await client.describe("daemonsets", Query(name="agent"))
        assert "registry.example/agent:1" in text
        assert "h2" in await client.describe("nodes", Query(namespace=None, name="h2"))
        with pytest.raises(NotFound) as caught:
            await client.describe("daemonsets", Query(name="other"))
        assert caught.value.exit_code == 2

    tell(story)


def test_history_undo_and_restart(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        await applied(client, world)
        await applied(client, world, agent("2"))
        known = await client.history("default", "agent")
        assert [(each.number, each.current) for each in known] == [(1, False), (2, True)]
        assert known[1].template["spec"]["containers"][0]["image"] == "registry.example/agent:2"
        heard = Heard()
        report = await client.undo("default", "agent", 0, RunOptions(), heard)
        assert report.converged
        assert [each.verb for each in heard.named("applied")[0]["changes"]] == ["configured"]
        assert image_of(await daemonset(client)) == "registry.example/agent:1"
        report = await client.restart("default", "agent", RunOptions(), unwatched)
        assert {each.decision for each in report.entries if each.outcome == "done"} == {"update"}
        with pytest.raises(NotFound):
            await client.history("default", "other")
        with pytest.raises(NotFound):
            await client.undo("default", "agent", 77, RunOptions(), unwatched)

    tell(story)


def test_rollout_status_waits_or_tells(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        path = world.write("agent.yaml", agent())
        await client.apply([path], RunOptions(wait=False), unwatched)
        options = RunOptions(wait=False)
        standing = await client.rollout_status("default", "agent", options, unwatched)
        assert not standing.converged
        ended = await client.rollout_status("default", "agent", RunOptions(), unwatched)
        assert ended.converged
        standing = await client.rollout_status("default", "agent", options, unwatched)
        assert standing.converged

    tell(story)


def test_a_paused_rollout_waits_until_it_is_resumed(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        await applied(client, world)
        assert await client.pause(AGENT) == "daemonset.apps/agent paused"
        assert await client.pause(AGENT) == "daemonset.apps/agent already paused"
        path = world.write("next.yaml", agent("2"))
        report = await client.apply([path], RunOptions(), unwatched)
        assert not report.converged
        assert [problem for problem in report.problems if "the rollout is paused" in problem]
        assert await client.resume(AGENT) == "daemonset.apps/agent resumed"
        ended = await client.rollout_status("default", "agent", RunOptions(), unwatched)
        assert ended.converged

    tell(story)


def test_a_deleted_pod_is_made_anew(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        await applied(client, world)
        assert await client.delete_pod(AGENT, "h2") == 'pod "agent-h2" deleted'
        report = await client.reconcile(RunOptions(), unwatched)
        assert {each.node for each in report.entries if each.outcome == "done"} == {"h2"}
        with pytest.raises(NotFound):
            await client.delete_pod(AGENT, "h9")

    tell(story)


def test_reconcile_puts_right_what_went_wrong_on_hosts(tell_alone: Play) -> None:
    async def story(client: Client, world: World) -> None:
        await applied(client, world)
        world.fleet.hosts["h1"].stop(UNIT)
        heard = Heard()
        report = await client.reconcile(RunOptions(timeout_s=120.0), heard)
        assert report.converged
        assert [(each.node, each.decision) for each in report.entries if each.outcome] == [
            ("h1", "repair")
        ]
        assert [fields["node"] for fields in heard.named("action_started")] == ["h1"]

    tell_alone(story)


def test_a_host_that_does_not_answer_is_named(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        world.fleet.fault("h3", Fault(unreachable=True))
        path = world.write("agent.yaml", agent())
        report = await client.apply([path], RunOptions(timeout_s=60.0), unwatched)
        assert not report.converged
        assert [each.node for each in report.entries if each.decision == "unknown"] == ["h3"]

    tell(story)


def test_delete_takes_objects_and_their_copies_away(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        await applied(client, world)
        heard = Heard()
        names = [("daemonsets", "default", "agent")]
        report = await client.delete(names, [], "background", RunOptions(), heard)
        assert report.changes == (Change("DaemonSet", "default", "agent", "deleted"),)
        assert {each.decision for each in report.entries if each.outcome} == {"remove"}
        assert await client.get("pods", Query()) == []
        with pytest.raises(NotFound):
            await client.delete(names, [], "background", RunOptions(), unwatched)

    tell(story)


def test_delete_takes_what_documents_name(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        await applied(client, world)
        path = world.write("agent.yaml", agent())
        report = await client.delete([], [path], "orphan", RunOptions(), unwatched)
        assert [change.name for change in report.changes] == ["agent"]
        assert UNIT in world.fleet.hosts["h1"].units

    tell(story)


def test_an_edited_document_takes_the_place_of_an_object(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        await applied(client, world)
        version = (await daemonset(client))["metadata"]["resourceVersion"]
        path = world.write("edited.yaml", agent("2"))
        report = await client.edit(
            "daemonsets", AGENT, Edited(path, version), RunOptions(), unwatched
        )
        assert [change.verb for change in report.changes] == ["configured"]
        assert image_of(await daemonset(client)) == "registry.example/agent:2"
        with pytest.raises(Refused, match="changed by somebody else meanwhile"):
            await client.edit("daemonsets", AGENT, Edited(path, version), RunOptions(), unwatched)
        two = world.write("two.yaml", f"{agent()}---\n{agent().replace('name: agent', 'name: b')}")
        with pytest.raises(InvalidInput, match=f"an edit is of one object; {two} holds 2"):
            await client.edit("daemonsets", AGENT, Edited(two, version), RunOptions(), unwatched)

    tell(story)


def test_labels_and_annotations(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        await applied(client, world)
        text = await client.mark("daemonsets", AGENT, Marks("labels", ("tier=x", "team-")))
        assert text == "daemonset.apps/agent labeled"
        assert (await daemonset(client))["metadata"]["labels"] == {"tier": "x"}
        await client.mark("nodes", Key("", "h1"), Marks("labels", ("rack=1",)), dry_run=True)
        await client.mark("nodes", Key("", "h2"), Marks("labels", ("rack=2",)))
        nodes = await client.get("nodes", Query(namespace=None))
        racks = {each["metadata"]["name"]: each["metadata"]["labels"].get("rack") for each in nodes}
        assert racks == {"h1": None, "h2": "2", "h3": None}
        with pytest.raises(Refused, match="overwrite"):
            await client.mark("nodes", Key("", "h2"), Marks("labels", ("rack=3",)))

    tell(story)


def test_nodes_are_cordoned_held_tainted_and_drained(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        await applied(client, world)
        assert await client.cordon("h1", on=True) == "node/h1 cordoned"
        assert await client.cordon("h1", on=False) == "node/h1 uncordoned"
        assert "h1" in await client.hold("h1", on=True)
        assert "h1" in await client.hold("h1", on=False)
        assert "h2" in await client.taint("h2", ["a=b:NoSchedule", "c:NoExecute"])
        assert "h2" in await client.taint("h2", ["a-", "c-"])
        with pytest.raises(InvalidInput):
            await client.taint("h2", ["a=b:Sometimes"])
        with pytest.raises(NotFound):
            await client.cordon("h9", on=True)
        report = await client.drain(["h3"], RunOptions(), unwatched, on=True)
        assert report.converged
        assert {each["spec"]["nodeName"] for each in await client.get("pods", Query())} == {
            "h1",
            "h2",
        }
        report = await client.drain(["h3"], RunOptions(), unwatched, on=False)
        assert [change.verb for change in report.changes] == ["configured"]
        assert len(await client.get("pods", Query())) == 3

    tell(story)


def test_why_explains_a_node(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        await applied(client, world)
        await client.taint("h1", ["gpu=yes:NoExecute"])
        (text,) = await client.why("h1", ("default", "agent"))
        assert "gpu=yes:NoExecute" in text
        assert await client.why("h2", None)
        with pytest.raises(NotFound):
            await client.why("h9", None)

    tell(story)


def test_logs_of_all_copies_come_as_lines(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        await applied(client, world)
        lines = [line async for line in client.logs(LogQuery("ds/agent"))]
        assert {node for node, _ in lines} == set(HOSTS)
        one = [line async for line in client.logs(LogQuery("agent-h2"))]
        assert one == [line for line in lines if line[0] == "h2"]
        with pytest.raises(NotFound, match="no copy of agent-h9"):
            await anext(aiter(client.logs(LogQuery("agent-h9"))))

    tell(story)


def test_exec_hands_on_bytes_and_the_status(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        said = bytearray()

        def write(data: bytes, stderr: bool) -> None:
            assert not (stderr and data)
            said.extend(data)

        assert await client.exec("h2", "default", ["hostname"], write) == 0
        assert await client.exec("node/h2", "default", ["exit", "7"], write) == 7
        assert await client.exec("h1", "default", ["echo", "\udcff\udcfe"], write) == 0
        assert await client.exec("h1", "default", ["yes", "100000"], write) == 0
        assert bytes(said) == b"h2\n\xff\xfe\n" + b"y\n" * 100_000
        world.fleet.fault("h3", Fault(unreachable=True))
        with pytest.raises(FleetdError, match="it may or may not have run"):
            await client.exec("h3", "default", ["hostname"], write)
        with pytest.raises(NotFound):
            await client.exec("h9", "default", ["hostname"], write)

    tell(story)


def test_enroll_shows_keys_and_pins_them(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        rows = await client.enroll(["h1"], every=False, accept=False, progress=unwatched)
        assert rows[0][0] == "h1"
        assert "SHA256:h1" in rows[0][1]
        assert world.keys.pinned == {}
        heard = Heard()
        rows = await client.enroll([], every=True, accept=True, progress=heard)
        assert [host for host, _ in rows] == list(HOSTS)
        assert set(world.keys.pinned) == set(HOSTS)

    tell(story)


def test_an_image_archive_is_brought_to_hosts(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        path = write(world.place / "a.tar", docker_files(["example/agent:v1"], config()))
        heard = Heard()
        report = await client.push_image(str(path), ["h1", "h3"], heard)
        assert report.converged
        assert f"docker.io/example/agent:v1 is {identity(config())} (linux/amd64)" in report.notes
        assert {"h1: pushed", "h3: pushed"} <= set(report.notes)
        assert {fields["node"] for fields in heard.named("image_pushed")} == {"h1", "h3"}
        report = await client.push_image(str(path), [], unwatched)
        assert {"h1: there already", "h2: pushed"} <= set(report.notes)

    tell(story)


def test_an_archive_that_is_none_is_named_as_the_caller_named_it(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        path = world.write("a.tar", "no tar")
        with pytest.raises(InvalidInput, match="is no tar archive") as caught:
            await client.push_image(path, [], unwatched)
        assert [problem.source for problem in caught.value.problems] == [path]
        gone = str(world.place / "gone.tar")
        with pytest.raises(InvalidInput, match="No such file") as caught:
            await client.push_image(gone, [], unwatched)
        assert [problem.source for problem in caught.value.problems] == [gone]

    tell(story)


def test_a_lost_state_is_adopted(tell_alone: Play) -> None:
    async def story(client: Client, world: World) -> None:
        await applied(client, world)
        world.store = FakeStore()
        report = await client.adopt(unwatched)
        assert report.converged
        before = [host.history[:] for host in world.fleet.hosts.values()]
        await applied(client, world)
        assert [host.history for host in world.fleet.hosts.values()] == before
        with pytest.raises(Refused, match="this one is not empty"):
            await client.adopt(unwatched)

    tell_alone(story)


def test_reconcile_of_a_settled_fleet_does_nothing_and_says_how_it_stands(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        await applied(client, world)
        asked = len(world.fleet.calls)
        report = await client.reconcile(RunOptions(), unwatched)
        assert report.converged
        assert [each for each in report.entries if each.outcome] == []
        # A pass that was asked for looks at every host, whatever is known already.
        assert {call.name for call in world.fleet.calls[asked:]} == set(HOSTS)
        planned = await client.reconcile(RunOptions(dry_run=True), unwatched)
        assert planned.entries == ()

    tell(story)


def test_a_host_is_purged(tell: Play) -> None:
    async def story(client: Client, world: World) -> None:
        await applied(client, world)
        heard = Heard()
        report = await client.purge("h2", heard)
        assert report.converged
        assert UNIT not in world.fleet.hosts["h2"].units
        with pytest.raises(NotFound):
            await client.purge("h9", unwatched)

    tell(story)
