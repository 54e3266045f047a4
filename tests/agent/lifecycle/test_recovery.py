"""What earlier agents left is brought to its end, and what is missing of it is reported once, in exact numbers."""

from collections import Counter
from functools import partial

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.attribution.uniqueness import UniquenessBudget
from agent.kernel.meta import Meta
from agent.kernel.programs import Snapshot
from agent.kernel.records import FORK_SLOT, CgroupCounters, CpuCounters
from agent.ledger import Account
from agent.lifecycle import recovery
from agent.lifecycle.closed_instances import ClosedInstances
from agent.model import NO_CGROUP, Attribution
from agent.program_instance import ProgramInstance
from agent.reporting.ledger_file import LEDGER, last_accounts
from agent.reporting.storms import Storms
from agent.reporting.summaries import Interval, Summaries
from agent.sinks.encoders.native import k8s_fields
from agent.state_records import POSITIONS, REPORTED, CountedRecord, PositionRecord, ReportedRecord, waiting_table
from tests.agent.fakes import FakeAttributions, FakeCgroups, FakeTracker, an_enricher

STREAM, OTHER = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68", "0ac846b9-54b9-46db-ad41-e0a5f64de594.0000000000000001"
K8S_FIELDS = partial(k8s_fields, cluster="test", node="node1")
few = st.integers(0, 1000)


class Journal:
    """What the last agent saved, and what is staged now."""

    def __init__(self, **state_tables):
        self.state_tables = {name: dict(items) for name, items in state_tables.items()}
        self.accounts = set()

    def table(self, name):
        return dict(self.state_tables.get(name, {}))

    def put(self, table, key, value):
        items = self.state_tables.setdefault(table, {})
        items.pop(key, None)
        if value is not None:
            items[key] = value

    def clear(self, table):
        self.state_tables.pop(table, None)

    def streams(self):
        return set(self.accounts)

    def forget_stream(self, stream):
        self.accounts.discard(stream)
        return True


class Sink:
    """Its accounts, the events that it was given, and how many forks wait."""

    def __init__(self, name="siem"):
        self.name = name
        self.accounts, self.events, self.waiting = {}, [], 0

    def account(self, stream):
        return self.accounts.setdefault(stream, Account())

    def emit_event(self, stream, event, _now):
        self.events.append((stream, event["reason"], event["count"]))

    def queued(self, _stream):
        return self.waiting


def attribution(cgroup):
    return Attribution(cgroup, f"/{cgroup}", "unresolved", "cgroup", "uid")


ATTRIBUTIONS = FakeAttributions(attribution)


def new_summaries(stream=STREAM):
    return Summaries(stream, ATTRIBUTIONS, K8S_FIELDS)


def position(received):
    return PositionRecord(received * FORK_SLOT, 0, received).encode()


def reported(proc_stat, emitted, summaries=None):
    record = (summaries or new_summaries()).record()
    return ReportedRecord("t0", record, None, CountedRecord(proc_stat, emitted)).encode()


def missed(journal, proc_stat, summaries=None):
    return recovery.missed(journal, STREAM, summaries or new_summaries(), proc_stat, "t1")


def test_a_stream_without_loaded_programs_has_ended():
    journal = Journal(**{POSITIONS: {STREAM: b"", OTHER: b""}})
    assert recovery.ended_streams(journal, [OTHER]) == [STREAM]


def test_forks_that_still_waited_for_their_pods_are_emitted_with_what_is_known(records):
    raw = records.fork(7, 5)
    table = {2: (100).to_bytes(8, "little") + (5).to_bytes(8, "little") + b"\0" + raw}
    enricher = an_enricher(FakeAttributions(attribution, lambda _: None))
    (fork,) = recovery.release_waiting(Journal(**{waiting_table(STREAM): table}), STREAM, enricher, 200)
    assert (fork.sequence, fork.attribution.cgroup, fork.counted) == (7, 5, 5)


@given(attached=few, summed=few, later=few, numbered=few, drained=few)
def test_what_is_missed_and_what_was_summed_up_and_what_arrived_are_all_that_was_forked(
    attached, summed, later, numbered, drained
):
    """`summed`: forks in the last summary of the last agent, of which `numbered` went into the ring; `later`: made after it;
    `drained`: how far the ring was read in the end."""
    drained = min(drained, numbered + later)
    journal = Journal(**{
        REPORTED: {STREAM: reported(attached + summed, numbered)},
        POSITIONS: {STREAM: position(drained)},
    })  # fmt: skip
    events = missed(journal, attached + summed + later)
    after, gone_with_the_ring = max(0, drained - numbered), max(0, numbered - drained)
    counts = [event["count"] for event in events]
    assert sum(counts) + (summed - gone_with_the_ring) + after == summed + later
    assert all(event["reason"] == "restart" for event in events)
    assert len(counts) == (sum(counts) > 0)


def test_what_was_missed_is_reported_once_though_the_agent_that_reported_it_is_killed():
    journal = Journal(**{REPORTED: {STREAM: reported(100, 50)}, POSITIONS: {STREAM: position(40)}})
    summaries = new_summaries()
    (event,) = missed(journal, 200, summaries)
    assert event["id"] == f"{STREAM}.gap.-.restart.0.110"
    assert missed(journal, 200, summaries) == []


def test_less_than_nothing_is_not_missing():
    """/proc/stat is read a moment before the counters."""
    assert missed(Journal(**{REPORTED: {STREAM: reported(100, 50)}, POSITIONS: {STREAM: position(50)}}), 99) == []


def test_nothing_is_reported_as_missed_of_a_stream_without_a_known_last_summary():
    assert missed(Journal(**{POSITIONS: {STREAM: position(4)}}), 200) == []


def test_an_ended_stream_leaves_no_position_and_no_waiting_forks_and_keeps_what_was_reported():
    journal = Journal(**{POSITIONS: {STREAM: b"1", OTHER: b"2"}, REPORTED: {STREAM: b"3"}, waiting_table(STREAM): {1: b"4"}})
    recovery.forget_positions(journal, STREAM)
    assert journal.state_tables == {POSITIONS: {OTHER: b"2"}, REPORTED: {STREAM: b"3"}}


def test_what_is_lost_of_a_closed_stream_is_reported_until_nothing_of_it_is_queued():
    journal, sink = Journal(**{REPORTED: {STREAM: reported(1, 1)}}), Sink()
    journal.accounts.add(STREAM)
    closed = ClosedInstances(journal, new_summaries)
    closed.restore(STREAM)
    sink.waiting = 5
    closed.report_losses([sink], "t0", "t1", 0.0)
    assert sink.events == []
    sink.account(STREAM).lose("journal_full", {5: 3})
    closed.report_losses([sink], "t1", "t2", 0.0)
    closed.report_losses([sink], "t2", "t3", 0.0)
    assert sink.events == [(STREAM, "journal_full", 3)]
    assert journal.streams() == {STREAM}
    sink.waiting = 0
    closed.report_losses([sink], "t3", "t4", 0.0)
    assert journal.streams() == set()
    assert not journal.table(REPORTED)


def test_the_next_agent_does_not_report_it_again():
    journal, sink = Journal(), Sink()
    sink.waiting = 5
    first = ClosedInstances(journal, new_summaries)
    first.restore(STREAM)
    sink.account(STREAM).lose("journal_full", {5: 3})
    first.report_losses([sink], "t0", "t1", 0.0)
    second = ClosedInstances(journal, new_summaries)
    second.restore(STREAM)
    second.report_losses([sink], "t1", "t2", 0.0)
    assert sink.events == [(STREAM, "journal_full", 3)]


@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b"{", b'{"stream": 1}', b'{"stream": "other", "accounts": {"siem": {}}}']
)
def test_a_ledger_file_that_can_not_be_used_has_no_accounts(tmp_path, content):
    assert last_accounts(tmp_path, STREAM) is None
    (tmp_path / LEDGER).write_bytes(content)
    assert last_accounts(tmp_path, STREAM) is None


def test_the_last_ledger_file_has_what_each_sink_had(tmp_path):
    accounts = {"siem": {"delivered": {"5": 3}}}
    (tmp_path / LEDGER).write_bytes(orjson.dumps({"stream": STREAM, "accounts": accounts}))
    assert last_accounts(tmp_path, STREAM) == accounts


class Programs:
    """Not in charge any more. `emitted`: by cgroup; `left`: of these, what still lies in the ring; `gone`: emitted, in counters
    that are gone."""

    stream = STREAM
    cgroup_events_cursor = 0

    class forks:  # noqa: N801  as the programs call it
        cursor = 0

    def __init__(self, emitted, left, *, gone=0, all_delivered=False):
        self._emitted, self._left, self._gone = emitted, left, gone
        self.meta = Meta(1, FORK_SLOT, "0" * 16, STREAM[-16:], STREAM[:36], 1 << 20, 0, 0, all_delivered=all_delivered)

    def snapshot(self):
        counters = {cgroup: CgroupCounters(emitted, 0, emitted, 0, 0, 0, 0) for cgroup, emitted in self._emitted.items()}
        total = sum(self._emitted.values()) + self._gone
        return Snapshot(counters, (CpuCounters(total, total, 0, 0, 0, 0),), 0, (total, total))

    def pending_by_cgroup(self):
        return Counter(self._left)


def lost_unknown(programs, accounts):
    sink, storms = Sink(), Storms(STREAM, {}, ATTRIBUTIONS, K8S_FIELDS)
    instance = ProgramInstance(programs, None, new_summaries(), storms, FakeCgroups(), FakeTracker(), "t0", UniquenessBudget(0))
    most = recovery.lose_unknown(instance, [sink], accounts)
    account, captured = sink.account(STREAM), instance.captured(programs.snapshot())
    assert captured.captured == programs.snapshot().tasks_made
    assert captured.emitted - instance.received == programs.pending_by_cgroup().total()
    assert account.total == instance.received
    lost = {**account.lost, **account.filtered}
    return most, dict(+account.delivered), {reason: dict(+forks) for reason, forks in lost.items() if +forks}


def test_what_was_drained_and_is_not_known_to_have_been_delivered_is_lost():
    found = lost_unknown(Programs({5: 100, 6: 10}, {5: 20}), {"siem": {"delivered": {"5": 70, "6": 10}}})
    assert found == (10, {5: 70, 6: 10}, {"journal_lost": {5: 10}})


def test_a_ledger_file_is_not_believed_beyond_what_was_drained():
    found = lost_unknown(Programs({5: 100}, {5: 20}), {"siem": {"delivered": {"5": 99, "7": 3}}})
    assert found == (0, {5: 80}, {})


def test_without_a_ledger_file_all_that_was_drained_is_lost_unless_its_agent_left_when_all_was_delivered():
    assert lost_unknown(Programs({5: 100}, {5: 20}), None) == (80, {}, {"journal_lost": {5: 80}})
    assert lost_unknown(Programs({5: 100}, {5: 20}, all_delivered=True), None) == (0, {5: 80}, {})


def test_without_a_journal_a_sink_that_the_last_ledger_file_does_not_have_begins_now():
    """Also when its agent left when everything was delivered: that was to other sinks, or to none."""
    for all_delivered in (False, True):
        found = lost_unknown(Programs({5: 100}, {5: 20}, all_delivered=all_delivered), {"other": {"delivered": {"5": 80}}})
        assert found == (0, {}, {"before_sink": {5: 80}})


def test_what_was_emitted_by_forgotten_cgroups_is_lost_too_unless_the_ledger_file_has_it():
    accounts = {"siem": {"delivered": {"5": 80, "7": 3, "-1": 2}}}
    assert lost_unknown(Programs({5: 100}, {5: 20}, gone=10), accounts) == (
        5,
        {5: 80, NO_CGROUP: 5},
        {"journal_lost": {NO_CGROUP: 5}},
    )
    assert lost_unknown(Programs({5: 100}, {5: 20}, gone=10, all_delivered=True), None) == (0, {5: 80, NO_CGROUP: 10}, {})


def test_the_losses_of_a_journal_that_is_gone_are_a_gap_for_each_pod():
    sink, summaries = Sink(), new_summaries()
    sink.account(STREAM).lose("journal_lost", {5: 10, 6: 1})
    events = summaries.sink_gaps("siem", sink.account(STREAM).lost, Interval("t0", "t1"))
    assert [(event["cgroup"]["id"], event["count"], event["reason"]) for event in events] == [
        (5, 10, "journal_lost"),
        (6, 1, "journal_lost"),
    ]
