"""Every verb works the same with and without the service: nodes, and hosts as such."""

from __future__ import annotations

import pytest

from fleetd.client import Client, LogQuery, Query, RunOptions
from fleetd.errors import FleetdError, InvalidInput, NotFound, Refused
from fleetd.testing.fleet import Fault
from fleetd.testing.store import FakeStore
from tests.contract.forms import HOSTS, World
from tests.contract.stories import UNIT, Heard, Play, applied, unwatched
from tests.unit.api.archives import config, docker_files, identity, write


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
