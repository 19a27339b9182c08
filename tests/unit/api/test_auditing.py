"""What ends up in the audit: who, what, where, which revision, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fleetd.api import delete, reading
from fleetd.api.reading import SOURCES
from fleetd.api.rehearsal import Rehearsal
from fleetd.api.reports import Query, RunOptions
from fleetd.api.running import check_sources, run
from fleetd.core.actions import Reason, Skipped
from fleetd.core.meta import Key
from fleetd.core.records import AuditRecord, Setting
from fleetd.engine.held import Pace
from fleetd.engine.memory import Memory
from fleetd.errors import FleetdError, NotFound
from fleetd.ports import Put, R
from fleetd.testing import loop
from fleetd.testing.fleet import LOST_AFTER, Fault
from fleetd.testing.store import FakeStore
from tests.contract.forms import FastLoop, World
from tests.sim.harness import AGENT, Sim, agent, unwatched
from tests.unit.api.desk import Desk, config, daemonset, env_from

WEB = Key("default", "web")


def entries(desk: Desk, verb: str) -> list[tuple[str, str, str]]:
    rows = desk.store.read(AuditRecord, verb=verb)
    return [(row.subject, row.revision, row.detail) for row in rows]


def test_an_apply_tells_what_became_of_each_object_and_its_revision(desk: Desk) -> None:
    uses = env_from("ConfigMap", "conf", "COLOUR")
    desk.apply(config(COLOUR="red"), daemonset(more=uses))
    first = desk.current().revision
    assert entries(desk, "apply") == [
        ("ConfigMap default/conf", "", "created"),
        ("DaemonSet default/web", first, "created"),
    ]
    desk.now += 1
    desk.apply(config(COLOUR="red"), daemonset(more=uses))
    assert len(entries(desk, "apply")) == 2, "nothing changed"
    desk.apply(config(COLOUR="blue"))
    assert entries(desk, "apply")[2:] == [
        ("ConfigMap default/conf", "", "configured"),
        ("DaemonSet default/web", desk.current().revision, "follows what it refers to"),
    ]
    assert desk.current().revision != first


def test_verbs_of_a_rollout_name_the_revision_that_they_make(desk: Desk) -> None:
    desk.apply(daemonset(image="web:1"))
    first = desk.current().revision
    desk.now += 1
    desk.apply(daemonset(image="web:2"))
    desk.now += 1
    desk.undo()
    assert entries(desk, "undo") == [("DaemonSet default/web", first, "configured; to revision 1")]
    desk.now += 1
    again = desk.restart().revision
    assert entries(desk, "restart") == [("DaemonSet default/web", again, "configured")]
    assert again != first


@pytest.mark.parametrize("cascade", ["background", "foreground", "orphan"])
def test_a_delete_tells_what_becomes_of_the_copies(desk: Desk, cascade: delete.Cascade) -> None:
    desk.apply(daemonset())
    desk.now += 1
    desk.delete("DaemonSet/web", cascade=cascade)
    told = ("DaemonSet default/web", "", f"deleted; cascade={cascade}")
    assert entries(desk, "delete") == [told]
    skipped = [Skipped("n1", WEB, Reason.NOT_ELIGIBLE)]
    delete.finish(desk.store, skipped, None, now=desk.now + 1, who="fleetd")
    (_, *later) = desk.store.read(AuditRecord, verb="delete")
    done = [(row.who, row.detail) for row in later]
    ends = [("fleetd", "deleted; its last copy has gone")]
    assert done == (ends if cascade == "foreground" else [])


def test_a_run_audits_what_was_done_on_hosts_for_who_asked() -> None:
    async def story() -> None:
        sim = Sim.of(3)
        revision = sim.put(agent("v1"))

        def watch(event: str, fields: Mapping[str, Any]) -> None:
            if event == "action_started" and fields["node"] == "h02":
                sim.fleet.fault("h02", replace(LOST_AFTER, times=1))

        await sim.converge(progress=watch)
        rows = sim.store.read(AuditRecord, verb="start")
        assert {(row.who, row.subject, row.revision) for row in rows} == {
            ("test", f"DaemonSet {AGENT}", revision)
        }
        ended = {row.node: row.outcome for row in rows}
        assert ended == {"h01": "done", "h02": "lost", "h03": "done"}
        assert all(row.detail.startswith("Missing") for row in rows)
        before = len(sim.store.read(AuditRecord))
        await sim.look()
        assert len(sim.store.read(AuditRecord)) == before, "a rehearsal is not audited"

    loop.run(story(), seed=1)


def test_other_sources_of_the_inventory_are_audited() -> None:
    async def story() -> None:
        sim = Sim.of(1)
        check_sources(sim.session(), RunOptions())
        check_sources(sim.session(), RunOptions())
        (row,) = sim.store.read(AuditRecord)
        assert (row.verb, row.detail) == ("inventory", "test")
        sim.store.commit([Put(Setting(SOURCES, "another"))])
        check_sources(sim.session(), RunOptions(new_inventory=True, dry_run=True))
        assert len(sim.store.read(AuditRecord)) == 1

    loop.run(story(), seed=1)


def test_who_confirms_a_mass_removal_is_audited() -> None:
    async def story() -> None:
        sim = Sim.of(1)
        for options in (RunOptions(), RunOptions(confirm_removals=7, dry_run=True)):
            await run(sim.session(), None, options, unwatched)
        assert sim.store.read(AuditRecord, verb="confirm") == ()
        await run(sim.session(), None, RunOptions(confirm_removals=7), unwatched)
        (row,) = sim.store.read(AuditRecord, verb="confirm")
        assert (row.who, row.detail) == ("test", "of copies on up to 7 hosts")

    loop.run(story(), seed=1)


def test_the_audit_is_read_from_a_time_on() -> None:
    store = FakeStore()
    row = AuditRecord(1700000000.25, "ann", "cordon", "Node n1", "", "n1")
    store.commit([Put(row), Put(replace(row, at=row.at + 60, verb="uncordon"))])
    everything = reading.audit(store, Query())
    assert [entry["verb"] for entry in everything] == ["cordon", "uncordon"]
    late = reading.get(store, lambda: pytest.fail("no inventory"), "audit", Query(since=row.at + 1))
    assert [entry["verb"] for entry in late] == ["uncordon"]
    name = everything[0]["metadata"].pop("name")
    assert name != everything[1]["metadata"]["name"]
    assert everything[0] == {
        "apiVersion": "fleetd/v1",
        "kind": "AuditEntry",
        "metadata": {"creationTimestamp": "2023-11-14T22:13:20Z"},
        "time": "2023-11-14T22:13:20.250000Z",
        "who": "ann",
        "verb": "cordon",
        "subject": "Node n1",
        "outcome": "done",
        "node": "n1",
    }


class Unread(FakeStore):
    """Counts the entries of the audit that are read."""

    count = 0

    def read(self, kind: type[R], /, **where: Any) -> tuple[R, ...]:
        found = super().read(kind, **where)
        self.count += len(found) if kind is AuditRecord else 0
        return found


def test_a_rehearsal_does_not_copy_a_long_audit() -> None:
    store = Unread()
    row = AuditRecord(1.0, "ann", "cordon", "Node n1", "")
    store.commit(Put(replace(row, at=float(at))) for at in range(50))
    rehearsal = Rehearsal(store)
    rehearsal.commit([Put(replace(row, at=100.0))])
    assert store.count == 0
    assert [one.at for one in rehearsal.read(AuditRecord)][-2:] == [49.0, 100.0]
    assert rehearsal.read(AuditRecord, at=3.0) == (replace(row, at=3.0),)


def test_a_service_audits_commands_and_enrolments_with_their_result(tmp_path: Path) -> None:
    async def story() -> list[AuditRecord]:
        world = World(tmp_path)
        alone = world.local("ann@box")
        opened = alone._session().open_loop(Memory(world.store), Random(1), Pace(900.0, 30.0))
        local = replace(alone, loop=opened)

        def write(_data: bytes, _stderr: bool) -> None:
            """Nobody reads it."""

        assert await local.exec("h1", "default", ["exit", "7"], write) == 7
        world.fleet.fault("h2", Fault(unreachable=True))
        with pytest.raises(FleetdError):
            await local.exec("h2", "default", ["login", "--password=geheim"], write)
        await local.enroll(["h1"], every=False, accept=False, progress=unwatched)
        await local.enroll(["h1"], every=False, accept=True, progress=unwatched)
        with pytest.raises(NotFound):
            await local.exec("h9", "default", ["true"], write)
        assert await alone.exec("h1", "default", ["exit", "7"], write) == 7
        return list(world.store.read(AuditRecord))

    with asyncio.Runner(loop_factory=FastLoop) as runner:
        rows = runner.run(story())
    assert {row.who for row in rows} == {"ann@box"}
    told = [(row.verb, row.node, row.outcome, row.detail) for row in rows]
    assert sorted(told) == sorted(
        [
            ("exec", "h1", "begun", "exit"),
            ("exec", "h1", "done", "exit; exit status 7"),
            ("exec", "h2", "begun", "login"),
            ("exec", "h2", "lost", "login"),
            ("enroll", "h1", "done", "pinned SHA256:h1"),
        ]
    )
