"""Verbs at the service: who may, what is refused, and what becomes of calls that end early."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h11
import pytest

from fleetd.client import LogQuery, Query, RunOptions
from fleetd.client.local import Local
from fleetd.client.remote import Caller, Remote
from fleetd.client.wire import Calling, Gone
from fleetd.core.key import Key
from fleetd.core.node import Ssh
from fleetd.core.records import AuditRecord
from fleetd.errors import FleetdError, InvalidInput, NotConverged, Refused, StateHeld
from fleetd.ports import Output, Take
from fleetd.server.peers import Peer, Right, Rights
from fleetd.server.verbs import LOOKS, Verbs, forms
from tests.contract.forms import FastLoop, Running, World, service
from tests.contract.stories import agent, unwatched
from tests.unit.api.archives import config, docker_files, write
from tests.unit.server.service import ANN, Wire

SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: hush}\n"
AGENT = Key("default", "agent")


@dataclass(frozen=True, slots=True)
class Only(Rights):
    """Everybody has this right."""

    right: Right = Right.READ

    def of(self, uid: int, gid: int, groups: frozenset[int]) -> Right:
        return self.right


def only(right: Right) -> Only:
    return Only(frozenset(), 0, right)


def fast(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Have a story told on a loop whose clocks run faster."""
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        runner.run(story())


async def answer_to(running: Running, verb: str, said: object) -> dict[str, Any]:
    """The first line that the service says to a call of our own making."""
    line = said if isinstance(said, bytes) else json.dumps(said).encode()
    async with Calling(str(running.path), verb, line + b"\n") as answer:
        return await anext(answer.lines)


def test_every_verb_but_those_that_look_takes_an_operator() -> None:
    assert forms().keys() - LOOKS >= {"apply", "exec", "purge", "enroll", "rollout_status"}
    assert set(forms()) >= LOOKS


@pytest.mark.parametrize("verb", sorted(forms()))
async def test_a_reader_may_look_and_nothing_else(tmp_path: Path, verb: str) -> None:
    async with service(World(tmp_path), only(Right.READ)) as running:
        error = (await answer_to(running, verb, {"arguments": {"x": 1}}))["error"]
    if verb in LOOKS or verb == "rollout_status":
        assert error["message"].endswith(f"{verb} takes no x")
    else:
        assert error["class"] == "Refused"
        assert "may look, but not" in error["message"]
        assert "usermod -aG fleetd-operators" in error["message"]
        assert error["exit"] == 2


@pytest.mark.parametrize("verb", sorted(forms()))
async def test_nobody_may_do_nothing(tmp_path: Path, verb: str) -> None:
    async with service(World(tmp_path), only(Right.NONE)) as running:
        error = (await answer_to(running, verb, {}))["error"]
    assert error["message"].endswith("may not ask this service anything")


def test_a_reader_may_see_where_a_rollout_stands_and_not_drive_it(tmp_path: Path) -> None:
    async def story() -> None:
        world, standing = World(tmp_path), RunOptions(wait=False)
        path = world.write("agent.yaml", agent())
        await world.local("ann").apply([path], standing, unwatched)
        async with service(world, only(Right.READ)) as running:
            remote = running.remote()
            report = await remote.rollout_status("default", "agent", standing, unwatched)
            assert not report.converged
            # Which the command line takes for: follow it.
            with pytest.raises(StateHeld, match="the service carries the rollout on"):
                await remote.rollout_status("default", "agent", RunOptions(), unwatched)

    fast(story)


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        pytest.param(Right.READ, "<4 bytes, hidden>", id="reader"),
        pytest.param(Right.OPERATE, "aHVzaA==", id="operator"),
    ],
)
async def test_values_of_secrets_are_for_operators(
    tmp_path: Path, right: Right, expected: str
) -> None:
    world = World(tmp_path)
    path = world.write("s.yaml", SECRET)
    await world.local("ann").apply([path], RunOptions(wait=False), unwatched)
    async with service(world, only(right)) as running:
        (secret,) = await running.remote().get("secrets", Query())
        assert secret["data"] == {"k": expected}
        assert "aHVzaA==" not in str(await running.remote().diff([path]))


async def test_without_an_operators_group_only_root_operates(tmp_path: Path) -> None:
    async with service(World(tmp_path), only(Right.READ), operators="") as running:
        error = (await answer_to(running, "adopt", {}))["error"]
    assert "only root may, as the service's settings name no operatorGroup" in error["message"]


# -- what was meant for another service ----------------------------------------------------


@pytest.mark.parametrize(
    ("state", "fits"), [("{state}", True), ("/other/state", False)], ids=["same", "other"]
)
async def test_a_state_that_was_named_must_be_the_services(
    tmp_path: Path, state: str, fits: bool
) -> None:
    async with service(World(tmp_path)) as running:
        ours = str(running.path.parent)
        remote = running.remote(Caller(state=state.format(state=ours)))
        if fits:
            assert await remote.get("daemonsets", Query()) == []
            return
        with pytest.raises(Refused) as caught:
            await remote.get("daemonsets", Query())
    assert str(caught.value).startswith(f"this service keeps its state in {ours}, and the command")


@pytest.mark.parametrize(
    ("sources", "fits"),
    [
        pytest.param((), True, id="none-said"),
        pytest.param(("hosts.yaml",), True, id="same"),
        pytest.param(("other.yaml",), False, id="other"),
        pytest.param(("hosts.yaml", "other.yaml"), False, id="more"),
        pytest.param(("-",), False, id="stdin"),
    ],
)
@pytest.mark.parametrize("agreed", [False, True], ids=["plain", "new-inventory"])
async def test_an_inventory_that_was_named_must_be_the_services(
    tmp_path: Path, sources: tuple[str, ...], fits: bool, agreed: bool
) -> None:
    world = World(tmp_path)
    options = RunOptions(dry_run=True, new_inventory=agreed)
    async with service(world) as running:
        remote = running.remote(Caller(inventory=sources))
        if fits:
            await remote.reconcile(options, unwatched)
            return
        with pytest.raises(Refused) as caught:
            await remote.reconcile(options, unwatched)
    assert "its inventory is hosts.yaml; the command was told" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("uid", "person", "expected"),
    [
        pytest.param(0, "alice", "alice", id="behind-sudo"),
        pytest.param(0, "al.ice_2-x", "al.ice_2-x", id="behind-sudo-with-marks"),
        pytest.param(0, "", "ann", id="root-itself"),
        pytest.param(0, "a\x1b[2J\nb", "ann", id="no-name"),
        pytest.param(1001, "alice", "ann", id="not-roots-word"),
    ],
)
async def test_the_audit_names_the_person(
    tmp_path: Path, uid: int, person: str, expected: str
) -> None:
    world = World(tmp_path)

    def client(peer: Peer) -> Local:
        return world.local(peer.user)

    verbs = Verbs(client, tmp_path, "")
    peer = replace(ANN, uid=uid)
    line = json.dumps({"arguments": {"node": "h1", "on": True}, "from": {"person": person}})
    sent = await called(verbs, "cordon", peer, line.encode() + b"\n")
    assert json.loads(sent[0])["result"] == "node/h1 cordoned"
    assert [row.who for row in world.store.read(AuditRecord)] == [expected]


async def called(verbs: Verbs, verb: str, peer: Peer, body: bytes) -> list[bytes]:
    """The lines of an answer to a call that comes without a socket, as that peer."""
    form = forms()[verb]
    messages: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]
    sent = bytearray()

    async def receive() -> Any:
        if messages:
            return messages.pop()
        return await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        sent.extend(message.get("body", b""))

    scope = {"headers": [(b"fleetd-wire", b"1")], "state": {"peer": peer}}
    await verbs.serve(form, scope, receive, send)
    return bytes(sent).splitlines()


# -- what is no call -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "line", "expected"),
    [
        pytest.param("get", b"{", "the call is no JSON", id="no-json"),
        pytest.param("get", b"[]", "the call is no JSON object", id="no-object"),
        pytest.param("get", b"[" * 100_000, "the call is no JSON", id="nested"),
        pytest.param("get", b"{}", "get needs kind, query", id="nothing-said"),
        pytest.param(
            "cordon",
            b'{"arguments": {"node": "h1", "on": "yes"}}',
            "cordon: on: 'yes' is not what belongs there",
            id="wrong-type",
        ),
        pytest.param(
            "get",
            b'{"arguments": {"kind": "pods", "query": {"colour": "red"}}}',
            "unknown colour",
            id="unknown-field",
        ),
        pytest.param(
            "get", b'{"from": {"state": 7}}', "7' is not what belongs there", id="wrong-caller"
        ),
        pytest.param(
            "diff",
            b'{"arguments": {"specs": ["/etc/passwd"]}}',
            "files are not read here for anybody",
            id="a-path-of-ours",
        ),
        pytest.param(
            "diff",
            b'{"arguments": {"specs": ["-"]}, "documents": {"objects": 7}}',
            "these are no loaded documents",
            id="no-documents",
        ),
    ],
)
async def test_what_is_no_call_is_told_so(
    tmp_path: Path, verb: str, line: bytes, expected: str
) -> None:
    async with service(World(tmp_path)) as running:
        error = (await answer_to(running, verb, line))["error"]
    assert (error["class"], error["exit"]) == ("InvalidInput", 2)
    assert expected in error["message"]


async def test_a_call_that_is_too_long_is_not_kept(tmp_path: Path) -> None:
    async with service(World(tmp_path)) as running:
        error = (await answer_to(running, "diff", b" " * (65 << 20)))["error"]
    assert "larger than 64 MiB together; apply them in parts" in error["message"]


async def test_a_client_of_another_wire_is_told_both_versions(tmp_path: Path) -> None:
    async with service(World(tmp_path)) as running:
        reader, writer = await asyncio.open_unix_connection(str(running.path))
        wire = Wire(reader, writer)
        headers = [
            ("host", "fleetd"),
            ("fleetd-wire", "999"),
            ("fleetd-version", "9.9"),
            ("content-length", "0"),
        ]
        target = "/apis/fleetd/v1/verbs/get"
        await wire.send(
            h11.Request(method="POST", target=target, headers=headers), h11.EndOfMessage()
        )
        answer = await wire.answer()
        writer.close()
    assert answer.status == 400
    assert answer.headers["fleetd-wire"] == "1"
    assert "the command that calls it is fleetd 9.9" in json.loads(answer.body)["error"]["message"]


# -- errors that nobody foresaw ------------------------------------------------------------


@pytest.mark.parametrize("grouped", [False, True], ids=["alone", "in-a-group"])
async def test_what_nobody_foresaw_is_told_and_logged(tmp_path: Path, grouped: bool) -> None:
    world = World(tmp_path)
    error: Exception = ValueError("no such moon\nand more")
    if grouped:
        error = ExceptionGroup("tasks", [Refused("no"), error])

    class Broken(Local):
        async def pause(self, key: Key) -> str:
            raise error

    def client(peer: Peer) -> Local:
        local = world.local(peer.user)
        return Broken(**{name: getattr(local, name) for name in Local.__dataclass_fields__})

    async with service(world, client=client) as running:
        with pytest.raises(FleetdError) as caught:
            await running.remote().pause(AGENT)
    assert str(caught.value).startswith("unexpected ")
    assert str(caught.value).endswith("; the service's log shows where, and please report it")
    assert caught.value.exit_code == 1
    ((name, fields),) = world.sink.events
    assert (name, fields["verb"]) == ("call_failed", "pause")
    assert "Traceback" in fields["error"]


# -- callers that leave, and services that end ---------------------------------------------


@dataclass
class Endless:
    """Streams that say something and then go on until they are cut."""

    begun: asyncio.Event
    ended: asyncio.Event

    async def stream(
        self, name: str, ssh: Ssh, stdin: bytes, on_stdout: Take, on_stderr: Take
    ) -> Output:
        self.begun.set()
        ending: asyncio.Future[Output] = asyncio.get_running_loop().create_future()
        try:
            return await ending
        finally:
            self.ended.set()


@pytest.mark.parametrize("verb", ["exec", "logs"])
def test_output_ends_on_the_hosts_when_its_reader_leaves(tmp_path: Path, verb: str) -> None:
    async def story() -> None:
        world = World(tmp_path)
        path = world.write("agent.yaml", agent())
        await world.local("ann").apply([path], RunOptions(), unwatched)
        streams: Any = Endless(asyncio.Event(), asyncio.Event())

        def client(peer: Peer) -> Local:
            return replace(world.local(peer.user), streams=streams)

        async def read(remote: Remote) -> None:
            if verb == "exec":
                await remote.exec("h1", "default", ["sleep"], lambda _data, _stderr: None)
            async for _ in remote.logs(LogQuery("ds/agent", follow=True)):
                pass

        async with service(world, client=client) as running:
            reading = asyncio.create_task(read(running.remote()))
            await streams.begun.wait()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await streams.ended.wait()

    fast(story)


def test_an_apply_goes_on_when_its_caller_leaves(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path)
        async with service(world) as running:
            begun = asyncio.Event()
            path = world.write("agent.yaml", agent())
            waiting = asyncio.create_task(
                running.remote().apply([path], RunOptions(), lambda _event, _fields: begun.set())
            )
            await begun.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            while True:
                (shape,) = await running.remote().get("daemonsets", Query(name="agent"))
                if shape["status"]["numberAvailable"] == 3:
                    return
                await asyncio.sleep(0.1)

    fast(story)


def test_a_service_that_ends_says_so_and_what_is_known(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path)
        async with service(world) as running:
            path = world.write("agent.yaml", agent())

            def end(event: str, _: object) -> None:
                if event == "applied":
                    running.serving.cancel()

            with pytest.raises(NotConverged) as caught:
                await running.remote().apply([path], RunOptions(), end)
        assert str(caught.value) == (
            "the service was stopped. What was asked for is in the state, and the service goes on "
            "with it when it runs again; `fleetd rollout status ds/NAME` tells how far it is"
        )
        assert caught.value.exit_code == 3

    fast(story)


# -- archives ------------------------------------------------------------------------------


async def test_an_archive_is_gone_from_the_disk_when_the_call_is(tmp_path: Path) -> None:
    world = World(tmp_path)
    path = str(write(tmp_path / "a.tar", docker_files(["example/agent:v1"], config())))
    async with service(world) as running:
        before = set(running.path.parent.iterdir())
        seen: list[set[Path]] = []
        report = await running.remote().push_image(
            path, ["h1"], lambda _event, _fields: seen.append(set(running.path.parent.iterdir()))
        )
        assert report.converged
        assert [each - before for each in seen] == [set()] * len(seen)
        assert seen


async def test_an_archive_that_does_not_fit_is_refused_before_it_comes(tmp_path: Path) -> None:
    async with service(World(tmp_path)) as running:
        reader, writer = await asyncio.open_unix_connection(str(running.path))
        line = json.dumps({"arguments": {"archive": "a.tar", "nodes": []}}) + "\n"
        writer.write(
            b"POST /apis/fleetd/v1/verbs/push_image HTTP/1.1\r\nhost: fleetd\r\nfleetd-wire: 1\r\n"
            b"content-length: %d\r\n\r\n%b" % (1 << 60, line.encode())
        )
        told = await reader.readuntil(b"}}\n")
        writer.close()
    assert b"there is no room for the archive" in told


@pytest.mark.parametrize(
    ("right", "caller", "expected"),
    [
        pytest.param(Right.READ, Caller(), "may look, but not push image", id="not-allowed"),
        pytest.param(
            Right.OPERATE, Caller(inventory=("x",)), "its inventory is hosts.yaml", id="not-meant"
        ),
    ],
)
async def test_who_is_refused_is_told_so_in_the_middle_of_an_upload(
    tmp_path: Path, right: Right, caller: Caller, expected: str
) -> None:
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        file.truncate(200 << 20)
    async with service(World(tmp_path), only(right)) as running:
        with pytest.raises(Refused, match=expected):
            await running.remote(caller).push_image(str(path), [], unwatched)


async def test_an_archive_passes_without_being_held_in_memory(tmp_path: Path) -> None:
    """Both ends of the socket are in this process."""
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        file.write(b"no tar" * 1000)
        file.truncate(200 << 20)
    async with service(World(tmp_path)) as running:
        tracemalloc.start()
        with pytest.raises(InvalidInput, match="is no tar archive"):
            await running.remote().push_image(str(path), [], unwatched)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 16 << 20


async def test_an_archive_that_is_cut_is_none(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with service(world) as running:
        reader, writer = await asyncio.open_unix_connection(str(running.path))
        line = json.dumps({"arguments": {"archive": "a.tar", "nodes": []}}) + "\n"
        writer.write(
            b"POST /apis/fleetd/v1/verbs/push_image HTTP/1.1\r\nhost: fleetd\r\nfleetd-wire: 1\r\n"
            b"content-length: 1000000\r\n\r\n%b" % line.encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        # Whatever comes next is answered, and nothing was asked of any host.
        with pytest.raises(InvalidInput, match="is no tar archive"):
            await running.remote().push_image(world.write("b.tar", "x"), [], unwatched)
    assert world.fleet.calls == []


async def test_nobody_answers_any_more(tmp_path: Path) -> None:
    async with service(World(tmp_path)) as running:
        pass
    with pytest.raises(FleetdError, match=r"no service answers at .* any more; ask again"):
        await running.remote().get("pods", Query())
    assert issubclass(Gone, FleetdError)
