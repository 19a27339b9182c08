"""Every verb works the same with and without the service: what is asked for, and what there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from fleetd.client import Change, Client, Edited, Marks, Query, RunOptions
from fleetd.core.key import Key
from fleetd.errors import InvalidInput, NotFound, Refused
from fleetd.testing.fleet import Fault
from tests.contract.forms import HOSTS, World
from tests.contract.stories import (
    AGENT,
    UNIT,
    Heard,
    Play,
    agent,
    applied,
    daemonset,
    image_of,
    unwatched,
)


def test_each_verb_of_the_client_is_in_this_suite() -> None:
    verbs = {name for name, _ in inspect.getmembers(Client, inspect.isfunction)}
    verbs -= {name for name in verbs if name.startswith("_")}
    suite = "".join(path.read_text() for path in Path(__file__).parent.glob("test_client*.py"))
    named = set(re.findall(r"\bclient\.(\w+)\(", suite))
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
