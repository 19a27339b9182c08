"""kubectl's templates: the rows are those of its reference, and what goes wrong in them."""

from __future__ import annotations

from typing import Any

import pytest

from fleetd.cli.jsonpath import read_path, read_template
from fleetd.errors import InvalidInput

LIST: dict[str, Any] = {
    "kind": "List",
    "items": [
        {
            "kind": "Node",
            "metadata": {
                "name": "127.0.0.1",
                "labels": {"kubernetes.io/hostname": "one", "a b": "c"},
            },
            "status": {
                "capacity": {"cpu": "4"},
                "ready": True,
                "addresses": [{"type": "LegacyHostIP", "address": "127.0.0.1"}],
            },
        },
        {
            "kind": "Node",
            "metadata": {"name": "127.0.0.2"},
            "status": {
                "capacity": {"cpu": "8"},
                "ready": False,
                "count": 3,
                "nothing": None,
                "addresses": [
                    {"type": "LegacyHostIP", "address": "127.0.0.2"},
                    {"type": "another", "address": "127.0.0.3"},
                ],
            },
        },
    ],
    "users": [
        {"name": "myself", "user": {}},
        {"name": "e2e", "user": {"username": "admin", "password": "secret"}},
    ],
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{.kind}", "List"),
        ("{$.kind}", "List"),
        ("{['kind']}", "List"),
        ("kind is {.kind}", "kind is List"),
        ("{.items[*].metadata.name}", "127.0.0.1 127.0.0.2"),
        ("{.items[*]['metadata.name', 'status.capacity']}", ""),
        ("{.items[1].status['ready', 'count']}", "false 3"),
        ("{..name}", "127.0.0.1 127.0.0.2 myself e2e"),
        ("{..user.username}", "admin"),
        ('{.users[?(@.name=="e2e")].user.password}', "secret"),
        ("{.users[?(@.name == 'e2e')].user.password}", "secret"),
        ("{.users[?(@.name!='e2e')].name}", "myself"),
        ("{.items[?(@.status.ready==true)].metadata.name}", "127.0.0.1"),
        ("{.items[?(@.status.count>2)].metadata.name}", "127.0.0.2"),
        ("{.items[?(@.status.count)].metadata.name}", "127.0.0.2"),
        ("{.items[?(@.status.capacity.cpu>='8')].metadata.name}", "127.0.0.2"),
        (
            "{range .items[*]}[{.metadata.name}, {.status.capacity.cpu}] {end}",
            "[127.0.0.1, 4] [127.0.0.2, 8] ",
        ),
        (
            "{range .items[*]}{.metadata.name}/{range .status.addresses[*]}{.type}{end} {end}",
            "127.0.0.1/LegacyHostIP 127.0.0.2/LegacyHostIPanother ",
        ),
        ("{.items[0].metadata.name}", "127.0.0.1"),
        ("{.items[-1].metadata.name}", "127.0.0.2"),
        ("{.items[0:1].metadata.name}", "127.0.0.1"),
        ("{.items[1:].metadata.name}", "127.0.0.2"),
        ("{.items[::2].metadata.name}", "127.0.0.1"),
        ("{.items[0,1].metadata.name}", "127.0.0.1 127.0.0.2"),
        (r"{.items[0].metadata.labels.kubernetes\.io/hostname}", "one"),
        ("{.items[0].metadata.labels['kubernetes.io/hostname']}", "one"),
        ("{.items[0].metadata.labels['a b']}", "c"),
        ("{.items[1].status.capacity}", '{"cpu":"8"}'),
        ("{.items[1].status.ready} {.items[1].status.count}", "false 3"),
        ("{.items[1].status.nothing}", "null"),
        ("{.items[*].status.capacity.*}", "4 8"),
        ("{.nobody}{.kind.deeper}{.items.name}", ""),
        ("{range .nobody[*]}x{end}", ""),
        ('{range .users[*]}{@.name}{" "}{end}', "myself e2e "),
        ("{ .kind }", "List"),
        (".kind", "List"),
        ("{@.kind}", "List"),
        ("{.items[0].status.addresses[0]}", '{"type":"LegacyHostIP","address":"127.0.0.1"}'),
    ],
    ids=lambda value: value if isinstance(value, str) and "{" in value else "",
)
def test_templates(template: str, text: str) -> None:
    assert read_template(template).fill(LIST) == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{.kind", "an action ends with }"),
        ("{range .items[*]}x", "{range} without {end}"),
        ("x{end}", "{end} without {range}"),
        ("{items}", "a path starts with a dot"),
        ("{.items[}", r"in \[ \] goes a number"),
        ("{.items[0}", r"\[ ends with \]"),
        ("{.items[?(@.a=='b'}", r"a filter ends with \)"),
        ("{.items[?(@.a=='b' && @.c)]}", "a filter has one comparison"),
        ("{.items[?@.a]}", "a filter is written"),
        ('{"text}', "lacks its closing"),
        ("{...a}", "a name is missing"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_place(template: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as raised:
        read_template(template)
    assert "cannot be read at" in str(raised.value)


def test_an_item_that_is_not_there_is_an_error_as_with_kubectl() -> None:
    with pytest.raises(InvalidInput, match="no item 7 in a list of 2"):
        read_template("{.items[7]}").fill(LIST)


@pytest.mark.parametrize("path", [".kind", "kind", "{.kind}", "{$.kind}", "$.kind"])
def test_one_path_may_be_written_in_short(path: str) -> None:
    assert read_path(path).find(LIST) == ["List"]


@pytest.mark.parametrize("path", ["{.a}{.b}", "{.a} b", "{range .a}{end}", ""])
def test_where_one_path_is_due_a_template_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput):
        read_path(path)
