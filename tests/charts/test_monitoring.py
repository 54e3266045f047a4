"""Alerts and dashboard ask for metrics that there are, in PromQL that parses, and of the targets that are scraped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import promql_parser
import pytest

if TYPE_CHECKING:
    from tests.charts.conftest import Chart

ROOT = Path(__file__).parents[2]
OTHERS = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}  # Prometheus' own, and prometheus-client's


def _exposed() -> str:
    """The code that names the metrics. A counter gets its `_total` and an info its `_info` from prometheus-client."""
    files = [*(ROOT / "agent").rglob("*.py"), *(ROOT / "collector").rglob("*.py")]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def _is_exposed(name: str, code: str) -> bool:
    base = re.sub(r"_(total|info|bucket|sum|count)$", "", name)
    gauge = base.removeprefix("forklore_")
    return f'"{base}"' in code or ('f"forklore_{name}"' in code and f'"{gauge}":' in code)


def _names(expression: Any) -> Iterator[str]:
    """Every metric that a parsed expression asks for."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression.name or ""
    elif isinstance(expression, promql_parser.MatrixSelector):
        yield expression.vector_selector.name or ""
    else:
        for part in ("expr", "lhs", "rhs"):
            if hasattr(expression, part):
                yield from _names(getattr(expression, part))
        for argument in getattr(expression, "args", ()):
            yield from _names(argument)


def _rules(chart: Chart) -> list[dict[str, Any]]:
    groups = chart.render("monitoring").get("PrometheusRule", "forklore")["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _expressions(chart: Chart) -> list[str]:
    # Grafana fills these in.
    panels = [
        re.sub(r"\$__\w+", "5m", target["expr"]) for panel in _dashboard(chart)["panels"] for target in panel.get("targets", [])
    ]
    return [rule["expr"] for rule in _rules(chart)] + panels


def _dashboard(chart: Chart) -> dict[str, Any]:
    text = chart.render("monitoring").get("ConfigMap", "forklore-dashboard")["data"]["forklore.json"]
    dashboard: dict[str, Any] = json.loads(text)
    return dashboard


def test_every_expression_uses_metrics_that_exist(chart: Chart) -> None:
    code = _exposed()
    asked = {name for text in _expressions(chart) for name in _names(promql_parser.parse(text))}
    assert len(asked) > 12 and "" not in asked
    program = (ROOT / "charts/forklore/files/ask_agents.py").read_text()  # `helm test` reads two, as text
    asked |= set(re.findall(r'"(forklore_\w+_total)"', program))
    assert [name for name in sorted(asked - OTHERS) if not _is_exposed(name, code)] == []
    assert not _is_exposed("forklore_nonsense_total", code) and not _is_exposed("forklore_ring_filled_ratio", code)


def test_an_invalid_expression_is_refused() -> None:
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        promql_parser.parse("sum by (node (x)")


@pytest.mark.parametrize(
    "wanted",
    [
        "ForkStorm",
        "ForksLost",
        "LedgerOpen",
        "SinkDown",
        "JournalGrowing",
        "AgentSilent",
        "AgentsAllSilent",
        "RingFilling",
        "NoNames",
        "CollectorDown",
    ],
)
def test_there_is_an_alert_with_a_summary_for(chart: Chart, wanted: str) -> None:
    (rule,) = [rule for rule in _rules(chart) if rule["alert"] == f"Forklore{wanted}"]
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert len(rule["annotations"]["summary"]) > 30


def test_labels_in_an_alert_s_text_are_labels_of_its_result(chart: Chart) -> None:
    """`{{ $labels.node }}` in words about `sum by (sink)` would be empty."""
    checked = 0
    for rule in _rules(chart):
        grouped = re.search(r"by \(([\w, ]+)\)", rule["expr"])
        if grouped:
            used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
            assert used <= set(grouped[1].split(", ")), rule["alert"]
            checked += 1
    assert checked > 4


def test_rules_select_the_targets_that_are_scraped(chart: Chart) -> None:
    """Prometheus' operator calls a PodMonitor's job namespace/name, and a ServiceMonitor's as the Service."""
    render = chart.render("monitoring")
    monitor, service = render.get("PodMonitor", "forklore-agent"), render.get("Service", "forklore-collector")
    expressions = {rule["alert"]: rule["expr"] for rule in _rules(chart)}
    job = f"{monitor['metadata']['namespace']}/{monitor['metadata']['name']}"
    assert expressions["ForkloreAgentSilent"] == f'up{{job="{job}"}} == 0'
    assert expressions["ForkloreCollectorDown"] == f'up{{job="{service["metadata"]["name"]}"}} == 0'
    assert not re.search("AGENT_JOB|COLLECTOR_JOB|JOURNAL_BYTES", render.text)
    assert "> 268435456" in expressions["ForkloreJournalGrowing"]


def test_alerts_can_be_left_out(chart: Chart) -> None:
    names = {rule["alert"] for rule in _rules(chart)}
    assert "ForkloreDeliveryLate" not in names
    agents_only = chart.render(values={"monitoring": {"rules": True}, "collector": {"enabled": False}})
    without = agents_only.get("PrometheusRule", "forklore")["spec"]["groups"]
    assert [group["name"] for group in without] == ["forklore"]  # no collector, no rules for one
    assert {"ForkloreDeliveryLate"} == {rule["alert"] for rule in without[0]["rules"]} - names


def test_grafana_can_load_the_dashboard(chart: Chart) -> None:
    """Panels with their own ids, on a grid of 24 columns with no two in one place, on the data source that is chosen above."""
    dashboard = _dashboard(chart)
    assert {"uid", "title", "schemaVersion", "templating", "time", "panels"} <= dashboard.keys()
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids)) > 12
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        grid = panel["gridPos"]
        cells = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])}
        assert max(x for x, _ in cells) < 24 and not cells & taken, panel["title"]
        taken |= cells
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(panel.get("targets", [])))) - {"__rate_interval", "__range"}
        assert used <= variables
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}"
