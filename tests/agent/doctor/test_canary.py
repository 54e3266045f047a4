"""23 forks: found as 23, or it is said what was found."""

from __future__ import annotations

import pytest

from agent.doctor.checks.canary import FORKS, Counted, Found, judge_canary


@pytest.mark.parametrize(
    ("seen", "verdict", "words"),
    [
        (Found(events=23), "ok", "found 23"),
        (Found(events=22), "fail", "found 22"),
        (Found(events=24), "fail", "found 24"),
        (Found(events=9, lost=5000), "fail", "5,000 forks had no room"),
        (Found(refused="run as root", permitted=False), "skipped", "run as root"),
        (Found(refused="BCC could not load the probe"), "fail", "BCC could not load"),
        (Counted(processes=23, tasks=23, least=23, most=23), "ok", "counted 23 processes"),
        (Counted(processes=400, tasks=900, least=880, most=910), "ok", "880 to 910"),
        (Counted(processes=22, tasks=22, least=23, most=30), "fail", "counted 22"),
        (Counted(processes=40, tasks=40, least=23, most=30), "fail", "40 tasks"),
        (None, "skipped", "does not say"),
    ],
)
def test_what_was_seen_is_judged(said, seen, verdict, words):
    finding = said([judge_canary(seen)])["canary"]
    assert finding.verdict == verdict
    assert words in finding.text


def test_it_is_a_prime_number_as_bcc_s_own_tools_use():
    assert FORKS == 23
