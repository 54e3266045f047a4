"""The numbers of docs/scale.md agree: tables follow from inputs, inputs are those of the code and the benchmarks."""

import importlib.util
import json
import random
import re
import sys
from pathlib import Path

import pytest

from agent.attribution.pods import watch as pod_watch_module
from agent.settings.sinks import BatchSettings, SinkSettings
from dev.bench import volume
from dev.bench.api_server import burst, virtual_time
from dev.bench.api_server.fleet import SCENARIOS, line, run_scenario
from tests.silenced import silenced

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/scale.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def scale():
    spec = importlib.util.spec_from_file_location("scale", ROOT / "dev/generate/docs_scale.py")
    assert spec and spec.loader
    module = sys.modules["scale"] = importlib.util.module_from_spec(spec)  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def inputs(scale):
    return scale.inputs_of(TEXT)


def cell(name, row, column):
    """A number in a table, by the beginning of its row and by its column, 0 being the row's name."""
    (block,) = re.findall(rf"<!-- made: {name} -->\n(.*?)\n<!-- end -->", TEXT, re.DOTALL)
    (found,) = [one for one in block.splitlines() if one.startswith(f"| {row}")]
    return float(re.match(r"[\d.,]+", found.strip("|").split("|")[column].strip())[0].replace(",", ""))


def test_every_table_follows_from_the_inputs(scale):
    assert scale.rendered(TEXT) == TEXT, "run .venv/bin/python dev/generate/docs_scale.py"


def test_with_other_inputs_they_are_other_tables(scale):
    assert scale.rendered(TEXT.replace("| `nodes` | 5000 |", "| `nodes` | 4000 |")) != TEXT


def test_the_tables_are_right_when_computed_by_hand(inputs):
    """What dev/generate/docs_scale.py makes, once more without it: events, volume, journal, collector, savings of 5,000
    ordinary nodes.
    """
    events = 50 + (30 * 3 + 2) / 10
    assert cell("rates", "ordinary", 2) == pytest.approx(events, rel=0.01)
    assert cell("rates", "ordinary", 3) == pytest.approx(5000 * events, rel=0.01)
    native = inputs.ways["native"]
    plain = 50 * native.fork + 9.2 * native.summary
    assert cell("volume", "native |", 2) == pytest.approx(plain * 5000 * 86_400 / 1e12, rel=0.02)
    wire = 50 * native.packed[1] + 9.2 * native.summary_packed
    assert cell("rates", "ordinary", 5) == pytest.approx(wire * 5000 * 8 / 1e9, rel=0.02)
    assert cell("outage", "ordinary", 1) == pytest.approx((wire + 50 * inputs["journal_50"]) * 3600 / 1e6, rel=0.02)
    assert cell("outage", "ordinary", 2) == pytest.approx(512 * 2**20 / wire / 3600, rel=0.02)
    busy_us = 50 * inputs["collector_us_50"] + 9.2 * inputs["collector_us_summary"]
    assert cell("collector", "ordinary", 1) == pytest.approx(1e6 / busy_us, rel=0.02)
    counts = 9.2 * native.summary * 5000 * 86_400 / 1e12
    assert cell("savings", "`select.events`", 2) == pytest.approx(counts, rel=0.02)
    assert cell("savings", "the same", 4) == pytest.approx(5000 / 60, rel=0.02)
    assert cell("savings", "the same", 2) == pytest.approx(counts / 6, rel=0.02)
    assert cell("api", "watches", 1) == pytest.approx(5000 / 450, rel=0.02)
    assert cell("api", "100 pods", 2) == pytest.approx(100 * 103 / 1000, rel=0.02)


def test_numbers_in_sentences_are_those_of_the_tables(inputs):
    day = cell("savings", "as it comes", 2)
    assert f"makes {round(day, -1):.0f} TB a day" in TEXT
    assert day / cell("savings", "`select.events`", 2) == pytest.approx(8, rel=0.1), "an eighth"
    assert day / cell("savings", "the same", 2) == pytest.approx(50, rel=0.1), "a fiftieth"
    assert f"summaries alone need {5000 * inputs.own * inputs['collector_us_summary'] / 1e6:.1f} cores" in TEXT
    assert f"a node, {inputs.own:.1f} a second are no forks" in TEXT
    mib = inputs["agent_mib"], inputs["kernel_mib"]
    assert "{:.0f} MiB and {:.0f} MiB".format(*mib) in TEXT
    assert f"{sum(mib) * inputs['nodes'] / 1024:.0f} GiB in all nodes" in TEXT


def test_a_batch_between_two_that_were_measured_is_between_them(scale):
    sizes, values = (5, 50, 500), (388, 246, 230)
    assert [scale.between(sizes, values, at) for at in (1, 5, 50, 500, 9000)] == pytest.approx([388, 388, 246, 230, 230])
    assert scale.between(sizes, values, 5 * 10**0.5) == pytest.approx((388 + 246) / 2)


def test_the_inputs_are_those_of_the_code(inputs):
    defaults = SinkSettings(name="siem", url="http://siem")
    assert inputs["watch_s"] == 1.5 * pod_watch_module._WATCH_S
    assert inputs["batch_wait"] == BatchSettings().wait == defaults.batch.wait
    assert inputs["batch_mib"] == BatchSettings().bytes / 2**20
    assert inputs["batch_events"] == BatchSettings().events
    assert inputs["journal_mib"] == defaults.journal_bytes / 2**20
    assert "| `capture.summary_interval` | `10s` |" in (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    cost = (ROOT / "docs/cost.md").read_text(encoding="utf-8")
    (measured,) = re.findall(r"\| forklore, gzip \| ([\d.]+) .*\| (\d+) MiB \|", cost)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{inputs['agent_us']:g} us of CPU for each fork" in readme and f"{inputs['agent_mib']:g} MiB resident" in readme
    assert (inputs["agent_us"], inputs["agent_mib"]) == tuple(map(float, measured)), "make bench prints other numbers by now"
    assert inputs["summary_interval"] == 10
    assert inputs["pods"] == volume.PODS


def test_the_bytes_are_those_of_the_encoders_for_a_node_s_forks(inputs):
    traffic = volume.Traffic()
    assert len(traffic.summaries) + 1 == inputs.own * inputs["summary_interval"]
    assert list(inputs.ways) == list(volume.WAYS)
    for name, quoted in inputs.ways.items():
        made = volume.sizes(traffic, name)
        assert made.plain == pytest.approx(quoted.fork, rel=0.01), name
        assert made.packed == pytest.approx(quoted.packed, rel=0.05), f"{name}: another build of the compressor?"
        assert made.summary == pytest.approx((quoted.summary, quoted.summary_packed), rel=0.05), name


def test_a_list_is_as_large_as_the_recorded_pods_make_it(inputs):
    whole = len(burst.body_of(int(inputs["pods"])))
    assert inputs["list_kb"] == pytest.approx(whole / 1000, rel=0.01)
    assert f"{whole:,} bytes" in TEXT


def test_a_pod_s_life_is_as_long_as_it_was_recorded(inputs):
    recorded = (ROOT / "tests/data/kubernetes-1.36/watch-lifecycle.ndjson").read_bytes().splitlines()
    changes = [(json.loads(one), len(one)) for one in recorded]
    lives = [size for event, size in changes if event["object"]["metadata"].get("name", "") == "cart-59855dd6c8-hnc27"]
    assert (len(lives), sum(lives) / 1000) == pytest.approx((inputs["pod_changes"], inputs["pod_kb"]), rel=0.01)
    assert {size for event, size in changes if event["type"] == "BOOKMARK"} == {inputs["bookmark_bytes"]}


@pytest.mark.parametrize("scenario", [SCENARIOS[2], SCENARIOS[5]], ids=lambda one: one.name)
def test_the_simulation_gives_the_quoted_numbers_again(scenario):
    """For the two shortest scenes; to a tenth, because another Python may draw its random numbers in another order."""
    random.seed(23)
    with silenced(pod_watch_module.__name__):
        simulated = line(scenario, virtual_time.run(run_scenario(scenario, 5000, 3, len(burst.body_of(30)))))
    quoted = [one for one in TEXT.splitlines() if one[:36] == simulated[:36] and abs(len(one) - len(simulated)) < 3]
    numbers = [[float(number) for number in one[36:].replace("-", "0").split()] for one in (simulated, *quoted)]
    assert any(numbers[0] == pytest.approx(one, rel=0.1, abs=0.2) for one in numbers[1:]), simulated
