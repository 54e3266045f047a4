"""The pods are kept up to date by list and watch, against a server over real HTTP, with and without faults."""

import asyncio
from contextlib import asynccontextmanager, suppress
from itertools import count

import pytest
from kubernetes.aio.client.exceptions import ApiException

from agent.attribution.pods import Pods
from agent.attribution.pods import watch as pod_watch_module
from agent.attribution.pods.requests import retry_after_s
from agent.attribution.pods.watch import PodWatch
from dev.demo.kubernetes.api_server import KubernetesApi
from dev.demo.kubernetes.cluster import Cluster
from dev.demo.kubernetes.pod_objects import Pod
from wire.backoff import Backoff

NODE, ID = "node1", "7b" * 32


def a_pod(name, node=NODE):
    return Pod("shop", name, f"uid-of-{name}", (("app", ("sleep", "1")),), node=node)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(pod_watch_module, "_BACKOFF", Backoff(0.002, 0.005))


@pytest.fixture
async def api():
    async with KubernetesApi(Cluster(), bookmarks=0.02) as api:
        yield api


@pytest.fixture
def kubeconfig(api, tmp_path):
    api.write_kubeconfig(tmp_path / "kubeconfig")
    return tmp_path / "kubeconfig"


@asynccontextmanager
async def watching(kubeconfig, node=NODE):
    """Yields pods, the running watch, and a function that waits until a condition holds."""
    pods = Pods()
    watch = PodWatch(pods, node, kubeconfig)
    task = asyncio.create_task(watch.run())

    async def until(true):
        async with asyncio.timeout(10):
            while not true():
                assert not task.done(), f"the watch ended: {task.exception()!r}"
                assert "ValidationError" not in watch.requests, f"the client refused our own arguments: {watch.state}"
                await asyncio.sleep(0.002)

    try:
        yield pods, watch, until
        assert not task.done(), f"the watch ended: {task.exception()!r}"
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task


async def test_existing_pods_are_listed(api, kubeconfig):
    for name in ("a", "b"):
        api.cluster.add_pod(a_pod(name))
    async with watching(kubeconfig) as (pods, watch, until):
        await until(lambda: len(pods) == 2)
        assert watch.synced
        assert pods.get("uid-of-a").name == "a"


async def test_pods_of_other_nodes_are_not_requested(api, kubeconfig):
    api.cluster.add_pod(a_pod("elsewhere", node="node2"))
    api.cluster.add_pod(a_pod("here"))
    async with watching(kubeconfig) as (pods, _, until):
        await until(lambda: len(pods) == 1)
        assert pods.get("uid-of-elsewhere") is None


async def test_later_changes_come_by_the_watch_without_another_list(api, kubeconfig):
    async with watching(kubeconfig) as (pods, watch, until):
        await until(lambda: watch.state.startswith("watching"))
        uid = api.cluster.add_pod(a_pod("a"))
        await until(lambda: pods.get(uid))
        api.cluster.container_running(uid, "app", ID)
        await until(lambda: ID in pods.get(uid).containers)
        api.cluster.delete_pod(uid)
        await until(lambda: len(pods) == 0)
        assert pods.get(uid).containers[ID].name == "app"
    assert (api.requests["list"], api.requests["watch"]) == (1, 1)


async def test_bookmarks_advance_the_version_from_which_a_broken_stream_continues(api, kubeconfig):
    async with watching(kubeconfig) as (pods, watch, until):
        await until(lambda: watch.state.startswith("watching"))
        api.cluster.add_pod(a_pod("elsewhere", node="node2"))
        await asyncio.sleep(0.1)  # some bookmarks
        api.compact()
        api.drop_connections()
        await until(lambda: api.requests["watch"] >= 2)
        uid = api.cluster.add_pod(a_pod("a"))
        await until(lambda: pods.get(uid))
    assert api.requests["list"] == 1


async def test_a_broken_stream_continues_where_it_was(api, kubeconfig):
    async with watching(kubeconfig) as (pods, watch, until):
        await until(lambda: watch.state.startswith("watching"))
        for name in "abc":
            uid = api.cluster.add_pod(a_pod(name))
            await until(lambda uid=uid: pods.get(uid))
            api.drop_connections()
        await until(lambda: api.requests["watch"] >= 4)
        assert len(pods) == 3
    assert api.requests["list"] == 1


async def test_after_an_expired_version_a_new_list_shows_what_was_deleted(tmp_path):
    async with KubernetesApi(Cluster()) as api:
        api.write_kubeconfig(tmp_path / "kubeconfig")
        gone = api.cluster.add_pod(a_pod("gone"))
        async with watching(tmp_path / "kubeconfig") as (pods, watch, until):
            await until(lambda: pods.get(gone) and watch.state.startswith("watching"))
            await api.stop()
            api.cluster.delete_pod(gone)
            came = api.cluster.add_pod(a_pod("came"))
            api.compact()
            await api.start()
            await until(lambda: pods.get(came) and len(pods) == 1)
            assert watch.requests["expired"] == 1
        assert api.requests["list"] == 2


@pytest.mark.parametrize("status", [429, 500, 503, 403, 504])
async def test_an_error_status_is_shown_and_tried_again(api, kubeconfig, status):
    api.cluster.add_pod(a_pod("a"))
    api.faults.refuse(3, status)
    async with watching(kubeconfig) as (pods, watch, until):
        await until(lambda: len(pods) == 1)
        assert watch.requests[str(status)] == 3


async def test_a_403_names_the_missing_permission(api, kubeconfig):
    api.faults.refuse(1_000_000, 403)
    async with watching(kubeconfig) as (_, watch, until):
        await until(lambda: "ClusterRole" in watch.state)
        assert not watch.synced


async def test_after_a_401_the_token_is_read_again(api, kubeconfig):
    api.cluster.add_pod(a_pod("a"))
    api.token = "rotated"
    async with watching(kubeconfig) as (pods, watch, until):
        await until(lambda: watch.requests.get("401", 0) >= 2)
        assert "the token is not accepted" in watch.state
        api.write_kubeconfig(kubeconfig)
        await until(lambda: len(pods) == 1)


async def test_a_server_that_is_away_at_the_start_is_tried_again(api, kubeconfig):
    await api.stop()
    async with watching(kubeconfig) as (pods, watch, until):
        await until(lambda: "ClientConnectorError" in watch.requests)
        assert not watch.synced
        await api.start()
        api.cluster.add_pod(a_pod("a"))
        await until(lambda: len(pods) == 1)


async def test_known_pods_stay_known_while_the_server_is_away(api, kubeconfig):
    uid = api.cluster.add_pod(a_pod("a"))
    async with watching(kubeconfig) as (pods, watch, until):
        await until(lambda: pods.get(uid) and watch.state.startswith("watching"))
        await api.stop()
        await until(lambda: "ClientConnectorError" in watch.requests)
        assert (len(pods), pods.get(uid).name) == (1, "a")


async def test_a_silent_stream_is_closed_and_continued(api, kubeconfig, monkeypatch):
    monkeypatch.setattr(pod_watch_module, "_SILENCE_S", 0.05)
    async with watching(kubeconfig) as (pods, watch, until):
        await until(lambda: watch.state.startswith("watching"))
        api.faults.silence()
        api.cluster.add_pod(a_pod("a"))
        await until(lambda: watch.requests["watch"] >= 3)
        api.faults.resume()
        await until(lambda: len(pods) == 1)


async def test_all_pages_of_a_list_are_read(api, kubeconfig, monkeypatch):
    """The stand-in, like a real server, answers version 0 in one page; so this one answers as for the newest version."""
    monkeypatch.setattr(pod_watch_module, "_PAGE", 2)
    for name in "abcdefg":
        api.cluster.add_pod(a_pod(name))
    list_as_it_is = api._list

    def newest(request, matches):
        url = request.rel_url.update_query({"resourceVersion": ""})
        return list_as_it_is(request.clone(rel_url=url), matches)

    monkeypatch.setattr(api, "_list", newest)
    async with watching(kubeconfig) as (pods, watch, until):
        await until(lambda: len(pods) == 7)
        assert watch.requests["list"] == 4


async def test_a_list_that_expired_between_two_pages_is_started_again(api, kubeconfig, monkeypatch):
    monkeypatch.setattr(pod_watch_module, "_PAGE", 2)
    for name in "abc":
        api.cluster.add_pod(a_pod(name))
    list_as_it_is, first = api._list, count()

    def newest(request, matches):
        url = request.rel_url.update_query({"resourceVersion": ""})
        answer = list_as_it_is(request.clone(rel_url=url), matches)
        if next(first) == 0:
            api.compact()
        return answer

    monkeypatch.setattr(api, "_list", newest)
    async with watching(kubeconfig) as (pods, watch, until):
        await until(lambda: len(pods) == 3)
        assert (watch.requests["list"], watch.requests["expired"]) == (4, 1)


async def test_a_kubeconfig_that_is_written_later_is_used(api, tmp_path):
    late = tmp_path / "late"
    api.cluster.add_pod(a_pod("a"))
    async with watching(late) as (pods, watch, until):
        await until(lambda: "ConfigException" in watch.requests)
        api.write_kubeconfig(late)
        await until(lambda: len(pods) == 1)


async def test_outside_of_a_cluster_a_missing_kubeconfig_is_shown(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    async with watching(None) as (_, watch, until):
        await until(lambda: "ConfigException" in watch.requests)
        assert "Service host/port is not set" in watch.state


@pytest.mark.parametrize(("header", "pause"), [("7", 7.0), ("0", 0.0), ("999999", 60.0), ("-1", 0.0), ("soon", 0.0), ("", 0.0)])
def test_retry_after_is_respected_up_to_a_minute(header, pause):
    error = ApiException(status=429)
    error.headers = {"Retry-After": header}
    assert retry_after_s(error) == pause
    assert retry_after_s(OSError()) == 0.0
