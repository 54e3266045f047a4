"""The format of each pair of protocol and schema: its bodies are what a receiver reads, with the right URL and headers."""

import json
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from agent.model import NO_CGROUP, Attribution
from agent.settings.sinks import CHOICES, SinkSettings
from agent.sinks.delivery.responses import Result
from agent.sinks.formats import FormatSpec, make_format
from agent.sinks.packer import BatchLimits, Packer
from tests.agent.sinks.model_strategies import a_fork, a_pod, forks

STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
EXAMPLES = json.loads((Path(__file__).parents[3] / "wire/examples.json").read_text())
OWN = [event for event in EXAMPLES if event["event"] != "sched_process_fork"]
PAIRS = [(protocol, schema) for protocol, schemas in CHOICES["schema_"].items() for schema in schemas]
FILTER = "filter_path=errors,items.*.status,items.*.error.type"


def a_spec(protocol="http", schema=None, **fields):
    usual = {"name": "siem", "url": "https://siem.example:8443", "protocol": protocol}
    return FormatSpec(**(usual | {"schema": schema or CHOICES["schema_"][protocol][0]} | fields))


def a_format(protocol="http", schema=None, annotations_kept=(), **fields):
    return make_format(a_spec(protocol, schema, **fields), "demo", "node1", annotations_kept)


def a_batch(shape, several=(), events=OWN, compression="none"):
    items = [*shape.encoder.forks(STREAM, several), *map(shape.encoder.event, events)]
    cgroups = [*(fork.counted for fork in several), *[NO_CGROUP] * len(events)]
    (batch,) = Packer(shape.framing, compression, BatchLimits(1000, 1 << 30)).pack(STREAM, items, cgroups, 0.0)
    return batch


def objects(text):
    """Consecutive objects, as Splunk reads them."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        yield value
        at += len(text[at:]) - len(text[at:].lstrip())


def ids_in(protocol, schema, body):
    """The events' ids, read without any code of the product."""
    if protocol == "otlp":
        request = ExportLogsServiceRequest.FromString(body)
        records = [one for group in request.resource_logs for scope in group.scope_logs for one in scope.log_records]
        return [{pair.key: pair.value.string_value for pair in one.attributes}["log.record.uid"] for one in records]
    lines = body.decode().split("\n")[:-1]
    if protocol == "splunk_hec":
        events = [one["event"] for one in objects(body.decode())]
    elif protocol == "elasticsearch":
        assert [json.loads(one)["create"]["_id"] for one in lines[::2]] == [
            json.loads(one)["event"]["id"] for one in lines[1::2]
        ]
        events = [json.loads(line) for line in lines[1::2]]
    else:
        events = json.loads(body) if body.startswith(b"[") else [json.loads(line) for line in lines]
    reads = {"native": lambda one: one["id"], "ecs": lambda one: one["event"]["id"], "ocsf": lambda one: one["metadata"]["uid"]}
    return [reads[schema](event) for event in events]


@pytest.mark.parametrize(("protocol", "schema", "framing"), [*((*pair, "ndjson") for pair in PAIRS), ("http", "ocsf", "json")])
@given(st.lists(forks(), max_size=3))
def test_every_event_is_in_the_body_as_its_receiver_reads_it(protocol, schema, framing, several):
    shape = a_format(protocol, schema, framing=framing, compression="none")
    batch = a_batch(shape, several)
    sent = [f"{STREAM}.{fork.cpu}.{fork.sequence}" for fork in several] + [event["id"] for event in OWN]
    found = ids_in(protocol, schema, batch.body)
    assert sorted(found) == sorted(sent)
    assert found == sent or protocol == "otlp"
    assert sum(batch.forks.values()) == len(several)
    assert len(shape.framing.items(batch.body)) == len(sent)


def test_the_settings_allow_these_pairs_and_no_others():
    schemas = {schema for those in CHOICES["schema_"].values() for schema in those}
    passed = []
    for protocol, schema in product(CHOICES["schema_"], schemas):
        try:
            SinkSettings.model_validate({"name": "siem", "url": "http://x", "protocol": protocol, "schema": schema})
            passed.append((protocol, schema))
        except ValueError:
            pass
    assert sorted(passed) == sorted(PAIRS)


@pytest.mark.parametrize(
    ("protocol", "url", "whole"),
    [
        ("http", "https://a", "https://a"),
        ("http", "https://a/x?y=z", "https://a/x?y=z"),
        ("splunk_hec", "https://a:8088", "https://a:8088/services/collector/event"),
        ("splunk_hec", "https://a:8088/", "https://a:8088/services/collector/event"),
        ("splunk_hec", "https://a/api/v1/ingest/hec", "https://a/api/v1/ingest/hec"),
        ("otlp", "http://a:4318", "http://a:4318/v1/logs"),
        ("otlp", "http://a:4318/otlp/v1/logs", "http://a:4318/otlp/v1/logs"),
        ("otlp", "http://[::1]:4318", "http://[::1]:4318/v1/logs"),
        ("elasticsearch", "https://a:9200", f"https://a:9200/logs-forklore.process-default/_bulk?{FILTER}"),
        ("elasticsearch", "https://a:9200?pipeline=p", "https://a:9200/logs-forklore.process-default/_bulk?pipeline=p"),
        ("elasticsearch", "https://a/es/_bulk", f"https://a/es/_bulk?{FILTER}"),
        ("elasticsearch", "https://a/_bulk?pipeline=p", "https://a/_bulk?pipeline=p"),
        ("elasticsearch", "https://a/api/v1/ingest/elastic-bulk", "https://a/api/v1/ingest/elastic-bulk"),
    ],
)
def test_a_url_without_a_path_gets_the_protocols_path(protocol, url, whole):
    assert a_format(protocol, url=url).url == whole


@pytest.mark.parametrize(
    ("fields", "path", "action", "stream"),
    [
        ({}, "/logs-forklore.process-default/_bulk", None, ("logs", "forklore.process", "default")),
        ({"data_stream": "logs-forks-prod"}, "/logs-forks-prod/_bulk", None, ("logs", "forks", "prod")),
        ({"index": "forks-a-b"}, "/forks-a-b/_bulk", None, None),
        ({"url": "https://a/es/_bulk", "data_stream": "logs-a-b"}, "/es/_bulk", "logs-a-b", ("logs", "a", "b")),
        ({"url": "https://a/es/_bulk", "index": "forks"}, "/es/_bulk", "forks", None),
        ({"url": "https://a/es/_bulk"}, "/es/_bulk", None, None),
        ({"url": "https://a/logs-forks-prod/_bulk"}, "/logs-forks-prod/_bulk", None, ("logs", "forks", "prod")),
    ],
)  # fmt: skip
def test_documents_name_the_data_stream_that_they_go_to(fields, path, action, stream):
    shape = a_format("elasticsearch", **fields)
    assert shape.url.partition("?")[0].endswith(path)
    for item in (*shape.encoder.forks(STREAM, [a_fork()]), shape.encoder.event(OWN[0])):
        head, document = map(json.loads, item.split("\n"))
        assert head["create"].get("_index") == action
        named = document.get("data_stream")
        assert (named and (named["type"], named["dataset"], named["namespace"])) == stream


def test_splunks_envelope_has_host_source_sourcetype_and_index():
    (item,) = a_format("splunk_hec", "ocsf").encoder.forks(STREAM, [a_fork()])
    envelope = json.loads(item)
    assert (envelope["host"], envelope["source"], envelope["sourcetype"], "index" in envelope) == (
        "node1",
        "forklore",
        "forklore:ocsf",
        False,
    )
    shape = a_format("splunk_hec", source="s", sourcetype="t", index="main")
    envelope = json.loads(shape.encoder.event(OWN[0]))
    assert (envelope["source"], envelope["sourcetype"], envelope["index"]) == ("s", "t", "main")


@pytest.mark.parametrize(
    ("protocol", "fields", "content_type"),
    [
        ("http", {}, "application/x-ndjson"),
        ("http", {"framing": "json"}, "application/json"),
        ("splunk_hec", {}, "application/json"),
        ("elasticsearch", {}, "application/x-ndjson"),
        ("otlp", {}, "application/x-protobuf"),
    ],
)
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_a_request_has_content_type_and_encoding(protocol, fields, content_type, compression):
    shape = a_format(protocol, compression=compression, headers={"X-Tenant": "shop"}, **fields)
    headers = shape.request_headers(a_batch(shape), 0)
    assert (headers["Content-Type"], headers["X-Tenant"]) == (content_type, "shop")
    assert headers.get("Content-Encoding") == (None if compression == "none" else compression)


def test_only_http_requests_have_the_batch_id_and_say_what_was_delivered_before():
    shape = a_format("http")
    batch, other = a_batch(shape), a_batch(shape)
    assert shape.request_headers(batch, 7)["Idempotency-Key"] == batch.id != shape.request_headers(other, 7)["Idempotency-Key"]
    assert shape.request_headers(batch, 7)["Forklore-Sink"] == "siem"
    assert shape.request_headers(batch, 7)["Forklore-Delivered"] == "7"
    for protocol in ("splunk_hec", "elasticsearch", "otlp"):
        shape = a_format(protocol)
        assert not {"Idempotency-Key", "Forklore-Delivered", "Forklore-Sink"} & shape.request_headers(a_batch(shape), 0).keys()


def test_a_content_type_of_the_settings_replaces_ours_in_any_case():
    shape = a_format("http", headers={"content-type": "application/json"})
    assert [value for name, value in shape.headers.items() if name.lower() == "content-type"] == ["application/json"]


@pytest.mark.parametrize("unknown", [{"protocol": "smtp", "schema": "native"}, {"schema": "cef"}])
def test_a_protocol_or_schema_without_a_case_is_refused(unknown):
    with pytest.raises(AssertionError, match=r"smtp|cef"):
        a_format(**unknown)


def test_each_protocol_sends_its_token_in_its_own_way():
    schemes = {
        protocol: a_format(protocol, auth=auths[0]).authorization("abc")["Authorization"]
        for protocol, auths in CHOICES["auth"].items()
    }
    assert schemes == {
        "http": "Bearer abc",
        "splunk_hec": "Splunk abc",
        "elasticsearch": "ApiKey abc",
        "otlp": "Bearer abc",
    }
    assert a_format("otlp", auth="header", token_header="api-key").authorization("abc") == {"api-key": "abc"}
    assert a_format("http", auth="basic", username="me").authorization("pw")["Authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("protocol", "status", "body", "result"),
    [
        ("http", 204, b"", Result.ACCEPTED),
        ("splunk_hec", 400, b'{"text":"Incorrect index","code":7}', Result.HOLD),
        ("elasticsearch", 200, b'{"errors":true,"items":[{"create":{"status":429}}]}', Result.RETRY),
        ("otlp", 500, b"", Result.REJECTED),
    ],
)
def test_each_protocol_interprets_its_own_responses(protocol, status, body, result):
    shape = a_format(protocol)
    assert shape.interpret(status, {}, body, datetime.now(UTC), a_batch(shape, events=OWN[:1])).result is result


SECRET = "s3cr3t"
POD = a_pod(labels={"app": "cart", "team": SECRET}, annotations={"example.com/owner": "shop", "other": SECRET})
FORK = a_fork(attribution=Attribution(7, "/p", "resolved", "status", POD.uid, POD))


@pytest.mark.parametrize(("protocol", "schema"), PAIRS)
def test_labels_and_annotations_that_are_not_allowed_are_in_no_body(protocol, schema):
    given_ = {"labels": ["app"], "annotations": ["example.com/owner"], "annotations_kept": ["example.com/owner", "other"]}
    summary = {**OWN[0], "k8s": {**OWN[0]["k8s"], "labels": POD.labels, "annotations": POD.annotations}}
    for events in ((FORK,), ()), ((), (summary,)):
        assert SECRET.encode() in a_batch(a_format(protocol, schema), *events).body
        body = a_batch(a_format(protocol, schema, **given_), *events).body
        assert SECRET.encode() not in body
        assert b"cart" in body
        assert b"shop" in body
        assert b"example.com/owner" in body or b"example_com/owner" in body


def test_labels_alone_are_enough_to_redact():
    pod = a_pod(labels=POD.labels)
    fork = a_fork(attribution=Attribution(7, "/p", "resolved", "status", pod.uid, pod))
    assert SECRET.encode() not in a_batch(a_format(labels=["app"]), [fork]).body


def test_annotations_for_another_sink_are_not_sent():
    assert SECRET.encode() not in a_batch(a_format(labels=["app"], annotations_kept=["other"]), [FORK]).body
    (fork,) = (json.loads(one) for one in a_format(annotations_kept=["other"]).encoder.forks(STREAM, [FORK]))
    assert fork["k8s"]["labels"] == POD.labels
    assert "annotations" not in fork["k8s"]


@pytest.mark.parametrize(
    ("protocol", "schema", "field"),
    [
        ("http", "native", "parent_comm"),
        ("http", "ecs", "message"),
        ("http", "ocsf", "actor"),
        ("splunk_hec", "native", "parent_comm"),
        ("elasticsearch", "ecs", "kubernetes.node"),
        ("otlp", "otel", "forklore.parent_comm"),
    ],
)
def test_a_dropped_field_is_in_no_item_and_the_envelope_stays(protocol, schema, field):
    plain, without = (a_format(protocol, schema, drop_fields=names, compression="none") for names in ((), (field,)))
    last = f'"{field.rpartition(".")[2]}":'.encode() if schema != "otel" else field.encode()
    before, after = (a_batch(shape, [FORK]).body for shape in (plain, without))
    assert before.count(last) > after.count(last)
    assert ids_in(protocol, schema, after) == ids_in(protocol, schema, before)
