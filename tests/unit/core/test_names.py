from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from fleetd.core import expansion, names, paths, quantity


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (names.dns_label, ["a", "a-1", "a" * 63], ["", "A", "a.b", "-a", "a-", "a" * 64, "a\n"]),
        (names.dns_subdomain, ["a.b-c.d", "1"], ["", "a..b", "a_b", ".a", "a." * 130]),
        (
            names.label_key,
            ["app", "x.y/App_1.z", "a" * 63],
            ["", "/a", "X/a", "a/", "a/b/c", "a" * 64, "-a", "a b"],
        ),
        (names.label_value, ["", "a", "A_b.c-1"], ["-a", "a.", "a b", "a/b", "a" * 64]),
        (names.env_name, ["A", "_a", "a.b-c"], ["", "1a", "a=b", "a b"]),
        (names.unit_env_name, ["A_1"], ["a-b", "a.b", "1", ""]),
        (names.config_key, ["a.conf", "A_b-1"], ["", "a/b", "..", ".", "a b"]),
        (names.port_name, ["http", "a-1"], ["", "8080", "HTTP", "a--b", "a" * 16, "-a"]),
        (
            names.address,
            ["10.0.0.1", "host-1.example", "fd00::1", "fe80::1%eth0"],
            ["", "-oProxyCommand=x", "a b", "a;b", "a@b", "$(a)", "%h", "a/b", "::1;x"],
        ),
        (names.user, ["root", "_apt", "a.b-c"], ["", "-l", "a b", "a;b", "1a", "a" * 40, "%u"]),
        (names.unit, ["a.service", "a@b.timer"], ["a", "a/b.service", "a b.service", ".service"]),
        (names.delivered_path, ["/etc/a", "/a"], ["a", "/", "/a/", "/a//b", "/a b", "/a/../b"]),
        (names.relative_path, ["a/b", "..data"], ["/a", "../a", "a/..", "a\nb"]),
        (names.no_control, ["aä€", ""], ["a\nb", "\x1b[0m", "\x7f", "\x85", "\u2028", "a\tb"]),
        (names.text_block, ["a\n\tb"], ["a\rb", "\x00"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_names(rule: Callable[[str], str], good: list[str], bad: list[str]) -> None:
    assert {text: rule(text) for text in good} == dict.fromkeys(good, "")
    assert [text for text in bad if not rule(text)] == []


@pytest.mark.parametrize("value", [0, 1, 500, "0%", "10%", "100%", "010%"])
def test_legal_counts(value: int | str) -> None:
    assert names.count_or_percent(value) == ""


@pytest.mark.parametrize("value", [-1, "10", "-1%", "+1%", "1.5%", " 5%", "5 %", "%", "101%", ""])
def test_illegal_counts(value: int | str) -> None:
    assert names.count_or_percent(value)


@pytest.mark.parametrize(
    ("value", "total", "count"),
    [(3, 1, 3), ("10%", 11, 2), ("0%", 9, 0), ("100%", 9, 9), ("1%", 1, 1), ("50%", 0, 0)],
)
def test_percentages_are_rounded_up(value: int | str, total: int, count: int) -> None:
    assert names.scaled(value, total) == count


@pytest.mark.parametrize(
    ("text", "whole", "milli"),
    [
        ("1", 1, 1000),
        ("100m", 1, 100),
        ("1.5", 2, 1500),
        (".5", 1, 500),
        ("200Mi", 200 << 20, 200_000 << 20),
        ("1G", 10**9, 10**12),
        ("2e3", 2000, 2_000_000),
        ("1E", 10**18, 10**21),
        ("1n", 1, 1),
        ("-1", -1, -1000),
    ],
)
def test_quantities(text: str, whole: int, milli: int) -> None:
    assert (quantity.whole(text), quantity.milli(text)) == (whole, milli)


@pytest.mark.parametrize(
    "text", ["", "a", "1 Gi", "1gi", "1KB", "0x1", "1e", "--1", "\u0661", "1" * 99]
)
def test_no_quantities(text: str) -> None:
    with pytest.raises(ValueError, match="must be a quantity"):
        quantity.parse(text)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(B)", "$(B)"),
        ("$(A", "$(A"),
        ("$A ${A} $", "$A ${A} $"),
        ("$()", "$()"),
        ("x$(A)$(A)y", "x11y"),
    ],
)
def test_expansion(text: str, expanded: str) -> None:
    assert expansion.expand(text, {"A": "1"}.get) == expanded


def test_variables_are_found_but_not_escaped_ones() -> None:
    assert expansion.variables("$(A) $$(B) $(C.d)") == ("A", "C.d")


@given(st.text("$()AB", max_size=12))
def test_nothing_is_replaced_without_a_variable(text: str) -> None:
    asked: list[str] = []
    expanded = expansion.expand(text, asked.append)
    assert tuple(asked) == expansion.variables(text)
    # Between $( and ) even $$ is a name, as in Kubernetes; everywhere else it stands for $.
    assert expanded == text.replace("$$", "$") or any("$$" in name for name in asked)


def test_paths() -> None:
    path = paths.join("spec", ["containers", 0, "resources", "limits", "a.b/c"])
    assert path == "spec.containers[0].resources.limits[a.b/c]"
    assert paths.parent(path) == "spec.containers[0].resources.limits"
    assert paths.parent("spec.containers[0]") == "spec.containers"
    assert paths.parent("spec") == paths.parent("") == ""
