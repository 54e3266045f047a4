"""Each storm has a start and a stop event with exact numbers, whenever it is checked and by whichever agent."""

import pytest

from agent.ledger import COUNTS
from agent.model import Attribution
from agent.reporting.storms import HOLD_S as HOLDS
from agent.reporting.storms import Storms
from tests.agent.fakes import FakeAttributions
from wire.events import ForkStorm

SECOND = 10**9
POD = 5
LIMITS = {"limit": 2000, "uniqueness": 500}
HOLD_S = HOLDS["limit"]
CALM = dict.fromkeys(COUNTS, 0)


def counters(**counts):
    return tuple((CALM | counts).values())


ATTRIBUTIONS = FakeAttributions(lambda cgroup: Attribution(cgroup, f"/pod{cgroup}", "unresolved", "cgroup", "uid"))


def fields(attribution):
    return {"cgroup": {"id": attribution.cgroup, "path": attribution.path}, "container": None, "k8s": {}}


class Checks:
    """Checks a pod once a second, whose counters and storm a test sets."""

    def __init__(self):
        self.storms = Storms("stream", LIMITS, ATTRIBUTIONS, fields)
        self.counters = [counters()]
        self.over = {}
        self.now = 100 * SECOND

    def check(self, seconds=1.0):
        self.now += int(seconds * SECOND)
        return self.storms.check(self.now, f"t{self.now // SECOND}", self.over, {POD: self.counters})

    def exceed(self, since):
        """It was over the limit just now."""
        self.over = {POD: (self.now, since, "limit")}


@pytest.fixture
def checks():
    here = Checks()
    assert here.check() == []
    return here


def test_a_storm_has_one_start_and_one_stop_with_its_number(checks):
    checks.exceed(since=checks.now)
    (start,) = checks.check()
    assert start["phase"] == "start"
    assert [checks.check() for _ in range(HOLD_S - 1)] == [[]] * (HOLD_S - 1)
    (stop,) = checks.check()
    assert stop["phase"] == "stop"
    assert (start["storm"], stop["storm"]) == (1, 1)
    assert start["id"] == f"stream.storm.{POD}.1.start"
    assert stop["id"] == f"stream.storm.{POD}.1.stop"
    assert checks.check() == []
    assert start.keys() == stop.keys() == ForkStorm.__annotations__.keys()


def test_a_storm_that_goes_on_has_no_stop(checks):
    since = checks.now
    events = []
    for _ in range(30):
        checks.exceed(since)
        events += checks.check()
    assert [event["phase"] for event in events] == ["start"]
    assert len(checks.storms) == 1


def test_counts_are_those_since_the_last_check_before_the_storm(checks):
    checks.counters = [counters(processes=10, emitted=10), counters(processes=1, emitted=1)]
    checks.check()
    checks.exceed(since=checks.now)
    checks.counters = [counters(processes=3010, emitted=2010, suppressed=1000), counters(processes=1, emitted=1)]
    (start,) = checks.check()
    assert start["counts"] == CALM | {"processes": 3000, "emitted": 2000, "suppressed": 1000}
    checks.counters = [
        counters(processes=9010, emitted=2010, suppressed=7000),
        counters(processes=101, emitted=51, suppressed=50),
    ]
    (stop,) = checks.check(HOLD_S + 1)
    assert stop["counts"] == CALM | {"processes": 9100, "emitted": 2050, "suppressed": 7050}
    assert stop["totals"]["suppressed"] == 7050
    assert stop["interval"]["start"] == start["interval"]["start"] < start["timestamp"]


def test_a_second_storm_begins_where_the_first_ended(checks):
    checks.exceed(since=checks.now)
    checks.counters = [counters(processes=100, suppressed=100)]
    checks.check()
    checks.check(HOLD_S + 1)
    checks.exceed(since=checks.now)
    checks.counters = [counters(processes=150, suppressed=150)]
    (start,) = checks.check()
    assert (start["storm"], start["counts"]["suppressed"]) == (2, 50)


def test_a_storm_between_two_checks_is_reported_whole(checks):
    checks.exceed(since=checks.now)
    checks.counters = [counters(processes=7, suppressed=7)]
    start, stop = checks.check(60)
    assert (start["phase"], stop["phase"], stop["counts"]["suppressed"]) == ("start", "stop", 7)
    assert checks.check() == []


def test_a_storm_that_followed_another_between_two_checks_ends_the_first(checks):
    checks.exceed(since=checks.now)
    checks.check()
    checks.over = {POD: (checks.now + 59 * SECOND, checks.now + 58 * SECOND, "limit")}
    assert [event["phase"] for event in checks.check(60)] == ["stop", "start"]


def test_what_is_counted_in_one_storm_is_not_counted_in_the_next(checks):
    checks.exceed(since=checks.now)
    checks.counters = [counters(processes=100, suppressed=100)]
    checks.check()
    checks.over = {POD: (checks.now + 59 * SECOND, checks.now + 58 * SECOND, "limit")}
    checks.counters = [counters(processes=900, suppressed=900)]
    stop, start = checks.check(60)
    checks.counters = [counters(processes=1000, suppressed=1000)]
    (second,) = checks.check(HOLD_S + 1)
    assert start["interval"]["start"] == stop["interval"]["end"]
    assert stop["counts"]["suppressed"] + second["counts"]["suppressed"] == 1000


def test_a_storm_that_was_over_before_the_programs_were_loaded_is_not_reported_again(checks):
    checks.storms = Storms("stream", LIMITS, ATTRIBUTIONS, fields, loaded=checks.now)
    checks.over = {POD: (checks.now - 3600 * SECOND, checks.now - 3700 * SECOND, "limit")}
    assert [checks.check(), checks.check()] == [[], []]
    assert len(checks.storms) == 0


def test_a_storm_that_goes_on_while_other_programs_take_over_is_reported_in_both_streams(checks):
    checks.storms = Storms("stream", LIMITS, ATTRIBUTIONS, fields, loaded=checks.now)
    checks.now += SECOND
    checks.over = {POD: (checks.now, checks.now - 10 * SECOND, "limit")}
    checks.counters = [counters(processes=50, suppressed=50)]
    (start,) = checks.check()
    assert (start["phase"], start["counts"]["suppressed"]) == ("start", 50)


def test_a_storm_ends_with_its_pod(checks):
    checks.exceed(since=checks.now)
    checks.check()
    checks.over = {}
    assert [event["phase"] for event in checks.check()] == ["stop"]


def test_the_next_agent_goes_on_with_a_storm_and_reports_no_old_one_again(checks):
    checks.counters = [counters(processes=10)]
    checks.check()
    checks.exceed(since=checks.now)
    checks.counters = [counters(processes=1000, suppressed=500)]
    checks.check()
    state, before = checks.storms.record(), checks.storms
    checks.storms = Storms("stream", LIMITS, ATTRIBUTIONS, fields)
    checks.storms.restore(state)
    assert checks.check() == []
    checks.counters = [counters(processes=2000, suppressed=1500)]
    (stop,) = checks.check(HOLD_S + 1)
    assert (stop["storm"], stop["counts"]["processes"], stop["counts"]["suppressed"]) == (1, 1990, 1500)
    assert len(before) == 1
    state = checks.storms.record()
    checks.storms = Storms("stream", LIMITS, ATTRIBUTIONS, fields)
    checks.storms.restore(state)
    assert checks.check() == []
