"""A `node` that is not the node's name in the API is reported, in the log and to those who ask."""

import logging
from types import SimpleNamespace

import pytest

from agent.attribution.metadata_cache import MetadataCache
from agent.reporting.reporter import AgentIdentity, Reporter
from tests.agent.attribution.test_metadata_cache import ID, POD, Kernel, a_pod

SECOND = 10**9


@pytest.fixture
def cache(tmp_path):
    found = MetadataCache(tmp_path, api=True)
    found.apply_cgroup_events([Kernel.created(11, f"{POD}/{ID}", 10, SECOND)], Kernel())
    return found


def reporter(cache, *, synced=True, seconds=100):
    identity = AgentIdentity("ip-10-0-1-7", "demo", "0.1.0", "6.18.44", "2026-11-23T00:00:00Z")
    clock = SimpleNamespace(boot_ns=lambda: seconds * SECOND)
    pipeline = SimpleNamespace(sinks=(), instances=[])
    return Reporter(identity, clock, None, pipeline, cache, SimpleNamespace(synced=synced), None)


def test_the_warning_names_the_node_and_the_cure(cache):
    (warning,) = reporter(cache).warnings()
    assert warning == (
        "no pod is named: 1 have containers here, and the Kubernetes API has none of them on a node 'ip-10-0-1-7'. "
        "Set `node` to the name that `kubectl get nodes` shows"
    )


@pytest.mark.parametrize("fields", [{"synced": False}, {"seconds": 30}])
def test_before_the_pods_are_listed_and_for_a_minute_nothing_is_reported(cache, fields):
    assert reporter(cache, **fields).warnings() == []


def test_the_log_has_it_once_and_when_it_is_over(cache, caplog):
    caplog.set_level(logging.INFO)
    agent = reporter(cache)
    for _ in range(3):
        agent.log_wrong_node()
    cache.pods.put(a_pod())
    for _ in range(3):
        agent.log_wrong_node()
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
