from __future__ import annotations

from pathlib import Path

import pytest

from fleetd.cli.settings import Flags, ServiceSettings, Settings, places, read_settings
from fleetd.errors import InvalidInput


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    folder = tmp_path / "cwd"
    folder.mkdir(mode=0o755)
    return folder


@pytest.fixture
def empty(tmp_path: Path) -> str:
    """A settings file that says nothing, so that this machine's own is not looked for."""
    path = tmp_path / "empty.yaml"
    path.write_text("")
    return str(path)


ALL_KEYS = "inventory, service, socket and state"


def read(flags: Flags, env: dict[str, str], cwd: Path, *, root: bool = False) -> Settings:
    return read_settings(flags, env, cwd, root=root)


def problems(text: str, cwd: Path) -> list[str]:
    (cwd / "fleetd.yaml").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        read(Flags(), {}, cwd)
    return [str(problem).removeprefix(f"{cwd}/") for problem in caught.value.problems]


def test_a_flag_wins_over_the_environment_over_the_file(cwd: Path) -> None:
    (cwd / "fleetd.yaml").write_text("inventory: file\nstate: file-state\n")
    env = {"FLEETD_INVENTORY": "env", "FLEETD_STATE": "env-state"}
    flags = Flags(inventory=("flag",), state="flag-state")
    assert read(flags, env, cwd) == Settings(
        (f"{cwd}/flag",),
        f"{cwd}/flag-state",
        f"{cwd}/fleetd.yaml",
        named=True,
        socket=f"{cwd}/flag-state/fleetd.sock",
    )
    assert read(Flags(), env, cwd).inventory == (f"{cwd}/env",)
    assert read(Flags(), env, cwd).state == f"{cwd}/env-state"
    assert read(Flags(), {}, cwd).inventory == (f"{cwd}/file",)
    assert read(Flags(), {}, cwd).state == f"{cwd}/file-state"


def test_the_environment_names_several_inventories(cwd: Path, empty: str) -> None:
    env = {"FLEETD_INVENTORY": "a::/b/../c:~/d:-", "HOME": "/home/me", "FLEETD_CONFIG": empty}
    assert read(Flags(), env, cwd).inventory == (f"{cwd}/a", "/c", "/home/me/d", "-")


def test_paths_in_a_file_are_relative_to_it(cwd: Path, home: Path) -> None:
    folder = home / ".config" / "fleetd"
    folder.mkdir(parents=True)
    (folder / "fleetd.yaml").write_text("inventory: [hosts.yaml, ~/more]\nstate: ../state\n")
    assert read(Flags(), {"HOME": str(home)}, cwd) == Settings(
        (f"{folder}/hosts.yaml", f"{home}/more"),
        f"{home}/.config/state",
        f"{folder}/fleetd.yaml",
        named=True,
        socket=f"{home}/.config/state/fleetd.sock",
    )


def test_the_usual_places_in_their_order() -> None:
    assert list(map(str, places({"HOME": "/home/me"}, Path("/here")))) == [
        "/here/fleetd.yaml",
        "/home/me/.config/fleetd/fleetd.yaml",
        "/etc/fleetd/fleetd.yaml",
    ]
    assert str(places({"XDG_CONFIG_HOME": "/conf"}, Path("/here"))[1]) == "/conf/fleetd/fleetd.yaml"


@pytest.mark.parametrize(
    ("env", "root", "state"),
    [
        pytest.param({"HOME": "/home/me"}, True, "/var/lib/fleetd", id="root"),
        pytest.param({"HOME": "/home/me"}, False, "/home/me/.local/state/fleetd", id="user"),
        pytest.param({"XDG_STATE_HOME": "/st"}, False, "/st/fleetd", id="xdg"),
    ],
)
def test_the_state_has_a_default(
    cwd: Path, empty: str, env: dict[str, str], root: bool, state: str
) -> None:
    assert read(Flags(config=empty), env, cwd, root=root).state == state


def test_a_named_file_must_be_there(cwd: Path) -> None:
    with pytest.raises(InvalidInput, match=r"gone\.yaml: cannot be read"):
        read(Flags(config="gone.yaml"), {}, cwd)
    with pytest.raises(InvalidInput, match=r"other\.yaml: cannot be read"):
        read(Flags(), {"FLEETD_CONFIG": "other.yaml"}, cwd)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "inventry: a\n\nfoo: b\n",
            [
                "fleetd.yaml:1: inventry: unknown key; did you mean inventory?",
                f"fleetd.yaml:3: foo: unknown key; known are {ALL_KEYS}",
            ],
            id="unknown-keys",
        ),
        pytest.param(
            "state: a\nstate: b\n",
            ["fleetd.yaml:2: state: is written twice; keep one"],
            id="twice",
        ),
        pytest.param("state: [a]\n", ["fleetd.yaml:1: state: must be a path"], id="list-of-states"),
        pytest.param("state: 7\n", ["fleetd.yaml:1: state: must be a path"], id="number"),
        pytest.param(
            "inventory: {a: b}\n",
            ["fleetd.yaml:1: inventory: must be a path or a list of paths"],
            id="mapping",
        ),
        pytest.param(
            "inventory: []\n",
            ["fleetd.yaml:1: inventory: must be a path or a list of paths"],
            id="empty-list",
        ),
        pytest.param(
            "inventory: [a, [b]]\n",
            ["fleetd.yaml:1: inventory: must hold paths only"],
            id="nested",
        ),
        pytest.param(
            "- a\n",
            [f"fleetd.yaml:1: must be a mapping; with the keys {ALL_KEYS}"],
            id="list",
        ),
    ],
)
def test_a_file_says_nothing_else(cwd: Path, text: str, expected: list[str]) -> None:
    assert problems(text, cwd) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("service: on\n", ["1: service: must be a mapping; with some of"], id="word"),
        pytest.param(
            "service:\n  sockedGroup: a\n  foo: b\n",
            [
                "2: service.sockedGroup: unknown key; did you mean socketGroup?",
                "3: service.foo: unknown key; known are socketGroup, operatorGroup, ",
            ],
            id="unknown-keys",
        ),
        pytest.param(
            "service:\n  streams: true\n  streams: true\n",
            ["3: service.streams: is written twice; keep one"],
            id="twice",
        ),
        pytest.param(
            "service: {streams: maybe}\n",
            ["1: service.streams: must be true or false"],
            id="no-truth",
        ),
        pytest.param(
            "service: {pollSeconds: 0, fullLookSeconds: .inf, inventorySeconds: 5m}\n",
            [
                f"1: service.{name}: must be a number of seconds, 1 or more"
                for name in ("pollSeconds", "fullLookSeconds", "inventorySeconds")
            ],
            id="no-seconds",
        ),
        pytest.param(
            "service: {eventsKept: 1.5}\n",
            ["1: service.eventsKept: must be a whole number above 0"],
            id="no-count",
        ),
        pytest.param(
            "service: {logFormat: yaml}\n",
            ["1: service.logFormat: must be one of auto, json, console"],
            id="no-format",
        ),
        pytest.param(
            "service: {metricsAddress: 9100}\n",
            ['1: service.metricsAddress: must be HOST:PORT; or "" for none'],
            id="no-address",
        ),
        pytest.param(
            "service: {socketGroup: [a], operatorGroup: 7}\n",
            [
                "1: service.socketGroup: must be the name of a group",
                "1: service.operatorGroup: must be the name of a group",
            ],
            id="no-groups",
        ),
    ],
)
def test_every_mistake_about_the_service_has_its_line(
    cwd: Path, text: str, expected: list[str]
) -> None:
    found = problems(text, cwd)
    assert len(found) == len(expected)
    for problem, start in zip(found, expected, strict=True):
        assert problem.startswith(f"fleetd.yaml:{start}")


def test_the_service_has_settings_of_its_own(cwd: Path) -> None:
    (cwd / "fleetd.yaml").write_text(
        "state: s\n"
        "service:\n"
        "  socketGroup: readers\n"
        "  operatorGroup: ''\n"
        "  metricsAddress: '[::1]:9469'\n"
        "  streams: off\n"
        "  fullLookSeconds: 60\n"
        "  pollSeconds: 2.5\n"
        "  inventorySeconds: 10\n"
        "  logFormat: json\n"
        "  eventsKept: 10\n"
    )
    assert read(Flags(), {}, cwd).service == ServiceSettings(
        socket_group="readers",
        operator_group="",
        metrics_address="[::1]:9469",
        streams=False,
        full_look_s=60.0,
        poll_s=2.5,
        inventory_s=10.0,
        log_format="json",
        events_kept=10,
    )


def test_without_a_word_the_service_has_its_defaults(cwd: Path, empty: str) -> None:
    assert read(Flags(config=empty), {}, cwd).service == ServiceSettings()


def test_a_file_that_is_not_yaml_says_where(cwd: Path) -> None:
    (found,) = problems("state: a\ninventory: [a\n", cwd)
    assert found.startswith("fleetd.yaml:3: is not YAML: ")


def test_a_file_in_a_directory_of_everybody_is_not_trusted(cwd: Path) -> None:
    (cwd / "fleetd.yaml").write_text("inventory: ./run-me\n")
    cwd.chmod(0o777)
    with pytest.raises(InvalidInput, match="writable by everyone; name it with --config"):
        read(Flags(), {}, cwd)
    assert read(Flags(config="fleetd.yaml"), {}, cwd).inventory == (f"{cwd}/run-me",)


@pytest.mark.parametrize(
    ("text", "env", "flags", "expected"),
    [
        pytest.param("state: st\n", {}, Flags(), "{cwd}/st/fleetd.sock", id="in-its-state"),
        pytest.param(
            "state: /var/lib/fleetd\n", {}, Flags(), "/run/fleetd/fleetd.sock", id="the-systems"
        ),
        pytest.param(
            "", {}, Flags(state="/var/lib/fleetd/"), "/run/fleetd/fleetd.sock", id="named-by-a-flag"
        ),
        pytest.param("socket: s\nstate: st\n", {}, Flags(), "{cwd}/s", id="said-in-the-file"),
        pytest.param(
            "socket: s\n", {"FLEETD_SOCKET": "e"}, Flags(), "{cwd}/e", id="said-in-the-environment"
        ),
    ],
)
def test_the_socket_of_a_service_follows_its_state(
    cwd: Path, text: str, env: dict[str, str], flags: Flags, expected: str
) -> None:
    (cwd / "fleetd.yaml").write_text(text)
    assert read(flags, env, cwd).socket == expected.format(cwd=cwd)
