"""The same id with other content is a conflict: the first is kept, the other is counted, and shown in the ledger."""

import json

import pytest

from collector.store import writer
from collector.store.conflicts import rows
from tests.collector.conftest import collector, lines_of, opened_store

REASON = "conflict: another fork with this id was received before"


async def the_stream(client):
    ((stream,),) = (node["streams"] for node in (await client.get("/v1/ledger"))["nodes"])
    return stream


async def test_forged_forks_before_the_nodes_own_are_conflicts(client, make):
    """Whoever shares a token can be first; but then it shows."""
    await client.post(*(make.fork(n) for n in range(3)))
    forged = [make.fork(n, comm="innocent", pid=9) for n in range(3, 5003)]
    assert (await client.post(*forged))["accepted"] == 5000
    answer = await client.post(*(make.fork(n) for n in range(5010)), make.node(1, heads={0: 5010}, delivered=5010))
    assert (answer["accepted"], answer["duplicate"], len(answer["rejected"])) == (8, 3, 5000)
    assert answer["rejected"][0] == {"line": 3, "reason": REASON} and answer["rejected"][-1]["line"] == 5002
    conflicts = (await the_stream(client))["conflicts"]
    assert (conflicts["ids"], conflicts["times"], conflicts["unlisted"], len(conflicts["listed"])) == (5000, 5000, 0, 100)
    listed = conflicts["listed"][0]
    assert (listed["cpu"], listed["sequence"], listed["times"]) == (0, 3, 1)
    assert (listed["cluster"], listed["node"], listed["credential"]) == ("demo", "node1", None)
    await client.metrics_say('forklore_collector_events_total{outcome="conflict"} 5000.0')
    found = (await client.get("/v1/forks?limit=1000&comm=innocent"))["forks"]
    assert found  # the first stays
    (node,) = (await client.get("/v1/pods"))["nodes"]
    assert node["conflicts"] == 5000
    for page in ("/nodes", "/ledger"):
        assert "5,000 numbers came with more than one content" in await client.get(page)


async def test_forged_forks_after_the_nodes_own_change_nothing(client, make):
    own = [make.fork(n) for n in range(10)]
    await client.post(*own)
    answer = await client.post(*(make.fork(n, comm="forged") for n in range(3, 13)))
    assert (answer["accepted"], answer["duplicate"], len(answer["rejected"])) == (3, 0, 7)
    assert (await the_stream(client))["conflicts"]["ids"] == 7
    assert (await client.post(*own)) == {"accepted": 0, "duplicate": 10, "rejected": []}


def changed(event, path, value):
    event = json.loads(json.dumps(event))
    *parents, last = path
    inner = event
    for name in parents:
        inner = inner[name]
    inner[last] = value
    return event


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("timestamp",), "2026-11-22T19:48:31.000000001Z"), (("kind",), "thread"), (("comm",), "x"), (("parent_comm",), "x"),
        (("uid",), 4), (("child_pid",), 4), (("child_ns_pid",), 4), (("leader_tid",), 4), (("parent_process_tid",), 4),
        (("parent_start_time",), "2026-11-22T19:46:36.402118908Z"), (("process_entity_id",), "0" * 16),
        (("child_ns_pids",), [1, 2, 3]), (("namespaces", "net"), 4), (("clone",), ["VM"]), (("cgroup", "id"), 4),
        (("parent_cgroup",), {"id": 4, "path": None}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_host", [False, True])
def test_each_field_of_the_kernel_is_content(make, two_writers, path, value, is_host):
    event = make.fork(1, at=1_795_376_910 * 10**9)
    event = make.host(event) if is_host else event
    first, _ = two_writers
    first.insert([(lines_of(event), None)], make.now)
    for known in two_writers:
        (counts,) = known.insert([(lines_of(changed(event, path, value)), None)], make.now)
        assert (counts.accepted, counts.duplicate, counts.conflicts) == (0, 0, (0,)), known
        (counts,) = known.insert([(lines_of(event), None)], make.now)
        assert (counts.accepted, counts.duplicate, counts.conflicts) == (0, 1, ())


def test_attribution_and_encoding_are_no_content(make):
    event = make.fork(1)
    late = make.unresolved(make.fork(1, pod="cart-2", namespace="other", container="sidecar"))
    attached = changed(changed(event, ("cgroup", "id"), 4), ("enrichment", "by"), "attach")
    with opened_store() as (store, _):
        store.insert([(lines_of(event), None)], make.now)
        for other in (late, attached, make.host(make.fork(1)), dict(reversed(event.items()))):
            (counts,) = store.insert([(lines_of(other), None)], make.now)
            assert (counts.duplicate, counts.conflicts, counts.unchecked) == (1, (), 0)


def test_forks_of_one_commit_are_compared_too(make):
    one, other = make.fork(1), make.fork(1, comm="x")
    with opened_store() as (store, _):
        first, second, third = store.insert(
            [(lines_of(one, other, one), None), (lines_of(one), None), (lines_of(make.fork(2), other), None)], make.now
        )
    assert (first.accepted, first.duplicate, first.conflicts) == (1, 1, (1,))
    assert (second.duplicate, second.conflicts) == (1, ())
    assert (third.accepted, third.duplicate, third.conflicts) == (1, 0, (1,))


def test_what_has_expired_is_a_duplicate_that_was_not_checked(make):
    with opened_store() as (store, context):
        store.insert([(lines_of(make.fork(1)), None)], make.now)
        context.client.command("TRUNCATE TABLE fork")
        (counts,) = store.insert([(lines_of(make.fork(1, comm="x")), None)], make.now)
    assert (counts.duplicate, counts.conflicts, counts.unchecked) == (1, (), 1)


def test_the_rows_of_conflicts_are_bounded(make, monkeypatch):
    monkeypatch.setattr(rows, "LISTED", 5)
    with opened_store() as (store, context):
        store.insert([(lines_of(*(make.fork(n) for n in range(20))), None)], make.now)
        for _ in range(2):
            store.insert([(lines_of(*(make.fork(n, comm="x") for n in range(20))), None)], make.now)
        listed = (
            "SELECT countIf(cpu >= 0), sum(times) FROM (SELECT cpu, sequence, sum(times) AS times FROM conflict GROUP BY ALL)"
        )
        ((ids, times),) = context.client.query(listed).result_rows
    assert (ids, times) == (5, 40)


def test_new_forks_cost_no_query_and_duplicates_few(make, monkeypatch):
    asked = []
    monkeypatch.setattr(
        writer, "compare", lambda client, repeats: asked.append(len(repeats.found)) or compared(client, repeats)
    )
    compared = rows.compare
    events = [make.fork(n, cpu=n % 4) for n in range(5000)]
    with opened_store() as (store, _):
        store.insert([(lines_of(*events), None)], make.now)
        assert asked == []
        queries = []
        query = store._client.query
        monkeypatch.setattr(store._client, "query", lambda *words, **named: queries.append(words) or query(*words, **named))
        (counts,) = store.insert([(lines_of(*events), None)], make.now)
    assert (counts.duplicate, counts.conflicts, len(queries)) == (5000, (), 3)


async def test_conflicts_stay_known_when_the_collector_restarts(make, tmp_path):
    for comm, accepted in (("sh", 1), ("x", 0)):
        async with collector(store=f"chdb://{tmp_path}/store") as client:
            assert (await client.post(make.fork(1, comm=comm)))["accepted"] == accepted
    async with collector(store=f"chdb://{tmp_path}/store") as client:
        assert (await the_stream(client))["conflicts"]["ids"] == 1
