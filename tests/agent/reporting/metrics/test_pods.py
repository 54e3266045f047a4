"""Series for pods: bounded in number, stable while a pod is there, gone with it, and never falling."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.reporting.metrics import PodCounts
from agent.reporting.metrics.pods import PodSeries


def pod_counts(pod, cgroup=1, processes=1, *, alive=True, namespace="shop", uid=None):
    return PodCounts(uid or f"uid-{pod}", namespace, pod, cgroup, alive, processes, 10 * processes, 0, 0)


def counted(series):
    return {name: counts[0] for (_, name), counts in series}


def test_the_containers_of_a_pod_are_added_up():
    series = PodSeries(5)
    series.update([pod_counts("cart", 1, 3), pod_counts("cart", 2, 4), pod_counts("cron", 3, 5)])
    assert [*series] == [(("shop", "cart"), (7, 70, 0, 0)), (("shop", "cron"), (5, 50, 0, 0))]


def test_the_number_of_series_is_bounded_and_the_other_pods_are_counted():
    series = PodSeries(2)
    series.update([pod_counts(f"pod{number}") for number in range(7)])
    assert counted(series) == {"pod0": 1, "pod1": 1}
    assert series.left_out == 5


def test_a_pod_keeps_its_series_as_long_as_it_is_there():
    series = PodSeries(1)
    series.update([pod_counts("old")])
    series.update([pod_counts("loud", 2, 1_000_000), pod_counts("old", 1, 2)])
    assert counted(series) == {"old": 2}


def test_when_a_pod_is_gone_the_next_one_gets_series():
    series = PodSeries(1)
    series.update([pod_counts("old"), pod_counts("next", 2)])
    series.update([pod_counts("old", alive=False), pod_counts("next", 2)])
    assert counted(series) == {"next": 1}
    assert series.left_out == 0


def test_the_counts_of_a_removed_container_stay_in_the_sum_of_its_pod():
    series = PodSeries(1)
    series.update([pod_counts("cart", 1, 40), pod_counts("cart", 2, 2)])
    series.update([pod_counts("cart", 2, 3)])
    series.update([pod_counts("cart", 2, 4), pod_counts("cart", 7, 1)])
    assert counted(series) == {"cart": 45}


def test_a_pod_is_named_as_soon_as_the_api_has_reported_it():
    series = PodSeries(5)
    series.update([pod_counts("uid-cart", 1, 3, namespace="", uid="uid-cart")])
    assert [name for name, _ in series] == [("", "uid-cart")]
    series.update([pod_counts("uid-cart", 1, 4, namespace="", uid="uid-cart"), pod_counts("cart", 2, 5)])
    assert [*series] == [(("shop", "cart"), (9, 90, 0, 0))]


def test_a_pod_can_not_take_the_name_of_another_later():
    series = PodSeries(5)
    series.update([pod_counts("cart", 1, uid="a"), pod_counts("b", 2, namespace="", uid="b")])
    series.update([pod_counts("cart", 1, uid="a"), pod_counts("cart", 2, uid="b")])
    assert [name for name, _ in series] == [("shop", "cart"), ("", "b")]


def test_of_two_pods_of_one_name_one_has_the_series():
    """A scrape with the same series twice is refused as a whole."""
    series = PodSeries(5)
    series.update([pod_counts("cart", 1, uid="a"), pod_counts("cart", 2, uid="b")])
    assert [name for name, _ in series] == [("shop", "cart")]
    assert series.left_out == 1


rows = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.booleans()), max_size=12)


@given(st.lists(rows, max_size=12), st.integers(1, 4))
def test_whatever_comes_and_goes_the_count_of_a_pod_never_falls(scrapes, most):
    series, totals, before = PodSeries(most), {}, {}
    for scrape in scrapes:
        by_cgroup = {}
        for pod, container, alive in scrape:
            cgroup = 10 * pod + container
            totals[cgroup] = totals.get(cgroup, 0) + 1  # the kernel's counters only rise
            by_cgroup[cgroup] = pod_counts(f"pod{pod}", cgroup, totals[cgroup], alive=alive)
        series.update(by_cgroup.values())
        now = counted(series)
        assert len(now) <= most
        assert all(now[pod] >= before[pod] for pod in now.keys() & before.keys())
        before = now
