"""The fake API server, used with the official asynchronous client as the agent does, and compared with recordings."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from kubernetes.aio import client, config, watch

from dev.demo.kubernetes.api_server import KubernetesApi
from dev.demo.kubernetes.cluster import Cluster
from dev.demo.kubernetes.pod_objects import Owner, Pod

RECORDED = Path(__file__).parents[2] / "data/kubernetes-1.36"
ID_1, ID_2 = "1" * 64, "2" * 64
ON_NODE1 = "spec.nodeName=node1"


def a_pod(name="cart-59855dd6c8-hnc27", **fields):
    given = {"namespace": "shop", "name": name, "uid": f"uid-of-{name}", "containers": (("app", ("sh", "-c", "ls")),), **fields}
    return Pod(**given)


@pytest.fixture
async def api():
    async with KubernetesApi(Cluster()) as api:
        yield api


@pytest.fixture
async def core(api, tmp_path):
    """The official client, configured by the kubeconfig of the fake server."""
    api.write_kubeconfig(tmp_path / "kubeconfig")
    settings = client.Configuration()
    await config.load_kube_config(str(tmp_path / "kubeconfig"), client_configuration=settings)
    async with client.ApiClient(settings) as connection:
        yield client.CoreV1Api(connection)


async def watched(core, count, **arguments):
    """The first `count` events of a watch, as (type, name, object)."""
    found = []
    async with watch.Watch() as stream:
        async for event in stream.stream(core.list_pod_for_all_namespaces, **arguments):
            thing = event["object"]
            if event["type"] == "BOOKMARK":
                found.append(("BOOKMARK", None, event["raw_object"]))
            else:
                found.append((event["type"], thing.metadata.name, thing))
            if len(found) == count:
                break
    return found


async def test_a_list_has_only_the_pods_of_the_requested_node(api, core):
    api.cluster.add_pod(a_pod("here"))
    api.cluster.add_pod(a_pod("there", node="node2"))
    answer = await core.list_pod_for_all_namespaces(field_selector=ON_NODE1)
    assert [pod.metadata.name for pod in answer.items] == ["here"]
    assert answer.metadata.resource_version == str(api.cluster.version)


async def test_a_namespaced_list_and_a_single_pod_are_served(api, core):
    api.cluster.add_pod(a_pod("mine"))
    api.cluster.add_pod(a_pod("other", namespace="batch"))
    assert [pod.metadata.name for pod in (await core.list_namespaced_pod("shop")).items] == ["mine"]
    assert (await core.read_namespaced_pod("other", "batch")).metadata.uid == "uid-of-other"
    with pytest.raises(client.ApiException) as refusal:
        await core.read_namespaced_pod("other", "shop")
    assert refusal.value.status == 404


async def test_an_unsupported_selector_is_refused(api, core):
    with pytest.raises(client.ApiException) as refusal:
        await core.list_pod_for_all_namespaces(field_selector="spec.hostName=x")
    assert refusal.value.status == 400


async def test_the_chunks_of_a_list_are_one_snapshot(api, core):
    for number in range(5):
        api.cluster.add_pod(a_pod(f"pod-{number}"))
    version, names, token = api.cluster.version, [], ""
    for _ in range(3):
        chunk = await core.list_pod_for_all_namespaces(limit=2, _continue=token)
        assert chunk.metadata.resource_version == str(version)
        names += [pod.metadata.name for pod in chunk.items]
        token = chunk.metadata._continue or ""
        api.cluster.add_pod(a_pod(f"newcomer-{len(names)}"))
    assert names == [f"pod-{number}" for number in range(5)]
    assert token == ""


async def test_a_list_that_was_partly_read_at_a_compaction_answers_410(api, core):
    for number in range(3):
        api.cluster.add_pod(a_pod(f"pod-{number}"))
    chunk = await core.list_pod_for_all_namespaces(limit=2)
    api.compact()
    with pytest.raises(client.ApiException) as refusal:
        await core.list_pod_for_all_namespaces(limit=2, _continue=chunk.metadata._continue)
    assert refusal.value.status == 410


async def test_a_list_from_the_watch_cache_is_whole_whatever_its_limit(api, core):
    for number in range(3):
        api.cluster.add_pod(a_pod(f"pod-{number}"))
    assert len((await core.list_pod_for_all_namespaces(limit=2, resource_version="0")).items) == 3


async def test_a_watch_has_the_changes_after_its_version_and_then_new_ones(api, core):
    uid = api.cluster.add_pod(a_pod("old"))
    listed = await core.list_pod_for_all_namespaces()
    api.cluster.container_running(uid, "app", ID_1)
    stream = asyncio.create_task(watched(core, 3, resource_version=listed.metadata.resource_version))
    while not api.requests["watch"]:  # noqa: ASYNC110  (a counter has no event to wait for)
        await asyncio.sleep(0.01)
    api.cluster.add_pod(a_pod("new"))
    api.cluster.container_running("uid-of-new", "app", ID_2)
    events = await stream
    assert [(kind, name) for kind, name, _ in events] == [("MODIFIED", "old"), ("ADDED", "new"), ("MODIFIED", "new")]
    assert events[0][2].status.container_statuses[0].container_id == f"containerd://{ID_1}"
    versions = [int(pod.metadata.resource_version) for _, _, pod in events]
    assert versions == sorted(set(versions))


async def test_a_watch_without_a_version_begins_with_the_existing_pods(api, core):
    api.cluster.add_pod(a_pod("here"))
    api.cluster.add_pod(a_pod("there", node="node2"))
    assert [event[:2] for event in await watched(core, 1, field_selector=ON_NODE1)] == [("ADDED", "here")]


async def test_a_pod_that_begins_or_ceases_to_match_the_selector_is_added_or_deleted(api, core):
    uid = api.cluster.add_pod(a_pod("wanderer", node=""))
    version = str(api.cluster.version)
    for node in ("node1", "node2"):
        pod = api.cluster.pod(uid)
        api.cluster.replace_pod({**pod, "spec": {**pod["spec"], "nodeName": node}})
    events = await watched(core, 2, resource_version=version, field_selector=ON_NODE1)
    assert [event[:2] for event in events] == [("ADDED", "wanderer"), ("DELETED", "wanderer")]


async def test_deleting_a_pod_is_a_modification_and_then_a_deletion(api, core):
    uid = api.cluster.add_pod(a_pod("short"))
    version = str(api.cluster.version)
    api.cluster.delete_pod(uid)
    events = await watched(core, 2, resource_version=version)
    assert [event[0] for event in events] == ["MODIFIED", "DELETED"]
    assert all(pod.metadata.deletion_timestamp for _, _, pod in events)
    assert (await core.list_pod_for_all_namespaces()).items == []


async def test_a_version_that_is_too_old_gets_the_recorded_410_within_the_stream(api, core):
    api.cluster.add_pod(a_pod())
    api.compact()
    recorded = json.loads((RECORDED / "watch-expired-410.json").read_text())
    arguments = {"watch": "true", "resourceVersion": "1"}
    async with aiohttp.ClientSession() as session, session.get(f"{api.url}/api/v1/pods", params=arguments) as answer:
        assert answer.status == 200
        event = json.loads(await answer.text())
    recorded["object"]["message"] = f"too old resource version: 1 ({api.cluster.version})"
    assert event == recorded
    with pytest.raises(client.ApiException) as refusal:
        await watched(core, 1, resource_version="1", timeout_seconds=5)
    assert refusal.value.status == 410


async def test_bookmarks_have_newer_versions_while_no_selected_pod_changes(tmp_path):
    async with KubernetesApi(Cluster(), bookmarks=0.05) as api:
        api.cluster.add_pod(a_pod("there", node="node2"))
        arguments = {"watch": "true", "allowWatchBookmarks": "true", "fieldSelector": ON_NODE1, "resourceVersion": "1000"}
        async with aiohttp.ClientSession() as session, session.get(f"{api.url}/api/v1/pods", params=arguments) as answer:
            event = json.loads(await answer.content.readline())
    recorded = (json.loads(line) for line in (RECORDED / "watch-lifecycle.ndjson").read_text().splitlines())
    shape = next(event for event in recorded if event["type"] == "BOOKMARK")
    shape["object"]["metadata"]["resourceVersion"] = str(api.cluster.version)
    assert event == shape


async def test_a_change_at_the_moment_of_a_bookmark_is_sent_before_it(api, monkeypatch):
    async def both(_version):
        if not api.cluster.version > begin:
            api.cluster.add_pod(a_pod("late"))
        raise TimeoutError

    api.cluster.add_pod(a_pod("early"))
    begin = api.cluster.version
    monkeypatch.setattr(api.cluster, "wait_past", both)
    arguments = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": str(begin)}
    async with aiohttp.ClientSession() as session, session.get(f"{api.url}/api/v1/pods", params=arguments) as answer:
        events = [json.loads(await answer.content.readline()) for _ in range(2)]
    assert [event["type"] for event in events] == ["ADDED", "BOOKMARK"]
    assert events[0]["object"]["metadata"]["name"] == "late"


async def test_a_watch_ends_after_its_timeout(api, core):
    assert await watched(core, 1, resource_version=str(api.cluster.version), timeout_seconds=1) == []


async def test_a_wrong_token_gets_the_recorded_401(api, core):
    await core.list_pod_for_all_namespaces()
    api.token = "renewed"
    with pytest.raises(client.ApiException) as refusal:
        await core.list_pod_for_all_namespaces()
    assert refusal.value.status == 401
    assert json.loads(refusal.value.body) == json.loads((RECORDED / "unauthorized.json").read_text())


async def test_the_kubeconfig_carries_the_token(api, tmp_path):
    api.token = "secret"
    api.write_kubeconfig(tmp_path / "kubeconfig")
    settings = client.Configuration()
    await config.load_kube_config(str(tmp_path / "kubeconfig"), client_configuration=settings)
    async with client.ApiClient(settings) as connection:
        assert (await client.CoreV1Api(connection).list_pod_for_all_namespaces()).items == []


async def test_refusals_apply_to_the_requested_number_of_requests(api):
    api.faults.refuse(1, 429, retry_after=7)
    api.faults.refuse(1, 503)
    async with aiohttp.ClientSession() as session:
        answers = [await session.get(f"{api.url}/version") for _ in range(3)]
    assert [answer.status for answer in answers] == [429, 503, 200]
    assert answers[0].headers["Retry-After"] == "7"
    assert "Retry-After" not in answers[1].headers
    assert (api.requests["refused"], api.requests["version"]) == (2, 1)


async def test_dropped_connections_are_aborted(api):
    arguments = {"watch": "true"}
    async with aiohttp.ClientSession() as session, session.get(f"{api.url}/api/v1/pods", params=arguments) as answer:
        api.drop_connections()
        with pytest.raises(aiohttp.ClientError):
            await answer.content.read()


async def test_a_silent_stream_stays_open_past_its_timeout(api):
    arguments = {"watch": "true", "resourceVersion": str(api.cluster.version), "timeoutSeconds": "1"}
    async with aiohttp.ClientSession() as session, session.get(f"{api.url}/api/v1/pods", params=arguments) as answer:
        api.faults.silence()
        api.cluster.add_pod(a_pod("unsent"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(answer.content.readline(), 1.5)
        assert not answer.content.at_eof()


async def test_a_stopped_server_starts_again_on_the_same_address(api):
    async with aiohttp.ClientSession() as session:
        await api.stop()
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(f"{api.url}/version")
        await api.start()
        async with session.get(f"{api.url}/version") as answer:
            assert (await answer.json())["gitVersion"] == "v1.36.2"


async def test_sent_bytes_are_counted(api):
    api.cluster.add_pod(a_pod())
    async with aiohttp.ClientSession() as session, session.get(f"{api.url}/api/v1/pods") as answer:
        body = await answer.read()
    assert api.bytes_sent == len(body)
    assert api.requests == {"list": 1}


async def test_a_recorded_pod_can_be_served_as_it_is(api, core):
    recorded = json.loads((RECORDED / "list-running.json").read_text())["items"]
    for pod in recorded:
        api.cluster.add_pod(pod)
    served = (await core.list_pod_for_all_namespaces()).items
    assert {pod.metadata.uid for pod in served} == {pod["metadata"]["uid"] for pod in recorded}


def test_created_pods_have_only_keys_of_recorded_ones():
    recorded = json.loads((RECORDED / "list-running.json").read_text())["items"]
    cluster = Cluster()
    owner = Owner("ReplicaSet", "cart-59855dd6c8", "25ebe75a-bf94-4241-8488-e2179232fc23")
    uid = cluster.add_pod(a_pod(owner=owner, labels=(("app", "cart"),)))
    cluster.container_running(uid, "app", ID_1)

    def paths(thing, at=""):
        if isinstance(thing, dict):
            return {f"{at}.{key}" for key in thing} | {path for key in thing for path in paths(thing[key], f"{at}.{key}")}
        return {path for item in thing for path in paths(item, f"{at}[]")} if isinstance(thing, list) else set()

    known = {path for pod in recorded for path in paths(pod)} | {".metadata.labels.app"}
    assert paths(cluster.pod(uid)) - known == set()


def test_a_restart_keeps_the_container_that_ended_in_the_last_state():
    cluster = Cluster()
    uid = cluster.add_pod(a_pod())
    cluster.container_running(uid, "app", ID_1)
    cluster.container_terminated(uid, "app", 3)
    cluster.container_running(uid, "app", ID_2)
    status = cluster.pod(uid)["status"]["containerStatuses"][0]
    assert status["restartCount"] == 1
    assert status["containerID"] == f"containerd://{ID_2}"
    assert status["lastState"]["terminated"]["containerID"] == f"containerd://{ID_1}"
    assert status["lastState"]["terminated"]["exitCode"] == 3


def test_a_job_s_container_that_was_never_reported_as_running_has_its_id():
    cluster = Cluster()
    uid = cluster.add_pod(a_pod("report-1-abcde", owner=Owner("Job", "report-1", "u")))
    cluster.container_terminated(uid, "app", 0, ID_1)
    status = cluster.pod(uid)["status"]
    assert status["phase"] == "Succeeded"
    assert status["containerStatuses"][0]["state"]["terminated"]["containerID"] == f"containerd://{ID_1}"
