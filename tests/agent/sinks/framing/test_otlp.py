"""An OTLP body is one request for the official classes, its records grouped by resource; it can be split into its items."""

import pytest
from google.protobuf.internal.encoder import _VarintBytes
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from agent.model import NO_CGROUP, Attribution
from agent.sinks.encoders.otel import OtelEncoder
from agent.sinks.framing.otlp import SCHEMA_URL, Otlp
from agent.sinks.packer import BatchLimits, Packer
from agent.sinks.protobuf import fields, nested, unsigned, varint
from tests.agent.sinks.model_strategies import a_fork, a_pod, forks
from wire import VERSION

OTLP = Otlp()


def an_item(resource, record):
    """An item with one attribute and a time."""
    named = Resource(attributes=[KeyValue(key="host.name", value=AnyValue(string_value=resource))])
    return nested(1, named.SerializeToString()) + nested(2, LogRecord(time_unix_nano=record).SerializeToString())


def contents(body):
    """[(resource, [record, ...]), ...]"""
    request = ExportLogsServiceRequest.FromString(body)
    return [
        (one.resource.attributes[0].value.string_value, [record.time_unix_nano for record in one.scope_logs[0].log_records])
        for one in request.resource_logs
    ]


items = st.builds(an_item, st.sampled_from(["", "a", "aa", "b" * 200, "c" * 20_000]), st.integers(0, 2**64 - 1))


def resource_of(item):
    (_, _, _, _, end), _ = fields(item)
    return item[:end]


def in_order(many):
    order = OTLP.order(many)
    return list(many) if order is None else [many[at] for at in order]


@given(st.lists(items, max_size=12))
def test_the_items_come_back_byte_for_byte(many):
    ordered = in_order(many)
    assert OTLP.items(OTLP.body(ordered)) == ordered


@given(st.lists(items, max_size=12))
def test_unordered_items_come_back_too(many):
    assert OTLP.items(OTLP.body(many)) == many


@given(st.lists(items, max_size=12))
def test_the_order_is_a_permutation_that_keeps_the_order_within_a_resource(many):
    ordered = in_order(many)
    assert sorted(ordered) == sorted(many)
    for one in {*map(resource_of, many)}:
        assert [item for item in ordered if resource_of(item) == one] == [item for item in many if resource_of(item) == one]


@given(st.lists(items, min_size=1, max_size=12))
def test_each_resource_is_named_once_in_a_body(many):
    resources = [resource for resource, _ in contents(OTLP.body(in_order(many)))]
    assert len(resources) == len({*resources})


@given(st.lists(items, max_size=12))
def test_no_body_is_larger_than_the_sizes_of_its_items(many):
    assert len(OTLP.body(in_order(many))) <= sum(map(OTLP.size, many))


def test_items_are_grouped_in_the_order_of_their_resources():
    many = [an_item("b", 1), an_item("a", 2), an_item("b", 3), an_item("a", 4), an_item("c", 5)]
    assert OTLP.order(many) == [0, 2, 1, 3, 4]
    assert contents(OTLP.body(in_order(many))) == [("b", [1, 3]), ("a", [2, 4]), ("c", [5])]


def test_ordered_items_are_not_ordered_again():
    assert OTLP.order([]) is None
    assert OTLP.order([an_item("b", 1), an_item("b", 3), an_item("a", 2)]) is None


def test_a_resource_with_the_beginning_of_another_is_a_group_of_its_own():
    short, long = an_item("a" * 5, 1), an_item("a" * 6, 2)
    assert contents(OTLP.body([short, long])) == [("a" * 5, [1]), ("a" * 6, [2])]


def test_a_body_has_scope_and_schema_url():
    (logs,) = ExportLogsServiceRequest.FromString(OTLP.body([an_item("a", 1)])).resource_logs
    (scope_logs,) = logs.scope_logs
    assert (scope_logs.scope.name, scope_logs.scope.version) == ("forklore", VERSION)
    assert logs.schema_url == scope_logs.schema_url == SCHEMA_URL
    assert OTLP.content_type == "application/x-protobuf"


def test_no_items_are_an_empty_request():
    assert OTLP.body([]) == b""
    assert OTLP.items(b"") == []


@given(st.lists(forks(), min_size=1, max_size=6))
def test_real_items_come_back_too(several):
    many = in_order(OtelEncoder("demo", "node1").forks("boot.instance", several))
    body = OTLP.body(many)
    assert OTLP.items(body) == many
    request = ExportLogsServiceRequest.FromString(body)
    assert sum(len(one.scope_logs[0].log_records) for one in request.resource_logs) == len(several)


def test_the_halves_of_a_batch_of_two_pods_keep_each_forks_cgroup():
    attributions = [Attribution(cgroup, "/p", "resolved", "status", "u", a_pod(name=f"cart-{cgroup}")) for cgroup in (7, 8)]
    several = [a_fork(sequence=n, attribution=attributions[n % 2], counted=7 + n % 2) for n in range(5)]
    many = OtelEncoder("demo", "node1").forks("boot.instance", several)
    packer = Packer(OTLP, "gzip", BatchLimits(100, 1 << 20))
    (batch,) = packer.pack("boot.instance", [*many, many[0]], [*(fork.counted for fork in several), NO_CGROUP], 0.0)
    assert [*batch.cgroups] == [7, 7, 7, NO_CGROUP, 8, 8]
    halves = packer.split(batch)
    assert [[*half.cgroups] for half in halves] == [[7, 7, 7], [NO_CGROUP, 8, 8]]
    (last,) = ExportLogsServiceRequest.FromString(packer._compression.decompress(halves[1].body)).resource_logs[1:]
    ids = [one.value.string_value for record in last.scope_logs[0].log_records for one in record.attributes if "uid" in one.key]
    assert ids == ["boot.instance.0.1", "boot.instance.0.3"]


# Protobuf


@pytest.mark.parametrize("number", sorted({0, *(2**n + d for n in range(64) for d in (-1, 0)), 2**64 - 1}))
def test_a_varint_is_equal_to_protobufs(number):
    assert varint(number) == _VarintBytes(number)
    assert unsigned(varint(number) + b"x", 0, 99) == (number, len(varint(number)))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80" * 10, b"\x80" * 10 + b"\x01"])
def test_an_unfinished_varint_raises(data):
    with pytest.raises(ValueError, match="no varint"):
        unsigned(data, 0, len(data))


@given(st.binary(max_size=60))
def test_the_reader_ends_for_any_bytes(data):
    ends = [0]
    try:
        for _, _, tag, start, end in fields(data):
            assert tag == ends[-1] < start <= end <= len(data)
            ends.append(end)
    except ValueError:
        assert ends[-1] < len(data)
    else:
        assert ends[-1] == len(data)


def test_a_field_longer_than_the_message_ends_with_it():
    assert list(fields(b"\x0a\x7fab")) == [(1, 2, 0, 2, 4)]
