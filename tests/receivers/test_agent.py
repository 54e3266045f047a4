"""The real agent and real forks: what each receiver has is what was sent, once, in its own words.

Must not live here: what an answer means (test_table_*), which fields there are (tests/agent/sinks).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from tests.agent.sinks import ecs_documents, test_ocsf
from wire.events import KINDS

from .documents import Json, ecs, known, near, ocsf, of_otlp, same_as_otlp
from .running import Osmem, Tenzir, until
from .shipment import CAST, HOSTILE, Shipment, ids, ship

pytestmark = [pytest.mark.receivers, pytest.mark.kernel, pytest.mark.containers, pytest.mark.timeout(90)]

ROOT = Path(__file__).parents[2]
# Sink -> where its receiver has the event's id.
PLACES = {
    "everything": ("id",),
    "hec": ("event", "id"),
    "late": ("event", "id"),
    "hec-ocsf": ("event", "metadata", "uid"),
    "hec-chosen": ("event", "id"),
    "cast": ("metadata", "uid"),
    "bulk": ("event", "id"),
    "bulk-chosen": ("event", "id"),
    "twice": ("event", "id"),
    "fluent-splunk": ("message", "event", "id"),
    "fluent-http": ("message", "metadata", "uid"),
    "fluent-elasticsearch": ("message", "event", "id"),
}
CHOSEN = ("hec-chosen", "bulk-chosen", "otlp-chosen")


@pytest.fixture(scope="module")
def shipment(tmp_path_factory: pytest.TempPathFactory, osmem: Osmem) -> Shipment:
    if os.geteuid() != 0:
        pytest.skip("not root: no probe can be loaded")
    if not Path("/sys/kernel/btf/vmlinux").exists():
        pytest.skip("this kernel has no BTF")
    template = json.loads((ROOT / "docs/siem/examples/ecs-component-template.json").read_text())
    return ship(tmp_path_factory.mktemp("shipment"), osmem, template)


def asked_for(shipment: Shipment, sink: str) -> dict[str, Json]:
    """What was sent of what the sink's settings ask for, as the native sink had it."""

    def wanted(event: Json) -> bool:
        k8s = event["k8s"]
        if event["event"] == "node_summary" or (event["event"] == "gap" and event["k8s"]["pod_uid"] is None):
            return True
        if sink in CHOSEN:
            return bool(k8s["namespace"] == "shop" and (k8s["labels"] or {}).get("app") == "cart")
        return k8s["namespace"] in ("shop", "other")

    return {name: event for name, event in shipment.sent.items() if sink == "everything" or wanted(event)}


def otlp_ids(records: list[Json]) -> list[str]:
    return [of_otlp(record)["log.record.uid"] for record in records]


def test_what_was_sent_has_forks_threads_a_storm_and_a_hostile_name_in_it(shipment: Shipment) -> None:
    """Or the rest of these would show little."""
    forks = shipment.forks(pod="cart-1")
    assert Counter(event["kind"] for event in forks).keys() == {"process", "thread"}
    assert len(forks) >= 150
    assert len(shipment.forks(pod="noise-1")) >= 23
    assert HOSTILE in {event["comm"] for event in forks}
    assert {event["event"] for event in shipment.sent.values()} == {*KINDS} - {"gap"}
    phases = {event["phase"] for event in shipment.sent.values() if event["k8s"]["pod"] == "cart-1" and "phase" in event}
    assert phases == {"start", "stop"}


@pytest.mark.parametrize("sink", PLACES)
def test_what_arrived_is_what_was_sent_once(shipment: Shipment, sink: str) -> None:
    arrived = ids(shipment.arrived[sink], *PLACES[sink])
    assert Counter(arrived) == Counter([*asked_for(shipment, sink)])


@pytest.mark.parametrize("sink", ["otlp", "otlp-chosen"])
def test_what_arrived_by_otlp_is_what_was_sent_once(shipment: Shipment, sink: str) -> None:
    assert Counter(otlp_ids(shipment.arrived[sink])) == Counter([*asked_for(shipment, sink)])


def test_the_account_closes_for_every_sink(shipment: Shipment) -> None:
    assert shipment.ledger["closed"]
    before = shipment.ledger["suppressed"] + sum(shipment.ledger["lost"].values())
    for name, sink in shipment.ledger["sinks"].items():
        rest = sum(sum(sink[part].values()) for part in ("queued", "lost", "filtered"))
        assert sink["delivered"] + rest + before == shipment.ledger["captured"], name
        assert sum(sink["queued"].values()) == 0
        assert (sink["lost"] == {}) == (name != "refused")


@pytest.mark.parametrize("sink", [*PLACES, "otlp", "otlp-chosen", "fluent-otlp"])
def test_what_counts_as_delivered_is_what_the_receiver_has(shipment: Shipment, sink: str) -> None:
    forks = [event for event in asked_for(shipment, sink).values() if event["event"] == "sched_process_fork"]
    assert shipment.ledger["sinks"][sink]["delivered"] == len(forks)


def test_native_events_come_as_they_were_and_splunk_knows_whence_and_when(shipment: Shipment) -> None:
    for told in (*shipment.arrived["hec"], *shipment.arrived["late"]):
        sent = shipment.sent[told["event"]["id"]]
        assert near(told["event"]) == near(sent)
        assert (told["host"], told["source"], told["sourcetype"]) == ("node1", "forklore", "forklore:native")
        assert (
            abs(near(told["time"]) - near(sent["timestamp"])) < 2000
        )  # ns; a double of seconds holds no more than microseconds
    assert [near(event) for event in shipment.arrived["everything"]] == [
        near(shipment.sent[event["id"]]) for event in shipment.arrived["everything"]
    ]


@pytest.mark.parametrize("sink", ["hec-ocsf", "cast"])
def test_ocsf_says_all_that_the_native_event_says(shipment: Shipment, sink: str) -> None:
    for told in shipment.arrived[sink]:
        event = told["event"] if sink == "hec-ocsf" else told
        assert near(ocsf(event)) == near(shipment.sent[event["metadata"]["uid"]])


def test_ocsf_as_it_arrived_is_ocsf_by_the_official_schema(shipment: Shipment) -> None:
    for told in shipment.arrived["hec-ocsf"]:
        assert [one for one in test_ocsf.schema_errors(known(told["event"])) if "_dt: " not in one] == []  # see near


def test_the_cast_to_ocsf_has_nothing_to_say(shipment: Shipment) -> None:
    """Not of forks, threads, summaries, storms and heartbeats, and not of a gap."""
    kinds = {event["metadata"]["event_code"] for event in (*shipment.arrived["cast"], *shipment.arrived["refused"])}
    assert kinds == {*KINDS}
    assert (shipment.schema_errors["cast"], shipment.schema_errors["refused"]) == ("", "")


def test_the_cast_to_ocsf_would_say_what_is_wrong(folder: Path) -> None:
    right = json.loads((ROOT / "docs/siem/examples/ocsf-sched_process_fork.json").read_text())
    with Tenzir(folder, 'accept_http "127.0.0.1:PORT" { read_ndjson }' + CAST) as tenzir:
        for wrong in ({}, {"colour": "red"}, {"severity_id": "high"}):
            before = tenzir.schema_errors.stat().st_size
            tenzir.asked("/", json.dumps(right | wrong).encode() + b"\n")
            if wrong:
                until(lambda before=before: tenzir.schema_errors.stat().st_size > before, f"{wrong} is found")
        assert before > 0 or "colour" in tenzir.schema_errors.read_text()


@pytest.mark.parametrize("sink", ["bulk", "twice"])
def test_documents_say_all_that_the_native_event_says_in_fields_of_ecs(shipment: Shipment, sink: str) -> None:
    """`twice`: the answers to its first tries were lost, so they were sent again, and met a conflict each."""
    for told in shipment.arrived[sink]:
        assert near(ecs(told)) == near(shipment.sent[told["event"]["id"]])
        assert list(ecs_documents.schema_errors(told)) == []
    assert shipment.ledger["sinks"][sink]["lost"] == {}


def test_the_mapping_takes_what_the_agent_sends(osmem: Osmem, shipment: Shipment) -> None:
    """A number is found by a range, a name as a whole, a label by its key."""

    def count(query: Json) -> int:
        return int(osmem.ask("/forklore-bulk/_count", {"query": query})["count"])

    forks = [event for event in asked_for(shipment, "bulk").values() if event["event"] == "sched_process_fork"]
    assert count({"term": {"event.code": "sched_process_fork"}}) == len(forks)
    assert count({"term": {"kubernetes.pod.name": "noise-1"}}) > 0
    assert count({"term": {"kubernetes.labels.app": "noise"}}) == count({"term": {"kubernetes.pod.name": "noise-1"}})
    assert count({"range": {"process.pid": {"gte": 1}}}) == len(forks)
    assert count({"term": {"process.name.keyword": HOSTILE}}) == sum(event["comm"] == HOSTILE for event in forks)


def test_otlp_records_are_what_the_official_classes_make_of_the_native_event(shipment: Shipment) -> None:
    for record in shipment.arrived["otlp"]:
        assert same_as_otlp(record, shipment.sent[of_otlp(record)["log.record.uid"]])


def test_fluent_bit_reads_the_resources_of_otlp(shipment: Shipment) -> None:
    """Tenzir shows of a grouped message of Fluent Bit its beginning, where the resource is, and not what is in it."""
    messages = [one["message"] for one in shipment.arrived["fluent-otlp"]]
    resources = [message["resource"]["attributes"] for message in messages if "resource" in message]
    pods = {(one.get("k8s.namespace.name"), one.get("k8s.pod.name"), one.get("k8s.container.name")) for one in resources}
    assert {("shop", "cart-1", "app"), ("other", "noise-1", "app"), (None, None, None)} <= pods
    assert {one["k8s.cluster.name"] for one in resources} == {"demo"}


@pytest.mark.parametrize("sink", CHOSEN)
def test_what_leaves_the_node_is_what_was_chosen(shipment: Shipment, sink: str) -> None:
    text = "\n".join(json.dumps(one) for one in shipment.arrived[sink])
    assert "cart-1" in text
    assert "example.com/owner" in text
    assert "app.kubernetes.io" in text or "app_kubernetes_io" in text
    for gone in ("s3cr3t", '59855dd6c8"', "noise-1", "not asked for"):
        assert gone not in text.replace("cart-1-59855dd6c8", "")


def test_fields_that_were_dropped_are_in_nothing_that_arrived(shipment: Shipment) -> None:
    for told in shipment.arrived["hec-chosen"]:
        assert not {"comm", "namespaces"} & known(told["event"]).keys()
        assert "service_account" not in known(told["event"]["k8s"])
    for told in shipment.arrived["bulk-chosen"]:
        assert "name" not in told.get("process", {})
        assert "os" not in told["host"]
    for record in shipment.arrived["otlp-chosen"]:
        assert "process.executable.name" not in of_otlp(record)
        assert (record["body"] or {}).get("string_value") is None


def test_a_wrong_token_holds_everything_until_the_right_one_is_there(shipment: Shipment) -> None:
    assert shipment.late == "hold: 403 code 4, Invalid token: no such token: is token_file this Splunk's?"
    assert shipment.ledger["sinks"]["late"]["answers"]["403"] >= 1
    assert "0a1b2c3d" not in shipment.log


def test_what_a_receiver_refused_is_missing_there_by_as_many_as_the_gap_says(shipment: Shipment) -> None:
    arrived = [event["metadata"] for event in shipment.arrived["refused"]]
    forks = {one["uid"] for one in arrived if one["event_code"] == "sched_process_fork"}
    sent = {name for name, event in asked_for(shipment, "refused").items() if event["event"] == "sched_process_fork"}
    gaps = [event for event in shipment.arrived["refused"] if event["metadata"]["event_code"] == "gap"]
    lost = shipment.ledger["sinks"]["refused"]["lost"]["rejected"]
    assert forks < sent
    assert len(sent - forks) == lost == sum(known(gap)["count"] for gap in gaps)
    assert {known(gap)["unmapped"]["sink"] for gap in gaps} == {"refused"}
    # Two forks were counted on the host, where runc made them before they entered the container.
    pods = {known(gap)["unmapped"]["k8s"].get("pod") for gap in gaps}
    assert "cart-1" in pods or "noise-1" in pods
