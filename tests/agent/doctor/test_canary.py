"""The canary: 23 forks are found as 23, or the result states what was found."""

from __future__ import annotations

import pytest

from agent.doctor.checks.canary import FORKS, AgentCounts, CaptureCounts, judge_canary


@pytest.mark.parametrize(
    ("counts", "verdict", "text"),
    [
        (CaptureCounts(events=23), "ok", "found 23"),
        (CaptureCounts(events=23, shares_ring=False), "warn", "who forks much can fill it"),
        (AgentCounts(23, 23, 23, 23, shares_ring=False), "warn", "who forks much can fill it"),
        (CaptureCounts(events=22), "fail", "found 22"),
        (CaptureCounts(events=24), "fail", "found 24"),
        (CaptureCounts(events=9, lost=5000), "fail", "5,000 forks did not fit into the ring"),
        (CaptureCounts(refused="run as root", permitted=False), "skipped", "run as root"),
        (CaptureCounts(refused="BCC could not load the programs"), "fail", "BCC could not load"),
        (AgentCounts(processes=23, tasks=23, least=23, most=23), "ok", "counted 23 processes"),
        (AgentCounts(processes=400, tasks=900, least=880, most=910), "ok", "880 to 910"),
        (AgentCounts(processes=22, tasks=22, least=23, most=30), "fail", "counted 22"),
        (AgentCounts(processes=40, tasks=40, least=23, most=30), "fail", "40 tasks"),
        (None, "skipped", "has no counts"),
    ],
)
def test_the_counts_are_judged(results_of, counts, verdict, text):
    result = results_of([judge_canary(counts)])["canary"]
    assert result.verdict == verdict
    assert text in result.text


def test_the_number_of_forks_is_prime_as_in_bcc_s_own_tools():
    assert FORKS == 23
