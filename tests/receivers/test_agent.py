"""The real agent and real forks: each receiver has what was sent, once, in its own schema."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from tests.agent.sinks.encoders import ecs_documents, ocsf_events
from wire.events import KINDS

from .documents import Json, ecs, near, ocsf, of_otlp, same_as_otlp, without_nulls
from .processes import Osmem, Tenzir, until
from .shipment import CAST, HOSTILE, Shipment, ids, ship

pytestmark = [pytest.mark.receivers, pytest.mark.kernel, pytest.mark.containers, pytest.mark.timeout(180)]

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
        pytest.skip("not root: BPF programs cannot be loaded")
    if not Path("/sys/kernel/btf/vmlinux").exists():
        pytest.skip("this kernel has no BTF")
    template = json.loads((ROOT / "docs/siem/examples/ecs-component-template.json").read_text())
    return ship(tmp_path_factory.mktemp("shipment"), osmem, template)


def selected_events(shipment: Shipment, sink: str) -> dict[str, Json]:
    """The sent events that the sink's settings select, as the native sink had them."""

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


def test_the_sent_events_include_threads_a_storm_and_a_hostile_name(shipment: Shipment) -> None:
    """Else the other tests would show little."""
    forks = shipment.forks(pod="cart-1")
    assert Counter(event["kind"] for event in forks).keys() == {"process", "thread"}
    assert len(forks) >= 150
    assert len(shipment.forks(pod="noise-1")) >= 23
    assert HOSTILE in {event["comm"] for event in forks}
    assert {event["event"] for event in shipment.sent.values()} == {*KINDS} - {"gap"}
    phases = {event["phase"] for event in shipment.sent.values() if event["k8s"]["pod"] == "cart-1" and "phase" in event}
    assert phases == {"start", "stop"}


@pytest.mark.parametrize("sink", PLACES)
def test_each_sent_event_arrived_once(shipment: Shipment, sink: str) -> None:
    arrived = ids(shipment.arrived[sink], *PLACES[sink])
    assert Counter(arrived) == Counter([*selected_events(shipment, sink)])


@pytest.mark.parametrize("sink", ["otlp", "otlp-chosen"])
def test_each_event_sent_by_otlp_arrived_once(shipment: Shipment, sink: str) -> None:
    assert Counter(otlp_ids(shipment.arrived[sink])) == Counter([*selected_events(shipment, sink)])


def test_the_ledger_balances_for_every_sink(shipment: Shipment) -> None:
    assert shipment.ledger["closed"]
    lost = shipment.ledger["lost"]  # what no program counted, "recursion" and "unseen", is not in "captured" either
    before = shipment.ledger["suppressed"] + lost["ring"] + lost["orphaned"]
    for name, sink in shipment.ledger["sinks"].items():
        rest = sum(sum(sink[part].values()) for part in ("queued", "lost", "filtered"))
        assert sink["delivered"] + rest + before == shipment.ledger["captured"], name
        assert sum(sink["queued"].values()) == 0
        assert (sink["lost"] == {}) == (name != "refused")


@pytest.mark.parametrize("sink", [*PLACES, "otlp", "otlp-chosen", "fluent-otlp"])
def test_delivered_forks_are_those_of_the_receiver(shipment: Shipment, sink: str) -> None:
    forks = [event for event in selected_events(shipment, sink).values() if event["event"] == "sched_process_fork"]
    assert shipment.ledger["sinks"][sink]["delivered"] == len(forks)


def test_native_events_arrive_unchanged_with_splunks_host_source_and_time(shipment: Shipment) -> None:
    for arrived in (*shipment.arrived["hec"], *shipment.arrived["late"]):
        sent = shipment.sent[arrived["event"]["id"]]
        assert near(arrived["event"]) == near(sent)
        assert (arrived["host"], arrived["source"], arrived["sourcetype"]) == ("node1", "forklore", "forklore:native")
        assert (
            abs(near(arrived["time"]) - near(sent["timestamp"])) < 2000
        )  # ns; a double of seconds holds no more than microseconds
    assert [near(event) for event in shipment.arrived["everything"]] == [
        near(shipment.sent[event["id"]]) for event in shipment.arrived["everything"]
    ]


@pytest.mark.parametrize("sink", ["hec-ocsf", "cast"])
def test_ocsf_has_all_fields_of_the_native_event(shipment: Shipment, sink: str) -> None:
    for arrived in shipment.arrived[sink]:
        event = arrived["event"] if sink == "hec-ocsf" else arrived
        assert near(ocsf(event)) == near(shipment.sent[event["metadata"]["uid"]])


def test_arrived_ocsf_is_valid_by_the_official_schema(shipment: Shipment) -> None:
    for arrived in shipment.arrived["hec-ocsf"]:  # its times: see near
        assert [
            one for one in ocsf_events.schema_errors(without_nulls(arrived["event"])) if "_dt: " not in one
        ] == []  # see near


def test_the_cast_to_ocsf_has_no_warnings(shipment: Shipment) -> None:
    """For forks, threads, summaries, storms, node summaries and gaps."""
    kinds = {event["metadata"]["event_code"] for event in (*shipment.arrived["cast"], *shipment.arrived["refused"])}
    assert kinds == {*KINDS}
    assert (shipment.stderr["cast"], shipment.stderr["refused"]) == ("", "")


def test_the_cast_to_ocsf_warns_of_errors(folder: Path) -> None:
    right = json.loads((ROOT / "docs/siem/examples/ocsf-sched_process_fork.json").read_text())
    with Tenzir(folder, 'accept_http "127.0.0.1:PORT" { read_ndjson }' + CAST) as tenzir:
        for wrong in ({}, {"colour": "red"}, {"severity_id": "high"}):
            before = tenzir.stderr_file.stat().st_size
            tenzir.request("/", json.dumps(right | wrong).encode() + b"\n")
            if wrong:
                until(lambda before=before: tenzir.stderr_file.stat().st_size > before, f"{wrong} is found")
        assert before > 0 or "colour" in tenzir.stderr_file.read_text()


@pytest.mark.parametrize("sink", ["bulk", "twice"])
def test_documents_are_valid_ecs_with_all_fields_of_the_native_event(shipment: Shipment, sink: str) -> None:
    """`twice`: the responses to its first tries were lost, so they were sent again, as conflicts."""
    for arrived in shipment.arrived[sink]:
        assert near(ecs(arrived)) == near(shipment.sent[arrived["event"]["id"]])
        assert list(ecs_documents.schema_errors(arrived)) == []
    assert shipment.ledger["sinks"][sink]["lost"] == {}


def test_the_mapping_fits_the_agents_events(osmem: Osmem, shipment: Shipment) -> None:
    """A number is found by a range, a name as a whole, a label by its key."""

    def count(query: Json) -> int:
        return int(osmem.ask("/forklore-bulk/_count", {"query": query})["count"])

    forks = [event for event in selected_events(shipment, "bulk").values() if event["event"] == "sched_process_fork"]
    assert count({"term": {"event.code": "sched_process_fork"}}) == len(forks)
    assert count({"term": {"kubernetes.pod.name": "noise-1"}}) > 0
    assert count({"term": {"kubernetes.labels.app": "noise"}}) == count({"term": {"kubernetes.pod.name": "noise-1"}})
    assert count({"range": {"process.pid": {"gte": 1}}}) == len(forks)
    assert count({"term": {"process.name.keyword": HOSTILE}}) == sum(event["comm"] == HOSTILE for event in forks)


def test_otlp_records_are_equal_to_the_official_classes_encoding(shipment: Shipment) -> None:
    for record in shipment.arrived["otlp"]:
        assert same_as_otlp(record, shipment.sent[of_otlp(record)["log.record.uid"]])


def test_fluent_bit_reads_the_resources_of_otlp(shipment: Shipment) -> None:
    """Tenzir shows only the beginning of a grouped message of Fluent Bit, which has the resource."""
    messages = [one["message"] for one in shipment.arrived["fluent-otlp"]]
    resources = [message["resource"]["attributes"] for message in messages if "resource" in message]
    pods = {(one.get("k8s.namespace.name"), one.get("k8s.pod.name"), one.get("k8s.container.name")) for one in resources}
    assert {("shop", "cart-1", "app"), ("other", "noise-1", "app"), (None, None, None)} <= pods
    assert {one["k8s.cluster.name"] for one in resources} == {"demo"}


@pytest.mark.parametrize("sink", CHOSEN)
def test_only_selected_parts_leave_the_node(shipment: Shipment, sink: str) -> None:
    text = "\n".join(json.dumps(one) for one in shipment.arrived[sink])
    assert "cart-1" in text
    assert "example.com/owner" in text
    assert "app.kubernetes.io" in text or "app_kubernetes_io" in text
    for gone in ("s3cr3t", '59855dd6c8"', "noise-1", "not asked for"):
        assert gone not in text.replace("cart-1-59855dd6c8", "")


def test_dropped_fields_did_not_arrive(shipment: Shipment) -> None:
    for arrived in shipment.arrived["hec-chosen"]:
        assert not {"comm", "namespaces"} & without_nulls(arrived["event"]).keys()
        assert "service_account" not in without_nulls(arrived["event"]["k8s"])
    for arrived in shipment.arrived["bulk-chosen"]:
        assert "name" not in arrived.get("process", {})
        assert "os" not in arrived["host"]
    for record in shipment.arrived["otlp-chosen"]:
        assert "process.executable.name" not in of_otlp(record)
        assert (record["body"] or {}).get("string_value") is None


def test_a_wrong_token_holds_everything_until_it_is_replaced(shipment: Shipment) -> None:
    assert shipment.late == "hold: 403 code 4, Invalid token: no such token: is token_file this Splunk's?"
    assert shipment.ledger["sinks"]["late"]["answers"]["403"] >= 1
    assert "0a1b2c3d" not in shipment.log


def test_the_gaps_count_the_events_that_a_receiver_rejected(shipment: Shipment) -> None:
    arrived = [event["metadata"] for event in shipment.arrived["refused"]]
    forks = {one["uid"] for one in arrived if one["event_code"] == "sched_process_fork"}
    sent = {name for name, event in selected_events(shipment, "refused").items() if event["event"] == "sched_process_fork"}
    gaps = [event for event in shipment.arrived["refused"] if event["metadata"]["event_code"] == "gap"]
    lost = shipment.ledger["sinks"]["refused"]["lost"]["rejected"]
    assert forks < sent
    assert len(sent - forks) == lost == sum(without_nulls(gap)["count"] for gap in gaps)
    assert {without_nulls(gap)["unmapped"]["sink"] for gap in gaps} == {"refused"}
    # Two forks were counted on the host, where runc made them before they were attached to the container.
    pods = {without_nulls(gap)["unmapped"]["k8s"].get("pod") for gap in gaps}
    assert "cart-1" in pods or "noise-1" in pods
