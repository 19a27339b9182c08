from __future__ import annotations

import threading
from pathlib import Path

import pytest

from fleetd.adapters.known_hosts import KnownHostsFiles, parse, pin
from fleetd.errors import Refused

KEY, OTHER = "ssh-ed25519 AAAAmine", "ssh-ed25519 AAAAother"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("web ssh-ed25519 AAAAmine", [KEY]),
        ("web ssh-ed25519 AAAAmine a comment", [KEY]),
        ("10.0.0.1 ssh-ed25519 AAAAmine", [KEY]),
        ("[10.0.0.1]:22 ssh-ed25519 AAAAmine", []),
        ("# web ssh-ed25519 AAAAmine", []),
        ("#web ssh-ed25519 AAAAmine", []),
        ("web ssh-ed25519", []),
        ("@unheard-of web ssh-ed25519 AAAAmine", []),
        ("w?b ssh-ed25519 AAAAmine", [KEY]),
        ("*,!web ssh-ed25519 AAAAmine", []),
        ("10.0.0.* ssh-ed25519 AAAAmine", [KEY]),
        ("web[1] ssh-ed25519 AAAAmine", []),
        ("|1|not base64|at all ssh-ed25519 AAAAmine", []),
        ("|2|AAAA|AAAA ssh-ed25519 AAAAmine", []),
        ("web ssh-ed25519 AAAAother\nweb ssh-ed25519 AAAAmine", [OTHER, KEY]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_lines_of_a_host(text: str, found: list[str]) -> None:
    assert [entry.key for entry in parse(text).find("web", "10.0.0.1", 22)] == found


def test_another_port_is_another_host() -> None:
    known = parse("10.0.0.1 ssh-ed25519 AAAAmine\n[10.0.0.1]:2222 ssh-ed25519 AAAAother\n")
    assert [entry.key for entry in known.find("web", "10.0.0.1", 2222)] == [OTHER]
    assert [entry.key for entry in known.find("web", "10.0.0.1", 2223)] == []


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    file, files = tmp_path / "known_hosts", KnownHostsFiles()
    assert files.find(str(file), "web", "10.0.0.1", 22) == ()
    file.write_text(f"web {KEY}\n")
    assert len(files.find(str(file), "web", "10.0.0.1", 22)) == 1
    file.write_text(f"web {KEY}\nweb {OTHER}\n")
    assert len(files.find(str(file), "web", "10.0.0.1", 22)) == 2


def test_pinning_starts_a_new_line_after_a_torn_one(tmp_path: Path) -> None:
    file = tmp_path / "ssh/known_hosts"
    file.parent.mkdir()
    file.write_text("other ssh-ed25519 AAAA")
    assert pin(str(file), "web", "10.0.0.1", 2222, KEY) is True
    assert file.read_text() == f"other ssh-ed25519 AAAA\nweb,[10.0.0.1]:2222 {KEY}\n"


def test_pinning_again_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "new/known_hosts"
    assert pin(str(file), "web", "10.0.0.1", 22, KEY) is True
    assert pin(str(file), "web", "10.0.0.1", 22, KEY) is False
    assert file.read_text() == f"web,10.0.0.1 {KEY}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"web {OTHER}\n", ":1 pins another key for web"),
        (f"# first\n10.0.0.1 {OTHER}\n", ":2 pins another key for web"),
        (f"@revoked * {KEY}\n", "revokes the key"),
    ],
    ids=["name", "address", "revoked"],
)
def test_a_pin_is_never_overwritten(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(text)
    with pytest.raises(Refused, match=message):
        pin(str(file), "web", "10.0.0.1", 22, KEY)
    assert file.read_text() == text


def test_an_authority_does_not_keep_a_key_from_being_pinned(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"@cert-authority * {OTHER}\n")
    assert pin(str(file), "web", "10.0.0.1", 22, KEY) is True


def test_many_pins_at_once_all_stay(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    threads = [
        threading.Thread(target=pin, args=(str(file), f"web-{n}", f"10.0.0.{n}", 22, KEY))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(file.read_text().splitlines()) == 20
    assert all(line.endswith(KEY) for line in file.read_text().splitlines())


def test_two_that_pin_one_host_agree_on_one_key(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    pin(str(file), "web", "10.0.0.1", 22, KEY)
    with pytest.raises(Refused):
        pin(str(file), "web", "10.0.0.2", 22, OTHER)
    assert file.stat().st_size == len(f"web,10.0.0.1 {KEY}\n")
