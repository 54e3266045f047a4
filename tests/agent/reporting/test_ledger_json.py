"""The ledger as JSON: the keys that operators, the collector and the terminal read."""

import pytest

from agent.ledger import Captured, Queued
from agent.reporting.ledger_json import heartbeat_json, ledger_json, ledger_line
from agent.reporting.snapshots import AgentIdentity, AgentSnapshot, LedgerSnapshot, SinkLedger, SinkState
from wire.events import Ledger
from wire.events import SinkLedger as SinkLedgerOnTheWire

KEYS = (
    "node cluster agent boot_id epoch taken_over pinned journal privileges processes threads entered captured emitted received"
    " suppressed kernel_workers lost filtered storms sinks former unaccounted closed heads proc_stat enrichment kubernetes"
)
CAPTURED = Captured(processes=90, threads=10, emitted=80, filtered=10, suppressed=5, lost=5, entered=2, misses=1, orphaned=3)


def a_snapshot(difference=0):
    sink = SinkLedger(70, Queued(ring=1, waiting=2, journal=7), {"rejected": 1}, {"threads": 10}, difference)
    return LedgerSnapshot("boot.i", "boot", "i", CAPTURED, 79, {"limit": 1}, {"siem": sink}, {"0": 5}, (1, 2), (3, 4))


def an_agent(current, former=()):
    return AgentSnapshot(
        identity=AgentIdentity("node1", "demo", "0.1.0", "6.18", "2026-11-28T00:00:00Z"),
        taken_over=True,
        pinned="yes",
        journal="works",
        privileges={},
        sinks={"siem": SinkState(100, {"200": 3}, "taken")},
        enrichment={"resolved": 70},
        kubernetes_state="watching",
        kubernetes_requests={"list": 1},
        current=current,
        former=former,
    )


def test_the_ledger_has_its_keys():
    ledger = ledger_json(an_agent(a_snapshot(), [a_snapshot()]))
    assert " ".join(ledger) == KEYS
    assert list(ledger["sinks"]["siem"]) == [*SinkLedgerOnTheWire.__annotations__, "journal_bytes", "answers", "state"]
    assert list(ledger["former"][0]) == ["stream", *Ledger.__annotations__]
    assert ledger["proc_stat"] == {"attach": [1, 2], "now": [3, 4]}
    assert ledger["agent"] == {"version": "0.1.0", "kernel": "6.18", "started": "2026-11-28T00:00:00Z"}
    assert (ledger["captured"], ledger["lost"]) == (103, {"ring": 5, "recursion": 1, "orphaned": 3, "unseen": 0})


def test_the_heartbeat_has_the_fields_of_the_wire():
    heartbeat = heartbeat_json(a_snapshot())
    assert heartbeat.keys() == Ledger.__annotations__.keys()
    assert heartbeat["sinks"]["siem"].keys() == SinkLedgerOnTheWire.__annotations__.keys()


@pytest.mark.parametrize(("difference", "closed"), [(0, True), (1, False), (-2, False)])
def test_a_ledger_is_closed_when_no_sink_has_a_difference(difference, closed):
    ledger = ledger_json(an_agent(a_snapshot(difference)))
    assert (ledger["closed"], ledger["unaccounted"]) == (closed, abs(difference))


def test_the_line_for_the_log_has_what_was_captured_lost_and_delivered():
    line = ledger_line(a_snapshot())
    assert line.startswith("captured 103, lost {'ring': 5")
    assert "'siem': {'delivered': 70" in line
