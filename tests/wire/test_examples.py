"""The golden examples against the shapes: the same keys on every level, and values of the types that are written down."""

import json
import re
from pathlib import Path
from types import UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from wire import events
from wire.ids import parse_fork_id

EXAMPLES = json.loads((Path(__file__).parents[2] / "wire/examples.json").read_text())
SHAPES = {
    "sched_process_fork": events.Fork,
    "fork_summary": events.ForkSummary,
    "node_summary": events.NodeSummary,
    "fork_storm": events.ForkStorm,
    "gap": events.Gap,
}
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


def complaints(value, shape, where):
    """Everything in which a value is not of its shape."""
    generic, arguments = get_origin(shape), get_args(shape)
    if is_typeddict(shape):
        hints = get_type_hints(shape)
        if not isinstance(value, dict) or not shape.__required_keys__ <= value.keys() <= hints.keys():
            yield f"{where}: {value!r:.200} should have {sorted(hints)}"
        else:
            for key in value:
                yield from complaints(value[key], hints[key], f"{where}.{key}")
    elif generic in (Union, UnionType):
        if not any(not list(complaints(value, one, where)) for one in arguments):
            yield f"{where}: {value!r} is none of {arguments}"
    elif generic is Literal:
        if value not in arguments:
            yield f"{where}: {value!r} is none of {arguments}"
    elif not isinstance(value, generic or shape) or (shape is int and isinstance(value, bool)):
        yield f"{where}: {value!r} is no {shape.__name__}"
    elif generic is dict:
        for key, inner in value.items():
            yield from complaints(inner, arguments[1], f"{where}.{key}")
    elif generic is list:
        for inner in value:
            yield from complaints(inner, arguments[0], f"{where}[]")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["id"].rpartition(".")[0][-10:])
def test_an_example_has_the_keys_and_types_of_its_shape(example):
    assert list(complaints(example, SHAPES[example["event"]], example["event"])) == []


def test_there_is_an_example_of_each_kind_and_a_shape_for_each():
    assert {example["event"] for example in EXAMPLES} == set(events.KINDS) == set(SHAPES)


def test_the_checker_finds_each_mistake():
    """Otherwise the tests above would prove nothing."""
    fork = next(example for example in EXAMPLES if example["event"] == "sched_process_fork")
    for wrong in (
        {"kind": "fiber"},
        {"uid": "0"},
        {"k8s": None},
        {"more": 1},
        {"child_ns_pids": ["1"]},
        {"id": None},
        {"uid": True},
    ):
        assert list(complaints({**fork, **wrong}, events.Fork, "fork"))
    assert list(complaints({key: value for key, value in fork.items() if key != "gid"}, events.Fork, "fork"))


def times(value):
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from times(inner)
        elif key in {"timestamp", "start", "end", "started"} or key.endswith("start_time"):
            yield inner


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["event"])
def test_every_time_has_nine_digits_and_is_utc(example):
    assert [moment for moment in times(example) if not RFC3339.fullmatch(moment)] == []


def test_only_forks_have_ids_of_forks():
    for example in EXAMPLES:
        if example["event"] == "sched_process_fork":
            assert parse_fork_id(example["id"]).sequence >= 0
        else:
            with pytest.raises(ValueError, match="not a fork's id"):
                parse_fork_id(example["id"])


def test_start_and_stop_belong_to_one_storm():
    start, stop = (example for example in EXAMPLES if example["event"] == "fork_storm")
    assert (start["phase"], stop["phase"]) == ("start", "stop")
    for same in ("storm", "limit", "hold_s", "cgroup", "container", "k8s"):
        assert start[same] == stop[same]
    assert start["interval"]["start"] == stop["interval"]["start"] < start["interval"]["end"] < stop["interval"]["end"]
    for counts in ("counts", "totals"):
        assert all(stop[counts][name] >= numbers for name, numbers in start[counts].items())
    for example in (start, stop):
        assert (
            example["counts"]["suppressed"]
            == sum(example["counts"][name] for name in ("processes", "threads")) - (example["counts"]["filtered"])
        )
        stream, own = example["id"].split(".storm.")
        assert parse_fork_id(f"{stream}.0.0")
        assert own == f"{example['cgroup']['id']}.{example['storm']}.{example['phase']}"


def test_a_gaps_id_has_sink_reason_cgroup_and_the_number_so_far():
    (gap,) = [example for example in EXAMPLES if example["event"] == "gap"]
    sink, reason, cgroup, by_now = gap["id"].partition(".gap.")[2].split(".")
    assert (sink, reason, int(cgroup)) == (gap["sink"] or "-", gap["reason"], gap["cgroup"]["id"])
    assert int(by_now) >= gap["count"]


@pytest.mark.parametrize("counts", ["counts", "totals"])
def test_the_examples_numbers_add_up(counts):
    for example in EXAMPLES:
        if counts in example:
            numbers = example[counts]
            assert numbers["processes"] + numbers["threads"] == sum(
                numbers[name] for name in ("emitted", "filtered", "suppressed", "lost")
            )


def test_the_examples_ledger_is_closed_for_each_sink():
    (node,) = [example for example in EXAMPLES if example["event"] == "node_summary"]
    ledger = node["ledger"]
    for sink in ledger["sinks"].values():
        parts = (
            sink["queued"],
            sink["lost"],
            sink["filtered"],
            {"ring": ledger["lost"]["ring"], "suppressed": ledger["suppressed"]},
        )
        assert ledger["captured"] == sink["delivered"] + sum(sum(part.values()) for part in parts)
