"""Series for pods: bounded in number, stable while a pod lives, gone with it, and never falling."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.reporting.metrics import PodCounts
from agent.reporting.metrics.pods import PodSeries


def row(pod, cgroup=1, processes=1, *, alive=True, namespace="shop", uid=None):
    return PodCounts(uid or f"uid-{pod}", namespace, pod, cgroup, alive, processes, 10 * processes, 0, 0)


def told(series):
    return {name: counts[0] for (_, name), counts in series}


def test_a_pod_s_containers_are_added_up():
    series = PodSeries(5)
    series.update([row("cart", 1, 3), row("cart", 2, 4), row("cron", 3, 5)])
    assert [*series] == [(("shop", "cart"), (7, 70, 0, 0)), (("shop", "cron"), (5, 50, 0, 0))]


def test_there_are_no_more_than_wanted_and_the_rest_is_counted():
    series = PodSeries(2)
    series.update([row(f"pod{number}") for number in range(7)])
    assert told(series) == {"pod0": 1, "pod1": 1}
    assert series.left_out == 5


def test_who_has_a_place_keeps_it_while_it_lives():
    series = PodSeries(1)
    series.update([row("old")])
    series.update([row("loud", 2, 1_000_000), row("old", 1, 2)])
    assert told(series) == {"old": 2}


def test_a_pod_that_is_gone_makes_room():
    series = PodSeries(1)
    series.update([row("old"), row("next", 2)])
    series.update([row("old", alive=False), row("next", 2)])
    assert told(series) == {"next": 1}
    assert series.left_out == 0


def test_what_a_dead_container_counted_stays_in_its_pod_s_sum():
    series = PodSeries(1)
    series.update([row("cart", 1, 40), row("cart", 2, 2)])
    series.update([row("cart", 2, 3)])
    series.update([row("cart", 2, 4), row("cart", 7, 1)])
    assert told(series) == {"cart": 45}


def test_a_pod_is_named_as_soon_as_the_api_has_named_it():
    series = PodSeries(5)
    series.update([row("uid-cart", 1, 3, namespace="", uid="uid-cart")])
    assert [name for name, _ in series] == [("", "uid-cart")]
    series.update([row("uid-cart", 1, 4, namespace="", uid="uid-cart"), row("cart", 2, 5)])
    assert [*series] == [(("shop", "cart"), (9, 90, 0, 0))]


def test_a_pod_cannot_take_another_s_name_later_either():
    series = PodSeries(5)
    series.update([row("cart", 1, uid="a"), row("b", 2, namespace="", uid="b")])
    series.update([row("cart", 1, uid="a"), row("cart", 2, uid="b")])
    assert [name for name, _ in series] == [("shop", "cart"), ("", "b")]


def test_of_two_pods_of_one_name_one_has_the_series():
    """A scrape with the same series twice is refused as a whole."""
    series = PodSeries(5)
    series.update([row("cart", 1, uid="a"), row("cart", 2, uid="b")])
    assert [name for name, _ in series] == [("shop", "cart")]
    assert series.left_out == 1


rows = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.booleans()), max_size=12)


@given(st.lists(rows, max_size=12), st.integers(1, 4))
def test_whatever_comes_and_goes_a_living_pod_s_count_never_falls(scrapes, most):
    series, counted, before = PodSeries(most), {}, {}
    for scrape in scrapes:
        given_rows = {}
        for pod, container, alive in scrape:
            cgroup = 10 * pod + container
            counted[cgroup] = counted.get(cgroup, 0) + 1  # the kernel's tally only rises
            given_rows[cgroup] = row(f"pod{pod}", cgroup, counted[cgroup], alive=alive)
        series.update(given_rows.values())
        now = told(series)
        assert len(now) <= most
        assert all(now[pod] >= before[pod] for pod in now.keys() & before.keys())
        before = now
