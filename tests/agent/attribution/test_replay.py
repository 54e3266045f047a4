"""A real cluster's recorded events, replayed over HTTP with and without faults: the known pods are the same in the end.

Each time with the pods that there were at that moment, with the names and kinds of all containers that they ever had.
"""

import asyncio
import re
from datetime import datetime
from itertools import pairwise

import orjson
import pytest

from agent.attribution.attributions import Attributions
from agent.attribution.cgroups import Cgroups
from agent.attribution.kubelet_root import KubeletRoot
from agent.attribution.pods import KEEP_DELETED_S
from agent.attribution.pods import watch as pod_watch_module
from wire.backoff import Backoff

pytestmark = pytest.mark.slow

TIME = re.compile(rb'(?<!"deletionTimestamp":)"(20\d\d-[^"]+Z)"')  # a deletionTimestamp lies in the future
QUICKER = 36  # the recording's 107 seconds in three


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(pod_watch_module, "_BACKOFF", Backoff(0.002, 0.005))


def facts_of(pods, uids):
    """The facts of each of these pods that is known, in the form of Recording.facts."""
    found = {uid: pod for uid in uids if (pod := pods.get(uid))}
    return {
        uid: (pod.namespace, pod.name, dict(pod.labels), {key: (one.name, one.kind) for key, one in pod.containers.items()})
        for uid, pod in found.items()
    }


def only_existing(pods):
    pods.forget(asyncio.get_running_loop().time() + KEEP_DELETED_S + 1)
    return pods


def ends_as_recorded(pods, recording):
    """Asserts which pods exist, the facts of every pod that ever existed, and that later only existing pods are known."""
    alive = recording.states[-1].keys()
    assert len(pods) == len(alive)
    assert facts_of(pods, recording.ever) == recording.ever
    assert facts_of(only_existing(pods), recording.ever).keys() == alive


async def every_line(api, write, n):
    await write(api.recording.lines[n])


async def end_after_each(api, write, n):
    await write(api.recording.lines[n])
    raise api.StreamEnded


async def lose_after_each(api, write, n):
    await write(api.recording.lines[n])
    raise api.ConnectionLost


async def lose_within_each(api, write, n):
    line = api.recording.lines[n]
    if api.attempts[n] == 1:
        await write(line[: len(line) // 2])
        raise api.ConnectionLost
    await write(line)


async def end_within_each(api, write, n):
    line = api.recording.lines[n]
    if api.attempts[n] == 1:
        await write(line[: len(line) // 2])
        raise api.StreamEnded
    await write(line)


async def with_errors(api, write, n):
    """Sends each bookmark three times; ends the stream with an error at every third line, and refuses the next requests."""
    before, after = api.recording.versions[n : n + 2]
    await write(bookmark(before) * 3)
    if n % 3 == 0 and api.attempts[n] == 1:
        api.refusals += [429, 500, 503][: n % 4]
        await write(error((429, 500)[n % 2]))
        raise api.StreamEnded
    await write(api.recording.lines[n])
    await write(bookmark(after) * 3)


def bookmark(version):
    metadata = {"resourceVersion": str(version)}
    pod = {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": {"containers": None}, "status": {}}
    return orjson.dumps({"type": "BOOKMARK", "object": pod}) + b"\n"


def error(code):
    pod = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "etcd", "code": code}
    return orjson.dumps({"type": "ERROR", "object": pod}) + b"\n"


async def test_without_pauses(replay, recording):
    pods, api = await replay(every_line)
    ends_as_recorded(pods, recording)
    assert (api.pages, api.watched) == (1, [recording.versions[0], recording.versions[-1]])


async def test_with_the_recorded_pauses(replay, recording):
    latest = [max(TIME.findall(line), default=b"2000-01-01T00:00:00Z") for line in recording.lines]
    times = [datetime.fromisoformat(max(latest[: n + 1]).decode()) for n in range(len(latest))]
    pauses = [0.0, *((later - sooner).total_seconds() / QUICKER for sooner, later in pairwise(times))]
    assert sum(pauses) > 1

    async def at_its_pace(api, write, n):
        await asyncio.sleep(pauses[n])
        await write(api.recording.lines[n])

    pods, api = await replay(at_its_pace)
    ends_as_recorded(pods, recording)
    assert (api.pages, len(api.watched)) == (1, 2)


@pytest.mark.parametrize("send_line", [end_after_each, end_within_each, lose_after_each, lose_within_each])
async def test_with_a_disconnect_at_every_line_it_continues_after_the_last_event(replay, recording, send_line):
    pods, api = await replay(send_line)
    ends_as_recorded(pods, recording)
    assert api.pages == 1
    assert api.watched == sorted(api.watched)
    assert set(api.watched) == set(recording.versions)


@pytest.mark.parametrize("every", [1, 7, 31])
async def test_with_a_410_in_the_stream_it_lists_again(replay, recording, every):
    async def expired(api, write, n):
        if n % every == 0 and api.attempts[n] == 1:
            await api.expire(write, n)
        await write(api.recording.lines[n])

    pods, api = await replay(expired)
    ends_as_recorded(pods, recording)
    assert api.pages > len(recording.lines) // every


@pytest.mark.parametrize("missed", [1, 5, 20, 1000])
async def test_events_missed_before_a_410_are_made_up_for_by_the_list(replay, recording, missed):
    """Also the deletion of a pod. A pod that was created and deleted in the gap has left no trace, and stays unknown."""

    async def expired(api, write, n):
        await write(api.recording.lines[n])
        await api.expire(write, n + 1 + missed)

    pods, _ = await replay(expired)
    alive = recording.states[-1]
    assert len(pods) == len(alive)
    for uid, (*others, containers) in facts_of(pods, recording.ever).items():
        assert others[:2] == list(recording.ever[uid][:2])
        assert containers.items() <= recording.ever[uid][-1].items()
    found = facts_of(only_existing(pods), recording.ever)
    assert found.keys() == alive.keys()
    for uid, item in alive.items():
        *others, containers = recording.facts(item)
        assert list(found[uid][:-1]) == others
        assert containers.items() <= found[uid][-1].items()


async def test_with_repeated_bookmarks_errors_and_refusals_in_between(replay, recording):
    pods, api = await replay(with_errors, refusals=[429, 500, 503], tear=2)
    ends_as_recorded(pods, recording)
    assert api.pages == 3  # two were torn in the middle


@pytest.mark.parametrize("code", [429, 500])
async def test_after_an_error_in_the_stream_it_continues_after_the_last_event(replay, recording, code):
    """From an earlier version, deleted pods would exist again for a while, and after a long stream a list might be needed."""

    async def failing(api, write, n):
        if n % 10 == 9 and api.attempts[n] == 1:
            await write(error(code))
            raise api.StreamEnded
        await write(api.recording.lines[n])

    pods, api = await replay(failing)
    ends_as_recorded(pods, recording)
    assert api.watched == sorted({recording.versions[-1], *recording.versions[9::10], recording.versions[0]})


@pytest.mark.parametrize("recording", ["while all ran"], indirect=True)
def test_the_recorded_stream_agrees_with_the_recorded_list(recording, running):
    """So what these tests expect is what the API server itself answered."""
    kind = {"kind": "Pod", "apiVersion": "v1"}  # in a list only the list has it
    assert recording.states[-1] == {item["metadata"]["uid"]: kind | item for item in running["items"]}


@pytest.mark.parametrize("recording", ["while all ran"], indirect=True)
async def test_each_recorded_process_has_its_own_pod_in_every_hierarchy(replay, recorded, running, recording):
    """Each by its container id, where test_recorded_cluster counts; and with pods from a watch."""
    pods, _ = await replay(every_line)
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
        attributions = Attributions(cgroups, pods, KubeletRoot("/kubepods"), api=True)
        for path, number in ids.items():
            pod, container = re.fullmatch(r".*/pod([^/]+)/(\w+)", path).groups()
            attribution = attributions.resolve_final(number)
            name, kind = containers.get(container, (None, "sandbox"))
            assert (attribution.state, attribution.pod_uid, attribution.pod.uid) == ("resolved", uids[pod], uids[pod])
            assert (attribution.container.id, attribution.container.name, attribution.container.kind) == (container, name, kind)
