"""A search parameter has two implementations: SQL for the search, Python for the live stream. None may lack one."""

import pytest

from collector.api.stream import _matches
from collector.model import Filter, ForkQuery, Span
from collector.query.filters import filter_condition
from collector.query.forks.search import search

SPAN = Span(1_000, 2_000)
FILTERS = {
    "cluster": "demo", "namespace": "shop", "node": "node1", "pod": "cart-1", "pod_uid": "u1", "workload": "Deployment/cart",
    "labels": (("app", "cart"),), "text": "car",
}  # fmt: skip
# A value that the example event fits, and one that it does not.
CONDITIONS = {
    "comm": ("sh", "other"),
    "parent_comm": ("sh", "other"),
    "kind": ("process", "thread"),
    "pid": (7001, 99),
    "entity": ("00000000000000aa", "00000000000000bb"),
}


class Statements:
    """In place of a `ReadContext`: it keeps what is asked, and finds nothing."""

    def __init__(self):
        self.asked = []

    def rows(self, _row, statement, **values):
        self.asked.append((statement, values))
        return []


def asked(query):
    context = Statements()
    search(context, query, 10, None)
    return context.asked


def test_each_parameter_of_a_search_is_tested_here():
    assert {*CONDITIONS, "filter", "span"} == set(ForkQuery._fields)
    assert set(FILTERS) == set(Filter._fields)


@pytest.mark.parametrize("name", CONDITIONS)
def test_the_search_and_the_stream_both_apply_a_condition(name, make):
    fork = make.fork(1, pid=7001) | {"process_entity_id": "00000000000000aa"}
    fits, other = CONDITIONS[name]
    plain, query = ForkQuery(Filter(), SPAN), ForkQuery(Filter(), SPAN, **{name: fits})
    assert asked(query) != asked(plain)
    bound = int(fits, 16) if name == "entity" else fits
    assert all(bound in values.values() for _, values in asked(query))
    assert _matches(fork, plain) and _matches(fork, query)
    assert not _matches(fork, ForkQuery(Filter(), SPAN, **{name: other}))


@pytest.mark.parametrize("name", FILTERS)
def test_the_search_and_the_stream_share_the_condition_of_each_filter(name):
    condition, values = filter_condition(Filter(**{name: FILTERS[name]}))
    assert condition is not None and values
    assert asked(ForkQuery(Filter(**{name: FILTERS[name]}), SPAN)) != asked(ForkQuery(Filter(), SPAN))
