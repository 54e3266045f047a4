"""Storms: a start and a stop each, with exact numbers, whoever was looking, and whenever."""

import pytest

from agent.ledger import COUNTS
from agent.model import Attribution
from agent.reporting.storms import HOLD_S, Storms
from wire.events import ForkStorm

SECOND = 10**9
POD = 5
CALM = dict.fromkeys(COUNTS, 0)


def row(**counts):
    return tuple((CALM | counts).values())


def best(cgroup):
    return Attribution(cgroup, f"/pod{cgroup}", "unresolved", "cgroup", "uid")


def whose(attribution):
    return {"cgroup": {"id": attribution.cgroup, "path": attribution.path}, "container": None, "k8s": {}}


class Watch:
    """Looks once a second at a pod whose rows and storm a test sets."""

    def __init__(self):
        self.storms = Storms("stream", 2000, best, whose)
        self.rows = [row()]
        self.over = {}
        self.now = 100 * SECOND

    def look(self, seconds=1.0):
        self.now += int(seconds * SECOND)
        return self.storms.look(self.now, f"t{self.now // SECOND}", self.over, [POD], lambda pod: self.rows)

    def rage(self, since):
        """It was over the limit just now."""
        self.over = {POD: (self.now, since)}


@pytest.fixture
def watch():
    here = Watch()
    assert here.look() == []
    return here


def test_a_storm_has_one_start_and_one_stop_that_bear_its_number(watch):
    watch.rage(since=watch.now)
    (start,) = watch.look()
    assert start["phase"] == "start"
    assert [watch.look() for _ in range(HOLD_S - 1)] == [[]] * (HOLD_S - 1)
    (stop,) = watch.look()
    assert stop["phase"] == "stop"
    assert (start["storm"], stop["storm"]) == (1, 1)
    assert start["id"] == f"stream.storm.{POD}.1.start"
    assert stop["id"] == f"stream.storm.{POD}.1.stop"
    assert watch.look() == []
    assert start.keys() == stop.keys() == ForkStorm.__annotations__.keys()


def test_while_it_rages_on_there_is_no_stop(watch):
    since = watch.now
    events = []
    for _ in range(30):
        watch.rage(since)
        events += watch.look()
    assert [event["phase"] for event in events] == ["start"]
    assert len(watch.storms) == 1


def test_the_numbers_are_those_since_the_last_look_before_it(watch):
    watch.rows = [row(processes=10, emitted=10), row(processes=1, emitted=1)]
    watch.look()
    watch.rage(since=watch.now)
    watch.rows = [row(processes=3010, emitted=2010, suppressed=1000), row(processes=1, emitted=1)]
    (start,) = watch.look()
    assert start["counts"] == CALM | {"processes": 3000, "emitted": 2000, "suppressed": 1000}
    watch.rows = [row(processes=9010, emitted=2010, suppressed=7000), row(processes=101, emitted=51, suppressed=50)]
    (stop,) = watch.look(HOLD_S + 1)
    assert stop["counts"] == CALM | {"processes": 9100, "emitted": 2050, "suppressed": 7050}
    assert stop["totals"]["suppressed"] == 7050
    assert stop["interval"]["start"] == start["interval"]["start"] < start["timestamp"]


def test_a_second_storm_begins_where_the_first_was_told_to_end(watch):
    watch.rage(since=watch.now)
    watch.rows = [row(processes=100, suppressed=100)]
    watch.look()
    watch.look(HOLD_S + 1)
    watch.rage(since=watch.now)
    watch.rows = [row(processes=150, suppressed=150)]
    (start,) = watch.look()
    assert (start["storm"], start["counts"]["suppressed"]) == (2, 50)


def test_one_that_came_and_went_while_nobody_looked_is_told_whole(watch):
    watch.rage(since=watch.now)
    watch.rows = [row(processes=7, suppressed=7)]
    start, stop = watch.look(60)
    assert (start["phase"], stop["phase"], stop["counts"]["suppressed"]) == ("start", "stop", 7)
    assert watch.look() == []


def test_one_that_followed_another_unseen_ends_the_first(watch):
    watch.rage(since=watch.now)
    watch.look()
    watch.over = {POD: (watch.now + 59 * SECOND, watch.now + 58 * SECOND)}
    assert [event["phase"] for event in watch.look(60)] == ["stop", "start"]


def test_what_is_counted_in_one_storm_is_not_counted_in_the_next(watch):
    watch.rage(since=watch.now)
    watch.rows = [row(processes=100, suppressed=100)]
    watch.look()
    watch.over = {POD: (watch.now + 59 * SECOND, watch.now + 58 * SECOND)}
    watch.rows = [row(processes=900, suppressed=900)]
    stop, start = watch.look(60)
    watch.rows = [row(processes=1000, suppressed=1000)]
    (second,) = watch.look(HOLD_S + 1)
    assert start["interval"]["start"] == stop["interval"]["end"]
    assert stop["counts"]["suppressed"] + second["counts"]["suppressed"] == 1000


def test_a_storm_that_was_over_before_the_probe_was_made_is_not_told_again(watch):
    watch.storms = Storms("stream", 2000, best, whose, made=watch.now)
    watch.over = {POD: (watch.now - 3600 * SECOND, watch.now - 3700 * SECOND)}
    assert [watch.look(), watch.look()] == [[], []]
    assert len(watch.storms) == 0


def test_one_that_rages_while_another_probe_takes_over_is_told_by_both(watch):
    watch.storms = Storms("stream", 2000, best, whose, made=watch.now)
    watch.now += SECOND
    watch.over = {POD: (watch.now, watch.now - 10 * SECOND)}
    watch.rows = [row(processes=50, suppressed=50)]
    (start,) = watch.look()
    assert (start["phase"], start["counts"]["suppressed"]) == ("start", 50)


def test_the_end_of_its_pod_is_the_end_of_a_storm(watch):
    watch.rage(since=watch.now)
    watch.look()
    watch.over = {}
    assert [event["phase"] for event in watch.look()] == ["stop"]


def test_the_next_agent_goes_on_with_a_storm_and_tells_no_old_one_again(watch):
    watch.rows = [row(processes=10)]
    watch.look()
    watch.rage(since=watch.now)
    watch.rows = [row(processes=1000, suppressed=500)]
    watch.look()
    state, before = watch.storms.record(), watch.storms
    watch.storms = Storms("stream", 2000, best, whose)
    watch.storms.restore(state)
    assert watch.look() == []
    watch.rows = [row(processes=2000, suppressed=1500)]
    (stop,) = watch.look(HOLD_S + 1)
    assert (stop["storm"], stop["counts"]["processes"], stop["counts"]["suppressed"]) == (1, 1990, 1500)
    assert len(before) == 1
    state = watch.storms.record()
    watch.storms = Storms("stream", 2000, best, whose)
    watch.storms.restore(state)
    assert watch.look() == []
