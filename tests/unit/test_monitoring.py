"""What docs/monitoring gives to operators: loaded by Prometheus' own tool, and held to the code.

A metric that an expression names and the service does not tell is an alert that never fires.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.adapters.metering import busy

DOCS = Path(__file__).parents[2] / "docs"
FILES = DOCS / "monitoring"
SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds."""
NOT_OURS = {"up": SCRAPED, "ALERTS": set[str]()}
NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
CLOSED = {
    ("fleetd_host_stream_state", "state"): {"live", "polling", "down"},
    ("fleetd_daemonset_rollout_state", "state"): {
        *("progressing", "stalled", "complete", "failed", "paused")
    },
    ("fleetd_actions_total", "outcome"): {"done", "failed", "refused", "lost", "not-tried"},
}
"""Labels of which all values are known."""


def exposed() -> Mapping[str, set[str]]:
    """The name of each series that a service tells, with its labels."""
    series: dict[str, set[str]] = {name: set(labels) for name, labels in NOT_OURS.items()}
    for family in text_string_to_metric_families(busy().metrics.text().decode()):
        for sample in family.samples:
            series.setdefault(sample.name, set()).update(sample.labels)
    return series


def promtool(*arguments: str) -> None:
    told = subprocess.run(
        ["promtool", *arguments], cwd=FILES, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr


def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((FILES / "dashboard.json").read_text())
    return read


def alerts() -> dict[str, str]:
    groups = yaml.safe_load((FILES / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def panels() -> Iterator[tuple[str, str]]:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield f"{panel['title']} {target['refId']}", target["expr"]


def queries() -> Iterator[tuple[str, str]]:
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            inner = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"])
            assert inner, variable["definition"]
            yield f"variable {variable['name']}", f"count by ({inner[2]}) ({inner[1]})"


def of_tests() -> Iterator[tuple[str, str]]:
    for test in yaml.safe_load((FILES / "alerts_test.yml").read_text())["tests"]:
        for series in test["input_series"]:
            yield f"test {test['name']}", series["series"]


EXPRESSIONS = [*alerts().items(), *panels(), *queries(), *of_tests()]


@pytest.mark.parametrize("expression", [text for _, text in EXPRESSIONS])
def test_every_expression_is_of_series_that_the_service_tells(expression: str) -> None:
    known = exposed()
    bare = re.sub(r'"[^"]*"', '""', expression)
    named = {name for name in NAME.findall(bare) if name.startswith(("fleetd_", "process_"))}
    assert named - known.keys() == set()
    assert named | (NOT_OURS.keys() & set(NAME.findall(bare)))
    for name, selector in re.findall(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^}]*)\}", expression):
        for label, value in re.findall(r'(\w+)\s*(?:=|!=|=~|!~)\s*"([^"]*)"', selector):
            assert label in known[name] | SCRAPED, f"{name} has no label {label}"
            values = CLOSED.get((name, label))
            assert values is None or set(value.split("|")) <= values
    labels = set().union(*(known[name] for name in named)) if named else set(SCRAPED)
    for wanted in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", bare):
        assert {label.strip() for label in wanted.split(",")} <= labels | SCRAPED


def test_every_metric_is_in_the_guide_with_its_labels_and_no_other() -> None:
    rows = re.findall(
        r"^\| `(fleetd_\w+)` \|\s*([\w, ]*?)\s*\|",
        (DOCS / "monitoring.md").read_text(),
        re.MULTILINE,
    )
    told = {name: {label for label in labels.split(", ") if label} for name, labels in rows}
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(busy().metrics.text().decode()):
        if family.name.startswith("fleetd_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = {label for sample in family.samples for label in sample.labels}
            found[name] = labels - {"le"}
            assert family.documentation.endswith("."), f"the help of {name} is a sentence"
    assert told == found


def test_panels_have_their_own_ids_and_places() -> None:
    taken: dict[tuple[int, int], str] = {}
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))
    for panel in dashboard()["panels"]:
        assert panel["type"] == "row" or panel["targets"]
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]


def test_every_alert_is_seen_to_fire_by_the_tests_of_the_rules() -> None:
    fires: set[str] = set()
    silent: set[str] = set()
    for test in yaml.safe_load((FILES / "alerts_test.yml").read_text())["tests"]:
        for case in test.get("alert_rule_test", ()):
            (fires if case.get("exp_alerts") else silent).add(case["alertname"])
        for case in test.get("promql_expr_test", ()):
            for sample in case.get("exp_samples", ()):
                fires.update(re.findall(r'alertname="(\w+)"', sample["labels"] + case["expr"]))
            if case["expr"] == 'ALERTS{alertstate="firing"}' and not case.get("exp_samples"):
                silent.update(alerts())
    assert fires == alerts().keys()
    assert silent == alerts().keys()


@pytest.mark.needs("promtool")
def test_prometheus_takes_the_configuration() -> None:
    promtool("check", "config", "prometheus.yml")


@pytest.mark.needs("promtool")
def test_the_alerts_do_what_they_say() -> None:
    promtool("check", "rules", "alerts.yml")
    promtool("test", "rules", "alerts_test.yml")


@pytest.mark.needs("promtool")
def test_prometheus_takes_every_query_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {
            "record": f"query:{number}",
            "expr": text.replace("$__rate_interval", "5m").replace("$instance", "a"),
        }
        for number, (_, text) in enumerate([*panels(), *queries()])
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))


@pytest.mark.needs("promtool")
def test_promtool_finds_nothing_to_say_of_the_metrics() -> None:
    told = subprocess.run(
        ["promtool", "check", "metrics"],
        input=busy().metrics.text(),
        capture_output=True,
        check=False,
    )
    assert (told.returncode, told.stdout, told.stderr) == (0, b"", b"")
