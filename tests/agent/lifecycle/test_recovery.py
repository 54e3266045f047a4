"""What earlier agents left: brought to its end, and what is missing of it said, once and in exact numbers."""

from collections import Counter
from functools import partial

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.kernel.meta import Meta
from agent.kernel.programs import Snapshot
from agent.kernel.records import FORK_SLOT, CgroupCounters, CpuCounters
from agent.ledger import Account
from agent.lifecycle import recovery
from agent.model import NOBODY, Attribution
from agent.program_instance import ProgramInstance
from agent.reporting.storms import Storms
from agent.reporting.summaries import Interval, Summaries
from agent.sinks.encoders.native import k8s_fields
from agent.state_records import POSITIONS, REPORTED, CountedRecord, PositionRecord, ReportedRecord, waiting_table
from tests.agent.fakes import FakeAttributions, an_enricher

STREAM, OTHER = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68", "0ac846b9-54b9-46db-ad41-e0a5f64de594.0000000000000001"
K8S_FIELDS = partial(k8s_fields, cluster="test", node="node1")
few = st.integers(0, 1000)


class Journal:
    """What the last agent kept, and what is staged now."""

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
    """Its accounts, what it was told, and how much waits."""

    def __init__(self, name="siem"):
        self.name = name
        self.accounts, self.told, self.waiting = {}, [], 0

    def account(self, stream):
        return self.accounts.setdefault(stream, Account())

    def emit_event(self, stream, event, _now):
        self.told.append((stream, event["reason"], event["count"]))

    def queued(self, _stream):
        return self.waiting


def attribution(cgroup):
    return Attribution(cgroup, f"/{cgroup}", "unresolved", "cgroup", "uid")


def new_summaries(stream=STREAM):
    return Summaries(stream, attribution, K8S_FIELDS)


def position(received):
    return PositionRecord(received * FORK_SLOT, 0, received).encode()


def said(proc_stat, emitted, summaries=None):
    record = (summaries or new_summaries()).record()
    return ReportedRecord("t0", record, None, CountedRecord(proc_stat, emitted)).encode()


def missed(journal, proc_stat, summaries=None):
    return recovery.missed(journal, STREAM, summaries or new_summaries(), proc_stat, "t1")


def test_a_stream_that_no_probe_goes_on_with_is_dead():
    journal = Journal(**{POSITIONS: {STREAM: b"", OTHER: b""}})
    assert recovery.dead_streams(journal, [OTHER]) == [STREAM]


def test_what_still_waited_for_its_name_goes_with_what_is_known(records):
    raw = records.fork(7, 5)
    table = {2: (100).to_bytes(8, "little") + (5).to_bytes(8, "little") + b"\0" + raw}
    enricher = an_enricher(FakeAttributions(attribution, lambda _: None))
    (fork,) = recovery.waited(Journal(**{waiting_table(STREAM): table}), STREAM, enricher, 200)
    assert (fork.sequence, fork.attribution.cgroup, fork.counted) == (7, 5, 5)


@given(attached=few, told=few, later=few, numbered=few, taken=few)
def test_what_is_missed_and_what_was_told_and_what_came_are_all_that_was_made(attached, told, later, numbered, taken):
    """`told`: forks by the last word of the last agent, of which the ring was given `numbered`; `later`: made after that word;
    `taken`: how far the ring was read in the end."""
    taken = min(taken, numbered + later)
    journal = Journal(**{REPORTED: {STREAM: said(attached + told, numbered)}, POSITIONS: {STREAM: position(taken)}})
    events = missed(journal, attached + told + later)
    after, gone_with_the_ring = max(0, taken - numbered), max(0, numbered - taken)
    counts = [event["count"] for event in events]
    assert sum(counts) + (told - gone_with_the_ring) + after == told + later
    assert all(event["reason"] == "restart" for event in events)
    assert len(counts) == (sum(counts) > 0)


def test_what_was_missed_is_told_once_though_the_agent_that_told_it_is_killed():
    journal = Journal(**{REPORTED: {STREAM: said(100, 50)}, POSITIONS: {STREAM: position(40)}})
    summaries = new_summaries()
    (event,) = missed(journal, 200, summaries)
    assert event["id"] == f"{STREAM}.gap.-.restart.0.110"
    assert missed(journal, 200, summaries) == []


def test_less_than_nothing_is_not_missing():
    """/proc/stat is read a moment before the tally."""
    assert missed(Journal(**{REPORTED: {STREAM: said(100, 50)}, POSITIONS: {STREAM: position(50)}}), 99) == []


def test_of_a_stream_whose_last_word_is_not_known_nothing_is_made_up():
    assert missed(Journal(**{POSITIONS: {STREAM: position(4)}}), 200) == []


def test_what_is_dropped_leaves_no_place_and_no_waiting_forks_and_keeps_what_was_said():
    journal = Journal(**{POSITIONS: {STREAM: b"1", OTHER: b"2"}, REPORTED: {STREAM: b"3"}, waiting_table(STREAM): {1: b"4"}})
    recovery.drop(journal, STREAM)
    assert journal.state_tables == {POSITIONS: {OTHER: b"2"}, REPORTED: {STREAM: b"3"}}


def test_what_gets_lost_of_a_stream_that_ended_is_told_until_nothing_of_it_is_under_way():
    journal, sink = Journal(**{REPORTED: {STREAM: said(1, 1)}}), Sink()
    journal.accounts.add(STREAM)
    ended = recovery.ClosedInstances(journal, new_summaries)
    ended.add(STREAM)
    sink.waiting = 5
    ended.tell([sink], "t0", "t1", 0.0)
    assert sink.told == []
    sink.account(STREAM).lose("journal_full", {5: 3})
    ended.tell([sink], "t1", "t2", 0.0)
    ended.tell([sink], "t2", "t3", 0.0)
    assert sink.told == [(STREAM, "journal_full", 3)]
    assert journal.streams() == {STREAM}
    sink.waiting = 0
    ended.tell([sink], "t3", "t4", 0.0)
    assert journal.streams() == set()
    assert not journal.table(REPORTED)


def test_the_next_agent_does_not_tell_it_again():
    journal, sink = Journal(), Sink()
    sink.waiting = 5
    first = recovery.ClosedInstances(journal, new_summaries)
    first.add(STREAM)
    sink.account(STREAM).lose("journal_full", {5: 3})
    first.tell([sink], "t0", "t1", 0.0)
    second = recovery.ClosedInstances(journal, new_summaries)
    second.add(STREAM)
    second.tell([sink], "t1", "t2", 0.0)
    assert sink.told == [(STREAM, "journal_full", 3)]


@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b"{", b'{"stream": 1}', b'{"stream": "other", "accounts": {"siem": {}}}']
)
def test_a_ledger_that_is_of_no_use_says_nothing(tmp_path, content):
    assert recovery.last_accounts(tmp_path, STREAM) == {}
    (tmp_path / recovery.LEDGER).write_bytes(content)
    assert recovery.last_accounts(tmp_path, STREAM) == {}


def test_the_last_ledger_says_what_each_sink_had(tmp_path):
    accounts = {"siem": {"delivered": {"5": 3}}}
    (tmp_path / recovery.LEDGER).write_bytes(orjson.dumps({"stream": STREAM, "accounts": accounts}))
    assert recovery.last_accounts(tmp_path, STREAM) == accounts


class LoadedPrograms:
    """Not in charge any more. `rows`: emitted by cgroup; `left`: of these, what still lies in the ring; `gone`: emitted in rows
    that are no more."""

    stream = STREAM
    cgroup_events_cursor = 0

    class forks:  # noqa: N801  as the probe calls it
        cursor = 0

    def __init__(self, rows, left, *, gone=0, settled=False):
        self._rows, self._left, self._gone = rows, left, gone
        self.meta = Meta(1, FORK_SLOT, "0" * 16, STREAM[-16:], STREAM[:36], 1 << 20, 0, 0, all_delivered=settled)

    def snapshot(self):
        rows = {cgroup: CgroupCounters(emitted, 0, emitted, 0, 0, 0, 0) for cgroup, emitted in self._rows.items()}
        total = sum(self._rows.values()) + self._gone
        return Snapshot(rows, (CpuCounters(total, total, 0, 0, 0, 0),), 0, (total, total))

    def pending_by_cgroup(self):
        return Counter(self._left)


def lost_unknown(programs, accounts):
    sink = Sink()
    instance = ProgramInstance(
        programs, None, new_summaries(), Storms(STREAM, 0, attribution, K8S_FIELDS), lambda _: None, "t0"
    )
    most = recovery.lose_unknown(instance, [sink], accounts)
    account, captured = sink.account(STREAM), instance.captured(programs.snapshot())
    assert captured.captured == programs.snapshot().tasks_made
    assert captured.emitted - instance.received == programs.pending_by_cgroup().total()
    assert account.delivered.total() + sum(account.lost_by_reason().values()) == instance.received
    return most, dict(+account.delivered), {reason: dict(+forks) for reason, forks in account.lost.items() if +forks}


def test_what_was_taken_and_is_not_known_to_have_been_delivered_is_lost():
    found = lost_unknown(LoadedPrograms({5: 100, 6: 10}, {5: 20}), {"siem": {"delivered": {"5": 70, "6": 10}}})
    assert found == (10, {5: 70, 6: 10}, {"journal_lost": {5: 10}})


def test_a_ledger_is_not_believed_beyond_what_was_taken():
    found = lost_unknown(LoadedPrograms({5: 100}, {5: 20}), {"siem": {"delivered": {"5": 99, "7": 3}}})
    assert found == (0, {5: 80}, {})


def test_without_a_ledger_all_that_was_taken_is_lost_unless_its_agent_left_with_nothing_in_its_hands():
    assert lost_unknown(LoadedPrograms({5: 100}, {5: 20}), {}) == (80, {}, {"journal_lost": {5: 80}})
    assert lost_unknown(LoadedPrograms({5: 100}, {5: 20}, settled=True), {}) == (0, {5: 80}, {})


def test_what_was_emitted_by_cgroups_that_nobody_remembers_is_lost_too_unless_the_ledger_knows_of_it():
    accounts = {"siem": {"delivered": {"5": 80, "7": 3, "-1": 2}}}
    assert lost_unknown(LoadedPrograms({5: 100}, {5: 20}, gone=10), accounts) == (
        5,
        {5: 80, NOBODY: 5},
        {"journal_lost": {NOBODY: 5}},
    )
    assert lost_unknown(LoadedPrograms({5: 100}, {5: 20}, gone=10, settled=True), {}) == (0, {5: 80, NOBODY: 10}, {})


def test_the_accounts_of_a_lost_journal_are_a_gap_for_each_pod():
    sink, summaries = Sink(), new_summaries()
    sink.account(STREAM).lose("journal_lost", {5: 10, 6: 1})
    events = summaries.sink_gaps("siem", sink.account(STREAM).lost, Interval("t0", "t1"))
    assert [(event["cgroup"]["id"], event["count"], event["reason"]) for event in events] == [
        (5, 10, "journal_lost"),
        (6, 1, "journal_lost"),
    ]
