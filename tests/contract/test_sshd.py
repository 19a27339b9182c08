"""What the SSH adapter promises beyond Transport, against a real sshd."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from fleetd.adapters.ssh import SshTransport
from fleetd.core.node import Ssh
from fleetd.errors import Refused
from fleetd.ports import Output
from tests.contract.conftest import scripted, until
from tests.contract.cut_proxy import cut_proxy
from tests.contract.sshd import NAME, Sshd, sshd

pytestmark = pytest.mark.needs("sshd")


async def run(
    transport: SshTransport, ssh: Ssh, *words: str, name: str = NAME, timeout_s: float = 20
) -> Output:
    return await transport.run(name, ssh, scripted(words), timeout_s=timeout_s)


def other_key() -> str:
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    return " ".join(key.split()[:2])


def hashed(name: str) -> str:
    salt = os.urandom(20)
    digest = hmac.digest(salt, name.encode(), "sha1")
    return "|1|" + "|".join(base64.b64encode(part).decode() for part in (salt, digest))


# Host keys.

LINES: dict[str, Callable[[Sshd], str]] = {
    "address and port": lambda server: f"[127.0.0.1]:{server.port} {server.key}",
    "name": lambda server: f"{NAME} {server.key}",
    "name and port": lambda server: f"[{NAME}]:{server.port} {server.key}",
    "several names": lambda server: f"other,{NAME.upper()} {server.key}",
    "pattern": lambda server: f"!no-*,t*t {server.key}",
    "hashed": lambda server: f"{hashed(f'[127.0.0.1]:{server.port}')} {server.key}",
    "second key": lambda server: f"{NAME} {other_key()}\n{NAME} {server.key}",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
async def test_a_pinned_host_key_is_trusted(
    server: Sshd, transport: SshTransport, line: Callable[[Sshd], str]
) -> None:
    assert (await run(transport, server.trust(line(server)), "echo", "hello")).status == 0


UNKNOWN: dict[str, Callable[[Sshd], str]] = {
    "nothing": lambda _server: "# nothing",
    "another host": lambda server: f"[127.0.0.2]:{server.port} {server.key}",
    "another port": lambda server: f"127.0.0.1 {server.key}",
    "ruled out": lambda server: f"*,!{NAME} {server.key}",
    "broken line": lambda _server: f"{NAME} ssh-ed25519 AAAAC3Nz",
}


@pytest.mark.parametrize("line", UNKNOWN.values(), ids=UNKNOWN)
async def test_a_host_without_a_pinned_key_is_not_even_dialled(
    server: Sshd, transport: SshTransport, line: Callable[[Sshd], str]
) -> None:
    output = await run(transport, server.trust(line(server)), "echo", "hello")
    assert (output.status, output.sent) == (None, False)
    assert f"fleetd enroll {NAME}" in output.error
    assert not any("Connection from" in told for told in server.log)


WRONG: dict[str, Callable[[Sshd], str]] = {
    "another key": lambda _server: f"{NAME} {other_key()}",
    "revoked": lambda server: f"@revoked * {server.key}\n{NAME} {server.key}",
    "another kind of key": lambda _server: (
        f"{NAME} "
        + asyncssh.generate_private_key("ecdsa-sha2-nistp256").export_public_key().decode().strip()
    ),
    "an authority instead": lambda server: f"@cert-authority * {server.key}",
}


@pytest.mark.parametrize("line", WRONG.values(), ids=WRONG)
async def test_a_host_with_another_key_gets_nothing(
    server: Sshd, transport: SshTransport, line: Callable[[Sshd], str]
) -> None:
    output = await run(transport, server.trust(line(server)), "echo", "hello")
    assert (output.status, output.sent) == (None, False)
    assert str(server.home / "known_hosts") in output.error
    assert server.logins == 0


async def test_who_pins_the_new_key_of_a_host_does_not_wait(
    server: Sshd, transport: SshTransport
) -> None:
    """But nobody is asked again and again who showed another key."""
    ssh = server.trust(f"{NAME} {other_key()}")
    first = await run(transport, ssh, "echo", "hello")
    again = await run(transport, ssh, "echo", "hello")
    assert "not tried again" not in first.error
    assert "not tried again" in again.error
    assert (await run(transport, server.trust(), "echo", "hello")).status == 0


async def test_a_host_certificate_is_trusted_by_its_authority(
    server: Sshd, transport: SshTransport, tmp_path: Path
) -> None:
    authority = asyncssh.generate_private_key("ssh-ed25519")
    host_key = asyncssh.read_public_key(server.home / "host_key.pub")
    certificate = authority.generate_host_certificate(host_key, "test", principals=[NAME])
    certificate.write_certificate(server.home / "certificate.pub")
    option = f"HostCertificate {server.home}/certificate.pub"
    signer = authority.export_public_key().decode().strip()
    async with sshd(server.home, options=[option]) as certified:
        ssh = certified.trust(f"@cert-authority * {signer}")
        assert (await run(transport, ssh, "echo", "hello")).status == 0
        assert (await run(transport, ssh, "echo", "hello", name="other")).status is None


async def test_enrolling_pins_the_key_that_answers(server: Sshd, transport: SshTransport) -> None:
    scanned = await transport.scan(NAME, server.ssh)
    assert (scanned.key, scanned.error) == (server.key, "")
    assert scanned.fingerprint.startswith("SHA256:")
    assert transport.pin(NAME, server.ssh, scanned.key) is True
    assert (await run(transport, server.ssh, "echo", "hello")).status == 0
    assert transport.pin(NAME, server.ssh, scanned.key) is False
    with pytest.raises(Refused, match="pins another key"):
        transport.pin(NAME, server.ssh, other_key())


async def test_scanning_where_nothing_listens_says_so(transport: SshTransport) -> None:
    scanned = await transport.scan(NAME, Ssh("127.0.0.1", 1))
    assert (scanned.key, "nothing listens" in scanned.error) == ("", True)


# Logging in.


async def test_a_refused_login_says_what_to_do_and_is_not_repeated_at_once(
    server: Sshd, transport: SshTransport
) -> None:
    (server.home / "authorized_keys").write_text("")
    first = await run(transport, server.trust(), "echo", "hello")
    assert (first.status, first.sent) == (None, False)
    assert "authorized_keys" in first.error
    seen = len(server.log)
    again = await run(transport, server.trust(), "echo", "hello")
    assert "not tried again" in again.error
    assert not any("Connection from" in line for line in server.log[seen:])


async def test_a_host_that_refuses_connections_may_be_tried_again_at_once(
    server: Sshd, transport: SshTransport
) -> None:
    ssh = replace(server.trust(f"{NAME} {server.key}"), port=1)
    assert "nothing listens" in (await run(transport, ssh, "echo", "hello")).error
    assert "not tried again" not in (await run(transport, ssh, "echo", "hello")).error


@pytest.mark.parametrize("identity", ["/nonexistent/key", __file__], ids=["missing", "no key"])
async def test_an_identity_file_that_cannot_be_used_is_named(
    server: Sshd, transport: SshTransport, identity: str
) -> None:
    output = await run(transport, replace(server.trust(), identity_file=identity), "echo", "hello")
    assert (output.status, output.sent) == (None, False)
    assert identity in output.error


# Connections.


async def test_one_connection_serves_all_runs(server: Sshd, transport: SshTransport) -> None:
    for _ in range(3):
        assert (await run(transport, server.trust(), "echo", "hello")).status == 0
    await asyncio.gather(*(run(transport, server.ssh, "echo", "hello") for _ in range(12)))
    await until(lambda: server.logins > 0)
    assert server.logins == 1


async def test_a_host_that_is_reached_in_another_way_now_is_let_go(
    server: Sshd, transport: SshTransport
) -> None:
    here = server.trust(f"{NAME},other {server.key}")
    assert (await run(transport, here, "echo", "hello")).status == 0
    of_one = len(server.children())
    assert (await run(transport, here, "echo", "hello", name="other")).status == 0
    there = replace(here, address="127.1")  # the same, said otherwise: a bare machine knows no name
    transport.leave({NAME: here, "other": here})
    transport.leave({NAME: there, "other": here})
    await until(lambda: len(server.children()) == of_one)
    logins = server.logins
    assert (await run(transport, here, "echo", "hello", name="other")).status == 0
    assert server.logins == logins
    assert (await run(transport, there, "echo", "hello")).status == 0
    assert server.logins == logins + 1
    transport.leave({"other": here})
    await until(lambda: len(server.children()) == of_one)


async def test_a_restarted_host_is_connected_again(
    server: Sshd, transport: SshTransport, tmp_path: Path
) -> None:
    ssh = server.trust()
    assert (await run(transport, ssh, "echo", "hello")).status == 0
    for pid in server.children():
        with contextlib.suppress(ProcessLookupError):  # a parent took it along
            os.kill(pid, signal.SIGKILL)
    assert (await run(transport, ssh, "echo", "hello")).status == 0


async def test_a_frozen_host_does_not_hold_a_run_beyond_its_time(
    server: Sshd, transport: SshTransport
) -> None:
    assert (await run(transport, server.trust(), "echo", "hello")).status == 0
    server.signal(signal.SIGSTOP)
    async with asyncio.timeout(10):
        output = await run(transport, server.ssh, "echo", "hello", timeout_s=0.5)
    assert (output.status, output.sent) == (None, False)
    server.signal(signal.SIGCONT)
    assert (await run(transport, server.ssh, "echo", "hello")).status == 0


async def test_a_cancelled_run_leaves_no_connection(server: Sshd, transport: SshTransport) -> None:
    running = asyncio.create_task(run(transport, server.trust(), "sleep", "1"))
    await until(lambda: server.logins == 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await until(lambda: not server.children())


async def test_a_run_cancelled_at_any_moment_is_cancelled(server: Sshd) -> None:
    ssh = server.trust()
    for moment in range(40):
        transport = SshTransport(lambda _name: None)
        running = asyncio.create_task(run(transport, ssh, "sleep", "1"))
        await asyncio.sleep(moment * 0.003)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled(), moment
    await until(lambda: not server.children())


async def test_closing_leaves_no_connection(server: Sshd, transport: SshTransport) -> None:
    assert (await run(transport, server.trust(), "echo", "hello")).status == 0
    await transport.close()
    await until(lambda: not server.children())


async def test_a_host_that_allows_few_sessions_loses_no_run(tmp_path: Path) -> None:
    transport = SshTransport(lambda _name: None)
    async with sshd(tmp_path / "sshd", options=["MaxSessions 2"]) as server:
        ssh = server.trust()
        outputs = await asyncio.gather(*(run(transport, ssh, "sleep", "0.2") for _ in range(6)))
        await transport.close()
    assert all(output.status == 0 or not output.sent for output in outputs)
    assert [output.status for output in outputs].count(0) >= 2


async def test_a_noisy_server_that_is_not_sshd_is_told_apart(tmp_path: Path) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x1b[2J220 mail.example ESMTP\r\n" * 2000)
        writer.close()

    transport = SshTransport(lambda _name: None)
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"{NAME} {other_key()}\n")
    listener = await asyncio.start_server(shout, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    output = await run(transport, Ssh("127.0.0.1", port, "root", "", str(known_hosts)), "echo", "x")
    assert (output.status, output.sent) == (None, False)
    assert output.error.isprintable()
    listener.close()
    await transport.close()


# Jump hosts.


async def test_hosts_behind_one_jump_host_share_its_connection(
    server: Sshd, tmp_path: Path
) -> None:
    async with sshd(tmp_path / "jump") as jump:
        jump_ssh = jump.trust(f"bastion {jump.key}")
        transport = SshTransport({"bastion": jump_ssh}.get)
        server.trust(f"web-* {server.key}")
        ssh = replace(server.ssh, jump="bastion")
        names = [f"web-{number}" for number in range(8)]
        outputs = await asyncio.gather(
            *(run(transport, ssh, "echo", "hello", name=name) for name in names)
        )
        assert [output.status for output in outputs] == [0] * 8
        assert (jump.logins, server.logins) == (1, 8)
        await transport.close()


async def test_a_host_that_its_jump_host_cannot_reach_is_told_so(tmp_path: Path) -> None:
    async with sshd(tmp_path / "jump") as jump:
        transport = SshTransport({"bastion": jump.trust(f"bastion,web {jump.key}")}.get)
        output = await run(
            transport, replace(jump.ssh, port=1, jump="bastion"), "echo", "hello", name="web"
        )
        assert "the jump host bastion cannot reach it" in output.error
        await transport.close()


@pytest.mark.parametrize(
    ("jumps", "message"),
    [({}, "not a host of the inventory"), ({"a": "b", "b": "a"}, "leads back to itself")],
    ids=["missing", "circle"],
)
async def test_a_jump_that_leads_nowhere_is_told_so(
    server: Sshd, jumps: dict[str, str], message: str
) -> None:
    ssh = server.trust()
    hosts = {name: replace(ssh, jump=jump) for name, jump in jumps.items()}
    transport = SshTransport(hosts.get)
    output = await run(transport, replace(ssh, jump="a"), "echo", "hello")
    assert (output.sent, message in output.error) == (False, True)
    await transport.close()


async def test_giving_up_on_a_host_behind_a_jump_leaves_the_jump_usable(tmp_path: Path) -> None:
    reached = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with sshd(tmp_path / "jump") as jump:
        jump_ssh = jump.trust(f"bastion,web {jump.key}")
        transport = SshTransport({"bastion": jump_ssh}.get)
        ssh = replace(jump_ssh, port=port, jump="bastion")
        waiting = asyncio.create_task(run(transport, ssh, "echo", "hello", name="web"))
        await asyncio.wait_for(reached.wait(), 20)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert (await run(transport, jump_ssh, "echo", "hello", name="bastion")).status == 0
        assert jump.logins == 1
        await transport.close()
    silent.close()


# Cuts and streams.


async def test_a_cut_at_any_byte_is_never_an_end(server: Sshd, tmp_path: Path) -> None:
    async with cut_proxy(server.port) as proxy:
        ssh = server.at(proxy.port)
        whole = SshTransport(lambda _name: None)
        assert (await run(whole, ssh, "echo", "x" * 40_000)).status == 0
        await whole.close()
        total = proxy.passed
        assert total > 40_000
        for number in range(40):
            proxy.cut_after = 1 + number * (total - 1000) // 40
            transport = SshTransport(lambda _name: None)
            output = await run(transport, ssh, "echo", "x" * 40_000)
            assert output.status is None, f"cut after {proxy.cut_after} bytes: {output.error}"
            assert output.error
            await transport.close()
        assert proxy.cuts >= 40


async def test_a_stream_hands_output_on_while_it_comes(
    server: Sshd, transport: SshTransport
) -> None:
    said, complained = list[bytes](), list[bytes]()
    first = asyncio.Event()

    def take(data: bytes) -> None:
        said.append(data)
        first.set()

    script = b"echo one; echo oops >&2; read -r go; echo two; sleep 30"
    stdin = b"%d\n%s" % (len(script), script)
    streaming = asyncio.create_task(
        transport.stream(NAME, server.trust(), stdin + b"go\n", take, complained.append)
    )
    await asyncio.wait_for(first.wait(), 10)
    await until(lambda: b"".join(said) == b"one\ntwo\n")
    assert b"".join(complained) == b"oops\n"
    streaming.cancel()
    await asyncio.gather(streaming, return_exceptions=True)
    assert (await run(transport, server.ssh, "echo", "hello")).status == 0


async def test_a_stream_that_ends_tells_its_status(server: Sshd, transport: SshTransport) -> None:
    ended = await transport.stream(
        NAME, server.trust(), scripted(("exit", "3")), lambda _data: None, lambda _data: None
    )
    assert (ended.status, ended.error) == (3, "")


# Uploads.


async def test_an_upload_is_read_no_faster_than_it_leaves(
    transport: SshTransport, server: Sshd
) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield bytes(1 << 20)

    # A host that takes nothing, and then says no.
    script = b"sleep 1; exit 7"
    stdin = b"%d\n%s" % (len(script), script)
    output = await transport.upload(NAME, server.trust(), stdin, endless(), timeout_s=20)
    assert (output.status, output.sent) == (7, True)
    assert 0 < taken < 32
