from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetd.api.archives import read_archive
from fleetd.api.images import AT_ONCE, login_notes, push
from fleetd.api.reports import Report
from fleetd.api.streams import all_nodes
from fleetd.core.facts import Owner
from fleetd.core.records import AuditRecord, ImageRecord, NodeRecord
from fleetd.host.requests import Load
from fleetd.host.wire import decode
from fleetd.ports import Put
from fleetd.testing import loop
from fleetd.testing.fleet import Fault
from tests.sim.harness import AGENT, FLEET, Sim, agent, unwatched
from tests.unit.api.archives import config, docker_files, identity, write

IMAGE = "example/agent:v1"
ID = identity(config())


class Bench:
    """A simulated fleet, and an archive to push there."""

    def __init__(self, directory: Path, count: int = 2, arch: str = "amd64") -> None:
        self.sim = Sim.of(count)
        self.body = config(arch)
        path = write(directory / "a.tar", docker_files([IMAGE], self.body))
        self.archive = read_archive(str(path))

    async def push(self, progress: Any = unwatched) -> Report:
        session = self.sim.session()
        nodes = all_nodes(session)
        return await push(session, self.sim.fleet, self.archive, nodes, progress)

    @property
    def loads(self) -> list[str]:
        """The hosts that were sent the archive."""
        asked = [(call.name, decode(call.stdin)[1]) for call in self.sim.fleet.calls]
        return [name for name, request in asked if isinstance(request, Load)]


def test_a_pushed_image_is_sent_once_and_runs_by_its_id(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        first = await bench.push()
        assert first.converged
        assert {"h01: pushed", "h02: pushed"} <= set(first.notes)
        second = await bench.push()
        assert {"h01: there already", "h02: there already"} <= set(second.notes)
        assert sorted(bench.loads) == ["h01", "h02"]
        # No registry has it.
        bench.sim.fleet.registry.missing.add(IMAGE)
        bench.sim.put(agent("v1"))
        run = await bench.sim.converge()
        assert run.ended == "settled"
        pins = {row.image: row.pinned for row in bench.sim.store.read(ImageRecord)}
        assert pins == {IMAGE: ID}
        audits = [row for row in bench.sim.store.read(AuditRecord) if row.verb == "push"]
        assert {(row.node, row.subject, row.detail, row.outcome) for row in audits} == {
            (host, f"Image docker.io/{IMAGE}", done, "done")
            for host in ("h01", "h02")
            for done in ("pushed", "there already")
        }

    loop.run(story(), seed=1)


def test_who_cannot_have_it_is_named_and_the_others_get_it(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, 5)
        hosts = bench.sim.fleet.hosts
        bench.sim.fleet.fault("h01", Fault(unreachable=True))
        hosts["h02"].facts = replace(hosts["h02"].facts, arch="arm64")
        hosts["h03"].facts = replace(hosts["h03"].facts, podman="")
        hosts["h04"].owner = Owner("another", 1)
        report = await bench.push()
        assert not report.converged
        audit = {row.node: row.outcome for row in bench.sim.store.read(AuditRecord)}
        failed = dict.fromkeys(("h01", "h02", "h03", "h04"), "failed")
        assert audit == {**failed, "h05": "done"}
        silent, other, bare, foreign = report.problems
        assert silent.startswith("h01: ")
        assert "is for linux/amd64, and this host is linux/arm64" in other
        assert "h03: the host has neither podman nor docker" in bare
        assert foreign == "h04: this host belongs to fleet another"
        assert bench.loads == ["h05"]

    loop.run(story(), seed=1)


def test_a_held_host_is_left_alone(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        bench.sim.store.commit([Put(NodeRecord("h01", held=True))])
        report = await bench.push()
        assert report.problems == ("h01: it is held; `fleetd unhold h01` first",)
        assert "run the same push again: who has the image is sent nothing" in report.notes
        assert bench.loads == ["h02"]

    loop.run(story(), seed=1)


def test_an_older_term_brings_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, 1)
        bench.sim.fleet.hosts["h01"].owner = Owner(FLEET.id, FLEET.term + 1)
        report = await bench.push()
        assert "obeys term" in report.problems[0]
        assert bench.loads == []

    loop.run(story(), seed=1)


def test_a_cut_upload_is_done_again_for_that_host_alone(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        whole = bench.sim.fleet.run

        async def cut(name: str, ssh: Any, stdin: bytes, **more: Any) -> Any:
            lost = name == "h02" and len(stdin) > bench.archive.size
            return await whole(name, ssh, stdin[:-1] if lost else stdin, **more)

        bench.sim.fleet.run = cut  # type: ignore[method-assign]
        report = await bench.push()
        assert [problem.split(":")[0] for problem in report.problems] == ["h02"]
        bench.sim.fleet.run = whole  # type: ignore[method-assign]
        again = await bench.push()
        assert again.converged
        assert {"h01: there already", "h02: pushed"} <= set(again.notes)

    loop.run(story(), seed=1)


def test_uploads_are_bounded_and_tell_how_far_they_are(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, AT_ONCE * 2)
        whole = bench.sim.fleet.upload
        now = most = 0

        async def counted(*args: Any, **more: Any) -> Any:
            nonlocal now, most
            now += 1
            most = max(most, now)
            try:
                await asyncio.sleep(60)
                return await whole(*args, **more)
            finally:
                now -= 1

        bench.sim.fleet.upload = counted  # type: ignore[method-assign]
        told: list[str] = []
        report = await bench.push(lambda event, _: told.append(event))
        assert report.converged
        assert most == AT_ONCE
        assert told.count("image_pushed") == AT_ONCE * 2
        assert "image_pushing" in told

    loop.run(story(), seed=1)


def test_a_missing_pull_secret_is_a_note() -> None:
    async def story() -> None:
        sim = Sim.of(1)
        containers = [{"name": "a", "image": IMAGE}]
        sim.put(agent("v1", pod={"containers": containers, "imagePullSecrets": [{"name": "no"}]}))
        (note,) = login_notes(sim.store, [AGENT])
        assert note.startswith(f"daemonset {AGENT}: imagePullSecrets: there is no Secret")

    loop.run(story(), seed=1)


def test_a_repair_brings_an_image_back_that_somebody_took_away() -> None:
    async def story() -> None:
        sim = Sim.of(1)
        sim.put(agent("v1"))
        await sim.converge()
        host = sim.fleet.hosts["h01"]
        host.images.clear()
        (unit,) = (name for name in host.units if name.endswith(".service"))
        host.stop(unit)
        run = await sim.converge()
        assert run.ended == "settled"
        assert [step.outcome.value for step in run.steps] == ["done"]
        assert host.images

    loop.run(story(), seed=1)


@pytest.mark.parametrize("kind", ["current", "previous", "gone"])
def test_a_host_keeps_the_present_and_the_previous_image(kind: str) -> None:
    async def story() -> None:
        sim = Sim.of(1)
        host = sim.fleet.hosts["h01"]
        host.images.add("operators/own:1")
        for version in ("v1", "v2", "v3"):
            sim.put(agent(version))
            await sim.converge()
        names = {"current": "example/agent:v3", "previous": "example/agent:v2"}
        assert (names.get(kind, "example/agent:v1") in host.images) is (kind in names)
        assert "operators/own:1" in host.images

    loop.run(story(), seed=1)
