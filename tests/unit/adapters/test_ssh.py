from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import asyncssh
import pytest

from fleetd.adapters.connections import _Patience
from fleetd.adapters.ssh import SshTransport
from fleetd.adapters.troubles import Trouble, explain
from fleetd.core.facts import Unknown
from fleetd.core.node import Ssh


def test_asyncssh_is_not_loaded_before_it_is_needed() -> None:
    code = (
        "import sys; from fleetd.adapters.ssh import SshTransport; SshTransport(dict().get);"
        " sys.exit('asyncssh' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("trouble", "failures", "least", "most"),
    [
        (Trouble.REFUSED, 1, 20, 25),
        (Trouble.REFUSED, 2, 40, 50),
        (Trouble.REFUSED, 30, 600, 750),
        (Trouble.CLOSED, 1, 1, 1.25),
        (Trouble.CLOSED, 2, 2, 2.5),
        (Trouble.CLOSED, 30, 60, 75),
        (Trouble.NETWORK, 1, 0, 0),
        (Trouble.NETWORK, 2, 1, 1.25),
        (Trouble.NETWORK, 30, 15, 18.75),
        (Trouble.SETTINGS, 30, 0, 0),
    ],
    ids=str,
)
def test_how_long_a_host_is_left_alone(
    trouble: Trouble, failures: int, least: float, most: float
) -> None:
    patience = _Patience()
    for _ in range(failures):
        patience.failed(trouble, "because", 100.0)
    assert least <= patience.not_before - 100.0 <= most
    assert ("because (not tried again before " in patience.message) is (least >= 20)


ERRORS: dict[str, tuple[Exception, str]] = {
    "key": (asyncssh.HostKeyNotVerifiable("Host key is not trusted"), "fleetd enroll web"),
    "login": (asyncssh.PermissionDenied("Permission denied"), "authorized_keys"),
    "algorithms": (asyncssh.KeyExchangeFailed("none"), "no algorithm in common"),
    "jump": (asyncssh.ChannelOpenError(2, "Connection refused"), "jump host bastion"),
    "lost": (asyncssh.ConnectionLost("gone"), "MaxStartups"),
    "reset": (ConnectionResetError(104, "reset by peer"), "MaxStartups"),
    "timeout": (TimeoutError(), "no answer in time"),
    "refused": (ConnectionRefusedError(111, "refused"), "nothing listens on port 2222"),
    "route": (OSError(113, "No route to host"), "no route"),
    "files": (OSError(24, "Too many open files"), "ulimit"),
    "name": (socket.gaierror(-2, "Name or service not known"), "cannot be resolved"),
    "other": (ValueError("\x1b[31mbad\r\n"), "[31mbad"),
}


@pytest.mark.parametrize(("error", "words"), ERRORS.values(), ids=ERRORS)
def test_each_failure_says_what_to_do(error: Exception, words: str) -> None:
    ssh = Ssh("10.0.0.1", 2222, "fleet", "/key", "/known_hosts", "bastion")
    said = str(explain(error, "web", ssh, "/known_hosts"))
    assert words in said
    assert said.isprintable()
    assert Unknown(said).quarantined is isinstance(error, asyncssh.HostKeyNotVerifiable)


async def test_a_key_with_a_passphrase_points_to_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(tmp_path / "identity", passphrase="secret")
    (tmp_path / "known_hosts").write_text(f"web {key.export_public_key().decode()}")
    transport = SshTransport(lambda _name: None)
    ssh = Ssh("127.0.0.1", 1, "fleet", str(tmp_path / "identity"), str(tmp_path / "known_hosts"))
    output = await transport.run("web", ssh, b"", timeout_s=1)
    assert (output.sent, "ssh-agent" in output.error) == (False, True)
    await transport.close()


async def test_a_transport_that_was_never_used_closes() -> None:
    async with asyncio.timeout(1):
        await SshTransport(lambda _name: None).close()
