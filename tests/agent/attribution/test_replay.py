"""A real cluster's recorded life, told over HTTP in good order and in all sorts of bad: the directory of pods ends the same.

Each time with the pods that there were at that moment, with the names and kinds of all containers that they ever had.
"""

import asyncio
import re
from datetime import datetime
from itertools import pairwise

import orjson
import pytest

from agent.attribution import pod_watch as pod_watch_module
from agent.attribution.attributions import Attributions
from agent.attribution.cgroups import Cgroups
from agent.attribution.pods import KEEP_DELETED_S
from wire.backoff import Backoff

pytestmark = pytest.mark.slow

TIME = re.compile(rb'(?<!"deletionTimestamp":)"(20\d\d-[^"]+Z)"')  # a deletionTimestamp lies in the future
QUICKER = 36  # the recording's 107 seconds in three


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(pod_watch_module, "_BACKOFF", Backoff(0.002, 0.005))


def told(pods, uids):
    """Of each of these pods that the directory knows, what a Recording says of it."""
    found = {uid: pod for uid in uids if (pod := pods.get(uid))}
    return {
        uid: (pod.namespace, pod.name, dict(pod.labels), {key: (one.name, one.kind) for key, one in pod.containers.items()})
        for uid, pod in found.items()
    }


def only_the_living(pods):
    pods.forget(asyncio.get_running_loop().time() + KEEP_DELETED_S + 1)
    return pods


def ends_as_recorded(pods, recording):
    """The pods that live; what is told of every one that ever did; and that a while later only the living are there."""
    alive = recording.states[-1].keys()
    assert len(pods) == len(alive)
    assert told(pods, recording.ever) == recording.ever
    assert told(only_the_living(pods), recording.ever).keys() == alive


async def plainly(api, say, n):
    await say(api.recording.lines[n])


async def ended_after_each(api, say, n):
    await say(api.recording.lines[n])
    raise api.ClosedInstances


async def torn_after_each(api, say, n):
    await say(api.recording.lines[n])
    raise api.Torn


async def torn_within_each(api, say, n):
    line = api.recording.lines[n]
    if api.visits[n] == 1:
        await say(line[: len(line) // 2])
        raise api.Torn
    await say(line)


async def ended_within_each(api, say, n):
    line = api.recording.lines[n]
    if api.visits[n] == 1:
        await say(line[: len(line) // 2])
        raise api.ClosedInstances
    await say(line)


async def troubled(api, say, n):
    """Each bookmark comes thrice; at every third line the stream ends with an error, and the next requests are refused."""
    before, after = api.recording.versions[n : n + 2]
    await say(bookmark(before) * 3)
    if n % 3 == 0 and api.visits[n] == 1:
        api.refusals += [429, 500, 503][: n % 4]
        await say(error((429, 500)[n % 2]))
        raise api.ClosedInstances
    await say(api.recording.lines[n])
    await say(bookmark(after) * 3)


def bookmark(version):
    metadata = {"resourceVersion": str(version)}
    thing = {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": {"containers": None}, "status": {}}
    return orjson.dumps({"type": "BOOKMARK", "object": thing}) + b"\n"


def error(code):
    thing = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "etcd", "code": code}
    return orjson.dumps({"type": "ERROR", "object": thing}) + b"\n"


async def test_as_fast_as_it_goes(replay, recording):
    pods, api = await replay(plainly)
    ends_as_recorded(pods, recording)
    assert (api.pages, api.watched) == (1, [recording.versions[0], recording.versions[-1]])


async def test_at_its_own_pace(replay, recording):
    latest = [max(TIME.findall(line), default=b"2000-01-01T00:00:00Z") for line in recording.lines]
    times = [datetime.fromisoformat(max(latest[: n + 1]).decode()) for n in range(len(latest))]
    pauses = [0.0, *((later - sooner).total_seconds() / QUICKER for sooner, later in pairwise(times))]
    assert sum(pauses) > 1

    async def at_its_pace(api, say, n):
        await asyncio.sleep(pauses[n])
        await say(api.recording.lines[n])

    pods, api = await replay(at_its_pace)
    ends_as_recorded(pods, recording)
    assert (api.pages, len(api.watched)) == (1, 2)


@pytest.mark.parametrize("tell", [ended_after_each, ended_within_each, torn_after_each, torn_within_each])
async def test_with_a_disconnect_at_every_line_it_goes_on_from_the_last_that_was_heard(replay, recording, tell):
    pods, api = await replay(tell)
    ends_as_recorded(pods, recording)
    assert api.pages == 1
    assert api.watched == sorted(api.watched)
    assert set(api.watched) == set(recording.versions)


@pytest.mark.parametrize("every", [1, 7, 31])
async def test_with_a_410_in_the_stream_it_lists_what_there_is_by_then(replay, recording, every):
    async def expired(api, say, n):
        if n % every == 0 and api.visits[n] == 1:
            await api.expire(say, n)
        await say(api.recording.lines[n])

    pods, api = await replay(expired)
    ends_as_recorded(pods, recording)
    assert api.pages > len(recording.lines) // every


@pytest.mark.parametrize("missed", [1, 5, 20, 1000])
async def test_what_happened_unheard_before_a_410_is_made_good_by_the_list(replay, recording, missed):
    """Also a pod's end. What lived and died unheard has left no trace in the API, and nothing is made up about it."""

    async def expired(api, say, n):
        await say(api.recording.lines[n])
        await api.expire(say, n + 1 + missed)

    pods, _ = await replay(expired)
    alive = recording.states[-1]
    assert len(pods) == len(alive)
    for uid, (*others, containers) in told(pods, recording.ever).items():
        assert others[:2] == list(recording.ever[uid][:2])
        assert containers.items() <= recording.ever[uid][-1].items()
    found = told(only_the_living(pods), recording.ever)
    assert found.keys() == alive.keys()
    for uid, item in alive.items():
        *others, containers = recording.facts(item)
        assert list(found[uid][:-1]) == others
        assert containers.items() <= found[uid][-1].items()


async def test_with_repeated_bookmarks_errors_and_refusals_in_between(replay, recording):
    pods, api = await replay(troubled, refusals=[429, 500, 503], tear=2)
    ends_as_recorded(pods, recording)
    assert api.pages == 3  # two were torn in the middle


@pytest.mark.parametrize("code", [429, 500])
async def test_after_an_error_in_the_stream_it_goes_on_from_the_last_that_was_heard(replay, recording, code):
    """From further back, deleted pods would live again for a while, and a stream of an hour might need a list."""

    async def failing(api, say, n):
        if n % 10 == 9 and api.visits[n] == 1:
            await say(error(code))
            raise api.ClosedInstances
        await say(api.recording.lines[n])

    pods, api = await replay(failing)
    ends_as_recorded(pods, recording)
    assert api.watched == sorted({recording.versions[-1], *recording.versions[9::10], recording.versions[0]})


@pytest.mark.parametrize("recording", ["while all ran"], indirect=True)
def test_the_recorded_stream_up_to_then_is_the_list_that_was_taken_then(recording, running):
    """So what these tests take for right is what the API server itself took for right."""
    kind = {"kind": "Pod", "apiVersion": "v1"}  # in a list only the list says it
    assert recording.states[-1] == {item["metadata"]["uid"]: kind | item for item in running["items"]}


@pytest.mark.parametrize("recording", ["while all ran"], indirect=True)
async def test_each_process_that_ran_then_is_its_own_pods_whichever_hierarchy_is_chosen(replay, recorded, running, recording):
    """One by one and by container id, where test_recorded_cluster counts; and of a directory that a watch has filled."""
    pods, _ = await replay(plainly)
    uids, containers = {}, {}
    for item in running["items"]:
        metadata = item["metadata"]
        own = metadata.get("annotations", {}).get("kubernetes.io/config.hash", metadata["uid"])  # a static pod's, on its node
        uids[own] = metadata["uid"]
        containers |= recording.facts(item)[-1]
    processes = sorted(recorded("cgroups-running.json"), key=lambda process: process["host_pid"])
    for hierarchy in range(len(processes[0]["cgroup"])):
        cgroups, ids = Cgroups(), {}
        for path in (process["cgroup"][hierarchy].split(":", 2)[2] for process in processes):
            ids[path] = ids.get(path) or cgroups.add(len(ids) + 1, path.encode(), 0).id
        assert len(ids) == 14  # of 21 processes
        attributions = Attributions(cgroups, pods, api=True)
        for path, number in ids.items():
            pod, container = re.fullmatch(r".*/pod([^/]+)/(\w+)", path).groups()
            attribution = attributions.resolve_final(number)
            name, kind = containers.get(container, (None, "sandbox"))
            assert (attribution.state, attribution.pod_uid, attribution.pod.uid) == ("resolved", uids[pod], uids[pod])
            assert (attribution.container.id, attribution.container.name, attribution.container.kind) == (container, name, kind)
