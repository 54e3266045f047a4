"""What Prometheus reads at /metrics: names by its conventions, numbers that add up, labels that can not be misused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.histogram import BOUNDS
from agent.reporting.metrics import Exposition, PodCounts

ROOT = Path(__file__).parents[4]
# As `promtool check metrics` has them (prometheus/client_golang, testutil/promlint).
NOT_BASE_UNITS = "milliseconds|microseconds|nanoseconds|minutes|hours|days|kilobytes|megabytes|kibibytes|mebibytes|percent|bits"
SHORTENED = "s|ms|us|ns|sec|b|kb|mb|gb|kib|mib|gib|h|d|m"
UNITS = "seconds|bytes|ratio"


def complaints(family):
    name, found = family.name, []
    if not family.documentation or not family.documentation.endswith("."):
        found.append("no help")
    if not re.fullmatch(r"(forklore|process)(_[a-z0-9]+)+", name):
        found.append("not snake case, or no prefix of ours")
    words = name.split("_")
    if re.search(f"_({NOT_BASE_UNITS}|{SHORTENED})(_|$)", name):
        found.append("not a base unit")
    if {"counter", "gauge", "histogram", "summary", "total"} & set(words):
        found.append("a type in its name")
    if re.search(f"_({UNITS})_", name):
        found.append("a unit in the middle")
    for sample in family.samples:
        suffix = sample.name.removeprefix(name)
        allowed = {"counter": {"_total"}, "histogram": {"_bucket", "_sum", "_count"}, "gauge": {""}, "info": {"_info"}}
        if suffix not in allowed[family.type]:
            found.append(f"{sample.name} is no {family.type}'s")
        if any(not re.fullmatch("[a-z]+", label) for label in sample.labels):
            found.append(f"label of {sample.name}")
    return found


def test_each_name_follows_the_conventions(scrape, state):
    state.counts = [PodCounts("uid", "shop", "cart", 1, True, 5, 1, 0, 0)]
    families = [family for family in scrape().families if not family.name.startswith("process_")]
    assert len(families) > 35
    # The parser calls an info a gauge whose name ends with _info.
    wrong = {family.name: complaints(family) for family in families if family.name != "forklore_agent_info"}
    assert {name: why for name, why in wrong.items() if why} == {}


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("forklore_lag_ms", "gauge", "not a base unit"),
        ("forklore_fork_counter", "counter", "a type in its name"),
        ("forklore_seconds_waited", "gauge", "a unit in the middle"),
        ("forkloreForks", "counter", "not snake case, or no prefix of ours"),
    ],
)
def test_a_name_that_breaks_the_conventions_is_found(name, kind, why, scrape):
    family = next(family for family in scrape().families if family.type == kind)
    family.name, family.samples = name, []
    assert complaints(family) == [why]


def test_no_two_series_are_the_same(scrape):
    series = scrape().series
    assert len(series) == len(set(series)) > 100


def test_what_was_captured_is_accounted_for_at_each_sink(scrape):
    scraped = scrape()
    for sink in ("siem", "lake"):
        arrived = scraped.sum("forklore_delivered_forks_total", sink=sink) + scraped.sum("forklore_queued_forks", sink=sink)
        lost = scraped.sum("forklore_lost_forks_total", sink=sink) + scraped.sum("forklore_lost_forks_total", sink="")
        held = scraped.sum("forklore_filtered_forks_total", sink=sink) + scraped.sum("forklore_suppressed_forks_total")
        assert arrived + lost + held == scraped.sum("forklore_captured_forks_total") == 1000


def test_a_scrape_has_the_values_of_the_state(scrape, state):
    state.tries.observe(0.02)
    state.tries.observe(45.0)
    state.commits.observe(0.001)
    scraped = scrape()
    assert scraped.value("forklore_captured_forks_total", kind="thread") == 150
    assert scraped.value("forklore_queued_forks", sink="siem", where="journal") == 60
    assert scraped.value("forklore_draining_forks", sink="siem") == 6
    assert scraped.value("forklore_lost_forks_total", sink="", reason="ring") == 10
    assert scraped.value("forklore_sink_answers_total", sink="siem", answer="timeout") == 1
    assert scraped.value("forklore_sink_retries_total", sink="siem") == 2
    assert scraped.value("forklore_sink_sent_bytes_total", sink="siem") == 34567
    assert scraped.value("forklore_delivery_lag_seconds", sink="siem") == 1.5
    assert scraped.value("forklore_journal_bytes", sink="siem") == 6000
    assert scraped.value("forklore_journal_disk_bytes") == 8192
    assert scraped.value("forklore_ring_fill_ratio") == 0.25
    assert scraped.value("forklore_enriched_forks_total", state="late") == 20
    assert scraped.value("forklore_kubernetes_requests_total", what="403") == 2
    assert scraped.value("forklore_clock_steps_total") == 2
    assert scraped.value("forklore_agent_info", version="0.1.0", kernel="6.18.44", node="node1") == 1
    assert scraped.value("forklore_sink_try_duration_seconds_count", sink="siem") == 2
    assert scraped.value("forklore_sink_try_duration_seconds_sum", sink="siem") == pytest.approx(45.02)
    assert scraped.value("forklore_sink_try_duration_seconds_bucket", sink="siem", le="0.025") == 1
    assert scraped.value("forklore_sink_try_duration_seconds_bucket", sink="siem", le="60.0") == 2
    assert scraped.value("forklore_journal_commit_duration_seconds_count") == 1
    assert scraped.value("process_cpu_seconds_total") > 0
    assert scraped.value("process_resident_memory_bytes") > 1 << 20


def test_the_buckets_of_a_histogram_rise_to_its_count(scrape, state):
    for bound in (*BOUNDS, 1000.0):
        state.commits.observe(bound)
    scraped = scrape()
    buckets = [scraped.value("forklore_journal_commit_duration_seconds_bucket", le=str(bound)) for bound in (*BOUNDS, "+Inf")]
    assert buckets == [*range(1, len(BOUNDS) + 2)]


def test_a_receiver_can_make_only_a_bounded_number_of_series(scrape, state):
    answers = {str(status): 1 for status in range(100, 1000)} | {"tls": 1}
    sinks = {**state.agent.sinks, "siem": state.agent.sinks["siem"]._replace(answers=answers)}
    state.change(sinks=sinks, kubernetes_requests={str(status): 2 for status in range(600, 999)})
    scraped = scrape()
    answers = scraped.labels("forklore_sink_answers_total")
    assert len(answers) < 80
    assert scraped.sum("forklore_sink_answers_total", sink="siem") == 901
    assert scraped.value("forklore_sink_answers_total", sink="siem", answer="other") > 800
    assert scraped.labels("forklore_kubernetes_requests_total") == [{"what": "other"}]
    assert scraped.sum("forklore_kubernetes_requests_total") == 2 * 399


@pytest.mark.parametrize("node", ['a"b', "a\\", "a\nforklore_forged_total 1", "é\u2028\x00", "\udcff", "x" * 5000, "{}", ""])
def test_a_hostile_name_stays_a_label(scrape, state, node):
    state.change(identity=state.agent.identity._replace(node=node))
    scraped = scrape()
    (labels,) = scraped.labels("forklore_agent_info")
    assert labels["node"] == node.encode(errors="replace").decode()[:253]
    assert "forklore_forged_total" not in {name for name, _ in scraped.series}


def test_without_an_api_it_has_no_metric(scrape, state):
    state.measure(synced=None)
    assert not scrape().labels("forklore_kubernetes_synced")
    state.measure(synced=False)
    assert scrape().value("forklore_kubernetes_synced") == 0


def test_pods_have_no_metrics_unless_settings_ask_for_them(state):
    state.counts = [PodCounts("uid", "shop", "cart", 1, True, 5, 1, 0, 0)]
    assert b"forklore_pod" not in Exposition(state).text()


def test_the_page_of_metrics_has_what_the_code_has(scrape, state):
    """Operators look metrics up: name, type, labels, help."""
    state.counts = [PodCounts("uid", "shop", "cart", 1, True, 5, 1, 0, 0)]
    rows = []
    for family in scrape().families:
        if family.name.startswith("forklore_"):
            name = {"counter": f"{family.name}_total"}.get(family.type, family.name)
            labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
            shown = "" if not labels else "`" + "`, `".join(labels) + "`"
            rows.append(f"| `{name}` | {family.type} | {shown} | {family.documentation} |")
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    assert [row for row in page.splitlines() if row.startswith("| `")] == rows
